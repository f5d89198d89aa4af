// The page. Texts come from documents nobody has vetted: they are only ever set as text.

import { condition, conditionsOf, label, operators, whereOf } from "./filters.js";
import { pieces, queryWords, wordShares } from "./marks.js";

const TYPING_PAUSE = 150; // ms
const MAX_FILE = 4_000_000; // bytes
const POLLING_PAUSE = 1000; // ms
const UNDER_WAY = ["counting", "indexing"];
const WEAK = 0.25; // hits of less relevance are weak matches, as on the command line

const $ = (id) => document.getElementById(id);
const make = (tag, name, ...children) => {
  const element = document.createElement(tag);
  if (name) element.className = name;
  element.append(...children); // strings become text nodes
  return element;
};

const state = {
  hits: [], words: [], asked: 0, pinned: -1, opened: null, writable: false, generation: -1,
  fields: [], conditions: [],
};
let underWay = null;
let pause = null;

// ---- the server

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function call(method, path, body, signal) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return content;
  if (answer.status === 401) askForToken(Boolean(token));
  throw new Refused(answer.status, content.error?.message ?? `The server answered ${answer.status}.`);
}

const byId = (id) => `/api/documents?id=${encodeURIComponent(id)}`;
const said = (error) => (error instanceof Refused ? error.message : "The server cannot be reached.");

async function showInfo() {
  const info = await call("GET", "/api/info");
  state.writable = info.writable;
  $("served").textContent = `${info.documents} documents${info.complete ? "" : ", incomplete"}`;
  $("open-add").hidden = !info.writable;
  $("hybrid").hidden = info.keywords === "none";
  if ($("hybrid").hidden) $("hybrid").value = "auto";
  return info;
}

// ---- how far indexing is

/** Show it until it has ended; what is committed meanwhile is found. */
async function follow() {
  let info, changed;
  try {
    info = await showInfo();
    changed = info.generation !== state.generation;
    if (changed) await showFields(info);
  } catch (error) {
    if (error.status === 401) return; // goes on when the token is given
    $("trouble").textContent = said(error);
    setTimeout(follow, 5 * POLLING_PAUSE);
    return;
  }
  const first = state.generation < 0;
  state.generation = info.generation;
  showIndexing(info);
  if (changed && !first && !reading()) await search();
  if (UNDER_WAY.includes(info.indexing?.state)) setTimeout(follow, POLLING_PAUSE);
}

function showIndexing({ indexing, documents: found }) {
  $("indexing").hidden = !UNDER_WAY.includes(indexing?.state);
  $("trouble").textContent = "";
  if (!indexing) return;
  const { state: now, source, documents, total, message } = indexing;
  $("trouble").textContent = now === "failed" ? `Indexing ${source} stopped: ${message}` : "";
  const bar = $("indexing-bar");
  if (total === null) bar.removeAttribute("value");
  else Object.assign(bar, { max: Math.max(total, documents, 1), value: documents });
  $("indexing-text").textContent = total === null ? `Counting the documents of ${source}`
    : `Indexing ${source}: ${documents} of ${total} documents; ${found} can be found`;
}

/** Say whether somebody is among the hits, which then should not change by themselves. */
function reading() {
  return state.pinned >= 0 || document.querySelector("dialog[open]")
    || document.activeElement?.matches("#hits *, #words *");
}

// ---- searching

function typed() {
  clearTimeout(pause);
  pause = setTimeout(search, TYPING_PAUSE);
}

async function search() {
  clearTimeout(pause);
  const query = $("query").value.trim();
  const number = ++state.asked;
  underWay?.abort();
  const address = new URL(location.href);
  const where = whereOf(state.conditions);
  for (const [name, value] of [["q", query], ["where", where && JSON.stringify(where)]]) {
    if (value) address.searchParams.set(name, value);
    else address.searchParams.delete(name);
  }
  history.replaceState(null, "", address);
  if (!query) {
    show("", []);
    $("status").textContent = where ? "Ask a question of the documents that the filter lets through." : "";
    return;
  }
  underWay = new AbortController();
  $("hits").setAttribute("aria-busy", "true");
  try {
    const hybrid = $("hybrid").value;
    const request = { query, k: 10, explain: true, snippet_length: 240, hybrid, where };
    const { hits, ranked_by: by } = await call("POST", "/api/search", request, underWay.signal);
    if (number !== state.asked) return; // the answer to an older question
    show(query, hits);
    const why = hybrid === "auto" && by === "keywords"
      ? ", by keywords: the model was not made for this language" : "";
    $("status").textContent = counted(hits) + (hits.length ? why : "");
  } catch (error) {
    if (number !== state.asked || error.name === "AbortError") return;
    show(query, []);
    $("status").textContent = said(error);
  } finally {
    if (number === state.asked) $("hits").removeAttribute("aria-busy");
  }
}

// ---- filters

async function showFields(info) {
  state.fields = info.fields ? (await call("GET", "/api/fields")).fields : [];
  $("open-filter").hidden = !state.fields.length;
  const chosen = $("filter-field").value;
  options($("filter-field"), state.fields.map((field) => [field.name, field.name]));
  if (state.fields.some((field) => field.name === chosen)) $("filter-field").value = chosen;
  fieldChosen();
}

function options(select, pairs) {
  select.replaceChildren(...pairs.map(([value, text]) => {
    const option = make("option", "", text);
    option.value = value;
    return option;
  }));
}

const chosenField = () => state.fields.find((field) => field.name === $("filter-field").value);

function fieldChosen() {
  const field = chosenField();
  if (!field) return;
  const before = $("filter-operator").value;
  const possible = operators(field);
  options($("filter-operator"), possible);
  if (possible.some(([operator]) => operator === before)) $("filter-operator").value = before;
  options($("filter-choice"), (field.values ?? []).map(({ value, documents }, n) =>
    [n, `${value} (${documents}${documents === 1000 ? "+" : ""})`]));
  $("filter-value").value = "";
  $("filter-value").inputMode = field.kind === "number" ? "decimal" : "text";
  $("filter-value").placeholder = field.kind === "number" ? `${field.least} to ${field.greatest}` : "";
  operatorChosen();
}

function operatorChosen() {
  const field = chosenField();
  const operator = $("filter-operator").value;
  const [, , takesValue] = operators(field).find(([name]) => name === operator);
  const chosen = Boolean(field.values) && (operator === "$eq" || operator === "$ne");
  $("filter-choice").hidden = !takesValue || !chosen;
  $("filter-value").hidden = !takesValue || chosen;
}

function addFilter(event) {
  event.preventDefault();
  const field = chosenField();
  const choice = $("filter-choice");
  const value = choice.hidden ? $("filter-value").value : field.values[choice.value].value;
  const made = condition(field, $("filter-operator").value, value);
  $("filter-value").setAttribute("aria-invalid", String(made === null));
  if (made === null) {
    $("status").textContent = field.kind === "number" ? "The value must be a number." : "A value is missing.";
    $("filter-value").focus();
    return;
  }
  state.conditions.push(made);
  $("filter-value").value = "";
  showChips();
  search();
}

function showChips() {
  $("chips").replaceChildren(...state.conditions.map((each, n) => {
    const button = make("button", "chip", label(each));
    button.type = "button";
    button.setAttribute("aria-label", `Remove the filter ${label(each)}`);
    button.addEventListener("click", () => {
      state.conditions.splice(n, 1);
      showChips();
      ($("chips").children[Math.min(n, state.conditions.length - 1)] ?? $("query")).focus();
      search();
    });
    return button;
  }));
}

function toggleFilter(open) {
  $("filter").hidden = !open;
  $("open-filter").setAttribute("aria-expanded", String(open));
  if (open) $("filter-field").focus();
}

function filterOfAddress() {
  const written = new URL(location.href).searchParams.get("where");
  try {
    state.conditions = written ? conditionsOf(JSON.parse(written)) : [];
  } catch {
    state.conditions = []; // an address that was cut off, say
  }
  showChips();
}

// ---- hits

function show(query, hits) {
  state.hits = hits;
  state.words = query ? queryWords(query) : [];
  state.pinned = -1;
  wordButtons($("words"), hits.length ? state.words : []);
  $("hits").replaceChildren(...hits.map((hit, n) => make("li", "", hitButton(hit, n))));
  light(-1);
}

/** Say how many hits there are, and whether any of them is likely to be right. */
function counted(hits) {
  if (!hits.length) return $("indexing").hidden ? "Nothing found." : "Nothing found yet.";
  if (hits.every(weak)) return "Weak matches: nothing here is likely to be what you ask for.";
  const strong = hits.filter((hit) => !weak(hit)).length;
  return strong === hits.length ? `${hits.length} hits`
    : `${strong} ${strong === 1 ? "hit" : "hits"}, ${hits.length - strong} weak matches`;
}

function weak(hit) {
  return typeof hit.relevance === "number" && hit.relevance < WEAK;
}

function hitButton(hit, n) {
  const score = make("span", "score quiet", scoreText(hit, -1));
  const head = make("span", "head", make("strong", "", hit.title || hit.id), score);
  const button = make("button", "hit", head);
  button.type = "button";
  button.classList.toggle("weak", weak(hit));
  if (hit.title) button.append(make("span", "quiet", hit.id));
  const snippet = make("span", "snippet");
  if (hit.snippet !== null) {
    // Marks are found in the snippet alone, so its explanation is moved to where it starts.
    const [start] = hit.snippet_span;
    if (start) snippet.append("… ");
    const length = Array.from(hit.snippet).length;
    snippet.append(...marked(pieces(hit.snippet, 0, length, state.words, moved(hit, start, length))));
    if (start + length < hit.text_length) snippet.append(" …");
  }
  button.append(snippet);
  button.addEventListener("click", () => read(n));
  return button;
}

function moved(hit, by, length) {
  if (!hit.explanation) return null;
  const matches = hit.explanation.matches.map((match) => {
    const span = match.document_span && match.document_span.map((place) => place - by);
    return { ...match, document_span: span && span[0] >= 0 && span[1] <= length ? span : null };
  });
  return { ...hit.explanation, matches };
}

function marked(found) {
  const largest = Math.max(...found.map((piece) => piece.heat));
  const nodes = [];
  let passage = null; // one element for all pieces of it, so that it is marked as one
  for (const piece of found) {
    let node = document.createTextNode(piece.text);
    if (piece.shares.size) {
      node = make("mark", "", node);
      node.style.setProperty("--heat", (0.15 + 0.85 * (piece.heat / largest || 0)).toFixed(3));
      node.dataset.words = [...piece.shares.keys()].join(" ");
      node.title = [...piece.shares]
        .map(([word, part]) => `${state.words[word].text}: ${percent(part)} of the words' score`)
        .join("\n");
    }
    if (!piece.passage) {
      passage = null;
      nodes.push(node);
    } else if (passage) passage.append(node);
    else nodes.push(passage = make("span", "passage", node));
  }
  return nodes;
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;

// ---- what a word of the query matched

function wordButtons(place, words) {
  place.replaceChildren(...words.map((word, n) => {
    const button = make("button", "word", word.text);
    button.type = "button";
    button.setAttribute("aria-pressed", String(n === state.pinned));
    for (const name of ["mouseenter", "focus"]) button.addEventListener(name, () => light(n));
    for (const name of ["mouseleave", "blur"]) button.addEventListener(name, () => light(state.pinned));
    button.addEventListener("click", () => {
      state.pinned = state.pinned === n ? -1 : n;
      light(state.pinned < 0 ? n : state.pinned);
      for (const each of document.querySelectorAll("#words .word, #reader-words .word")) {
        const index = [...each.parentNode.children].indexOf(each);
        each.setAttribute("aria-pressed", String(index === state.pinned));
      }
    });
    return button;
  }));
}

function light(word) {
  document.body.classList.toggle("focused", word >= 0);
  for (const mark of document.querySelectorAll("mark")) {
    mark.classList.toggle("lit", mark.dataset.words.split(" ").includes(String(word)));
  }
  document.querySelectorAll("#hits .score").forEach((label, n) => {
    label.textContent = scoreText(state.hits[n], word);
  });
  if (state.opened) $("reader-about").textContent = about(state.opened, word);
}

function scoreText(hit, word) {
  if (word < 0 || !hit.explanation) {
    return typeof hit.relevance === "number" ? percent(hit.relevance) : hit.score.toFixed(2);
  }
  return `${percent(wordShares(state.words, hit.explanation)[word])} of the words`;
}

// ---- reading

function about(hit, word) {
  const metadata = Object.entries(hit.metadata).map(([name, value]) =>
    ` · ${name}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join("");
  const name = typeof hit.relevance === "number" ? "relevance " : "score ";
  return `${hit.id} · ${word < 0 ? name : ""}${scoreText(hit, word)}${metadata}`;
}

async function read(n) {
  const hit = state.hits[n];
  try {
    const { documents: [found] } = await call("GET", byId(hit.id));
    state.opened = hit;
    $("reader-title").textContent = found.title || found.id;
    $("reader-about").textContent = about(hit, -1);
    $("reader-status").textContent = "";
    $("delete").hidden = !state.writable;
    $("delete").textContent = "Delete";
    wordButtons($("reader-words"), state.words);
    const text = found.text ?? "";
    const length = Array.from(text).length;
    const shown = pieces(text, 0, length, state.words, hit.explanation, hit.passages);
    $("reader-text").replaceChildren(...marked(shown));
    $("reader").showModal();
    $("reader-text").focus();
    light(state.pinned);
    const matched = ["mark.lit", "mark", ".passage"].map((name) => $("reader-text").querySelector(name));
    matched.find(Boolean)?.scrollIntoView({ block: "center" });
  } catch (error) {
    $("status").textContent = said(error);
  }
}

async function remove() {
  const button = $("delete");
  if (button.textContent === "Delete") {
    button.textContent = "Delete for good?";
    return;
  }
  try {
    await call("DELETE", byId(state.opened.id));
    $("reader").close();
    await changed();
  } catch (error) {
    $("reader-status").textContent = said(error);
  }
}

// ---- adding

async function add(event) {
  event.preventDefault();
  $("add-status").textContent = "";
  const text = $("add-text").value;
  const added = { id: $("add-id").value, text, title: $("add-title").value || null };
  const button = $("add").querySelector("[type=submit]");
  button.disabled = true;
  try {
    await call($("add-replace").checked ? "PUT" : "POST", "/api/documents", { documents: [added] });
    $("add").reset();
    $("adder").close();
    await changed();
  } catch (error) {
    $("add-status").textContent = said(error);
  } finally {
    button.disabled = false;
  }
}

async function changed() {
  const info = await showInfo();
  state.generation = info.generation;
  await showFields(info);
  await search();
}

async function take(file) {
  if (!file) return;
  const known = /\.(txt|md)$/i.test(file.name);
  if (!known || file.size > MAX_FILE) {
    $("add-status").textContent = known
      ? `A file has at most ${MAX_FILE / 1e6} MB.` : "Only .txt and .md files can be added here.";
    return;
  }
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    $("add-text").value = decoder.decode(await file.arrayBuffer());
    $("add-id").value = file.name;
    $("add-title").value = file.name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ");
    $("add-status").textContent = "";
  } catch {
    $("add-status").textContent = "The file is not UTF-8 text.";
  }
}

// ---- the token

function askForToken(again) {
  $("ask-status").textContent = again ? "That is not the token." : "";
  if (!$("asker").open) $("asker").showModal();
}

async function answered(event) {
  event.preventDefault();
  sessionStorage.setItem("token", $("ask-token").value);
  try {
    await showInfo();
    $("asker").close();
    await begin();
  } catch (error) {
    if (error.status !== 401) $("ask-status").textContent = said(error);
  }
}

// ---- keys

function pressed(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
  const buttons = [...document.querySelectorAll("#hits .hit")];
  const at = buttons.indexOf(document.activeElement);
  const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
  if (event.key === "/" && !writing) {
    $("query").focus();
    $("query").select();
  } else if (event.key === "f" && !writing && state.fields.length) {
    toggleFilter(true);
  } else if (event.key === "ArrowDown" && (at >= 0 || document.activeElement === $("query"))) {
    buttons[Math.min(at + 1, buttons.length - 1)]?.focus();
  } else if (event.key === "ArrowUp" && at >= 0) {
    (buttons[at - 1] ?? $("query")).focus();
  } else if (event.key === "Escape") {
    if (document.activeElement === $("query")) {
      $("query").value = "";
      search();
    } else if (document.activeElement?.matches("#filter *")) toggleFilter(false);
    $("query").focus();
  } else return;
  event.preventDefault();
}

$("query").addEventListener("input", typed);
$("hybrid").addEventListener("change", search);
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
$("open-filter").addEventListener("click", () => toggleFilter($("filter").hidden));
$("filter-field").addEventListener("change", fieldChosen);
$("filter-operator").addEventListener("change", operatorChosen);
$("filter").addEventListener("submit", addFilter);
$("open-add").addEventListener("click", () => $("adder").showModal());
$("add").addEventListener("submit", add);
$("add-file").addEventListener("change", () => take($("add-file").files[0]));
$("adder").addEventListener("dragover", (event) => {
  event.preventDefault();
  $("adder").classList.add("dropping");
});
$("adder").addEventListener("dragleave", () => $("adder").classList.remove("dropping"));
$("adder").addEventListener("drop", (event) => {
  event.preventDefault();
  $("adder").classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
$("delete").addEventListener("click", remove);
$("reader").addEventListener("close", () => {
  state.opened = null;
  light(state.pinned);
});
$("ask").addEventListener("submit", answered);
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
document.addEventListener("keydown", pressed);

async function begin() {
  await follow();
  await search();
}

$("query").value = new URL(location.href).searchParams.get("q") ?? "";
filterOfAddress();
try {
  await begin();
} catch (error) {
  $("status").textContent = said(error);
}
