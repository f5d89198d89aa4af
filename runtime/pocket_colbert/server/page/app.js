// The page. Texts come from documents nobody has vetted: they are only ever set as text.

import * as backend from "./backend.js";
import { add, answered, askForToken, take } from "./adder.js";
import { readAddress } from "./address.js";
import { $, button } from "./dom.js";
import { addFilter, fieldChosen, operatorChosen, showChips, showFields, toggleFilter } from "./facets.js";
import { pressed } from "./keys.js";
import { askToDelete, closed, copy, open, remove, showOther, toggleMenu } from "./reader.js";
import { said } from "./said.js";
import { search, searchMore, searchSoon } from "./search.js";
import { state } from "./state.js";

const POLLING_PAUSE = 1000; // ms
const UNDER_WAY = ["counting", "indexing"];

// ---- what is served, and how far it is indexed

async function showInfo() {
  const info = await backend.info();
  state.info = info;
  $("served").textContent = info.documents === 1 ? "1 document"
    : `${info.documents} documents${info.complete ? "" : ", incomplete"}`;
  $("open-add").hidden = !info.writable;
  $("rank").hidden = info.keywords === "none";
  if ($("rank").hidden) $("hybrid").value = "auto";
  $("relevance").hidden = !info.relevance;
  showStart(info);
  return info;
}

/** Say what there is to do before anything is asked. */
function showStart({ documents, examples, writable, indexing }) {
  $("start-text").textContent = documents ? "Ask in your own words: the words of the answer need not be yours."
    : UNDER_WAY.includes(indexing?.state) ? "Documents are being indexed. What is done can be found at once."
      : `There are no documents yet. ${writable ? "Add one, or start the server with a folder of them."
        : "Add some to the index that is served."}`;
  $("examples").replaceChildren(...examples.map((text) => button("example", text, () => {
    $("query").value = text;
    $("query").focus();
    search();
  })));
  $("examples-about").hidden = !examples.length;
}

/** Show how far indexing is until it has ended; what is committed meanwhile is found. */
async function follow() {
  const before = state.info?.generation;
  const first = state.info === null;
  let info;
  try {
    info = await showInfo();
    if (first || info.generation !== before) await showFields(info);
  } catch (error) {
    if (error.status === 401) askForToken(begin);
    else {
      $("trouble").textContent = said(error);
      setTimeout(follow, 5 * POLLING_PAUSE);
    }
    return false;
  }
  showIndexing(info);
  if (!first && info.generation !== before && !reading()) await search();
  if (UNDER_WAY.includes(info.indexing?.state)) setTimeout(follow, POLLING_PAUSE);
  return true;
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
  return state.pinned >= 0 || document.querySelector("dialog[open]") || state.hits.length > 10
    || document.activeElement?.matches("#hits *, #words *");
}

async function changed() {
  try {
    await showFields(await showInfo());
  } catch (error) {
    $("trouble").textContent = said(error);
  }
  await search();
}

// ---- the address

function takeAddress() {
  const asked = readAddress(location.href);
  $("query").value = asked.query;
  $("hybrid").value = asked.rank;
  $("least").value = asked.least;
  showLeast();
  state.conditions = asked.conditions;
  showChips();
  return asked;
}

async function moved() {
  const before = JSON.stringify([$("query").value.trim(), state.conditions, $("hybrid").value, $("least").value]);
  const { opened } = takeAddress();
  const now = JSON.stringify([$("query").value.trim(), state.conditions, $("hybrid").value, $("least").value]);
  if (before !== now) await search();
  if (opened !== null && opened !== state.opened?.document.id) await openAsked(opened);
  else if (opened === null && $("reader").open) $("reader").close();
}

const openAsked = (id) => open(id, state.hits.find((hit) => hit.id === id) ?? null, true);

function showLeast() {
  const least = Number($("least").value);
  $("least-value").textContent = least ? `${least} % or more` : "any";
  $("least").setAttribute("aria-valuetext", $("least-value").textContent);
}

// ---- what people do

const on = (id, event, act) => $(id).addEventListener(event, act);

on("query", "input", searchSoon);
on("hybrid", "change", search);
on("least", "input", () => {
  showLeast();
  searchSoon();
});
on("search", "submit", (event) => {
  event.preventDefault();
  search();
});
on("more", "click", searchMore);
on("open-filter", "click", () => toggleFilter($("filter").hidden));
on("filter-field", "change", fieldChosen);
on("filter-operator", "change", operatorChosen);
on("filter", "submit", addFilter);
on("open-help", "click", () => $("helper").showModal());
on("open-add", "click", () => $("adder").showModal());
on("add", "submit", add);
on("add-file", "change", () => take($("add-file").files[0]));
on("adder", "dragover", (event) => {
  event.preventDefault();
  $("adder").classList.add("dropping");
});
on("adder", "dragleave", () => $("adder").classList.remove("dropping"));
on("adder", "drop", (event) => {
  event.preventDefault();
  $("adder").classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});
on("ask", "submit", answered);
on("reader", "close", closed);
on("open-menu", "click", () => toggleMenu());
on("as-text", "click", showOther);
on("copy-link", "click", () => copy("link"));
on("copy-text", "click", () => copy("text"));
on("delete", "click", askToDelete);
on("deleter-form", "submit", remove);
for (const each of document.querySelectorAll("[data-close]")) {
  each.addEventListener("click", () => each.closest("dialog").close());
}
document.addEventListener("keydown", pressed);
document.addEventListener("open", ({ detail: { id, hit } }) => open(id, hit));
document.addEventListener("changed", changed);
document.addEventListener("unauthorized", ({ detail: { again } }) => askForToken(again));
window.addEventListener("popstate", moved);

async function begin() {
  if (!(await follow())) return;
  await search();
  const { opened } = readAddress(location.href);
  if (opened !== null) await openAsked(opened);
}

takeAddress();
await begin();
