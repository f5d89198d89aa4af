// The page of a site: it asks the worker, and shows what that finds. Texts are shown as texts.

const element = (id) => document.getElementById(id);
const SITE = new URL(".", document.baseURI).href;
const WORKER = new URL("%worker.js%", SITE);
const RUNTIME = new URL("%ort.wasm.gz%", SITE).href;
const CACHE_PREFIX = "pocket-colbert-site ";
const CACHE = CACHE_PREFIX + SITE;
const SNIPPET = 240;
const PAUSE = 60;

let hits = [];
let number = 0;
let opened;
let timer;

// What the worker is asked.

const waiting = new Map();
const worker = new Worker(WORKER, { type: "module" });
worker.onmessage = ({ data }) => {
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if (data.error) reject(new Error(data.error.message));
  else resolve(data.result);
};
worker.onerror = () => say("The search cannot run in this browser; a newer one can.", true);

function ask(method, given = {}) {
  const id = ++number;
  return new Promise((resolve, reject) => {
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, method, given });
  });
}

function say(text, problem = false) {
  element("status").textContent = text;
  element("status").classList.toggle("problem", problem);
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// Searching.

async function search() {
  const query = element("query").value;
  history.replaceState(null, "", query.trim() ? `?${new URLSearchParams({ q: query })}` : location.pathname);
  if (!query.trim()) {
    hits = [];
    element("hits").replaceChildren();
    return say(`${opened.documents} documents.`);
  }
  const turn = ++search.turn;
  try {
    const options = { k: 10 };
    const [field, value] = [element("field").value, element("value").value];
    if (field && value) options.where = { [field]: JSON.parse(value) };
    const found = await ask("search", { query, options });
    if (turn !== search.turn) return;
    hits = found.hits;
    element("hits").replaceChildren(...hits.map(drawn));
    const took = Math.round(found.took.encode + found.took.search);
    say(hits.length ? `${hits.length} hits in ${took} ms.` : "Nothing found.");
    document.documentElement.dataset.fetched = found.transfer.bytes;
    await explain(turn);
  } catch (error) {
    if (turn === search.turn) say(error.message, true);
  }
}
search.turn = 0;

async function explain(turn) {
  for (let n = 0; n < hits.length; n++) {
    const explanation = await ask("explain", { number: n });
    if (turn !== search.turn) return;
    if (!explanation || !hits[n].text) continue;
    hits[n].marks = marksOf(explanation.matches, hits[n].text);
    const [start, end] = windowOf(hits[n]);
    const snippet = element("hits").children[n].querySelector(".snippet");
    snippet.replaceChildren(...marked(hits[n].text, start, end, hits[n].marks));
  }
}

/** Return the whole words that matched, in order and apart. */
function marksOf(matches, text) {
  const words = /[\p{L}\p{N}\p{M}_]/u;
  const spans = matches
    .filter((match) => match.documentSpan && match.weight > 0)
    .map(({ documentSpan: [first, last] }) => {
      while (first > 0 && words.test(text[first - 1]) && words.test(text[first])) first--;
      while (last < text.length && words.test(text[last]) && words.test(text[last - 1])) last++;
      return [first, last];
    })
    .sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  return spans.filter(([first], n) => spans.slice(0, n).every(([, end]) => first >= end));
}

/** Return the part of a hit's best passage that holds the most marks. */
function windowOf(hit) {
  const { start, end } = hit.passages[0] ?? { start: 0, end: hit.text.length };
  const starts = [start, ...hit.marks.map(([first]) => sentenceStart(hit.text, first, start))];
  const shown = (from) => hit.marks.filter(([a, b]) => a >= from && b <= from + SNIPPET).length;
  const best = starts.reduce((one, other) => (shown(other) > shown(one) ? other : one));
  return [best, wordEnd(hit.text, best, end)];
}

function sentenceStart(text, place, least) {
  const before = text.slice(Math.max(least, place - SNIPPET / 2), place);
  const stop = Math.max(before.lastIndexOf(". "), before.lastIndexOf("\n"));
  const space = before.indexOf(" ");
  return place - before.length + (stop >= 0 ? stop + 1 : place - before.length > least ? space + 1 : 0);
}

function wordEnd(text, start, end) {
  if (end - start <= SNIPPET) return end;
  const space = text.lastIndexOf(" ", start + SNIPPET);
  return space > start ? space : start + SNIPPET;
}

function marked(text, start, end, marks) {
  const parts = [];
  let done = start;
  for (const [first, last] of marks ?? []) {
    if (first < done || last > end) continue;
    const mark = document.createElement("mark");
    mark.textContent = text.slice(first, last);
    parts.push(text.slice(done, first), mark);
    done = last;
  }
  parts.push(text.slice(done, end));
  return parts;
}

function drawn(hit, n) {
  const item = document.createElement("li");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "hit";
  const title = document.createElement("strong");
  title.textContent = hit.title || hit.id;
  const path = document.createElement("span");
  path.className = "path";
  path.textContent = (hit.passages[0]?.headings ?? []).join(" › ");
  const snippet = document.createElement("span");
  snippet.className = "snippet";
  const text = hit.text ?? "";
  const start = hit.passages[0]?.start ?? 0;
  snippet.textContent = text.slice(start, wordEnd(text, start, hit.passages[0]?.end ?? text.length));
  button.append(title, path, snippet);
  button.addEventListener("click", () => read(n));
  item.append(button);
  return item;
}

function read(n) {
  const hit = hits[n];
  const text = hit.text ?? "";
  const { start, end } = hit.passages[0] ?? { start: 0, end: 0 };
  const passage = document.createElement("span");
  passage.className = "passage";
  passage.append(...marked(text, start, end, hit.marks));
  element("reader-title").textContent = hit.title || hit.id;
  element("reader-text").replaceChildren(text.slice(0, start), passage, text.slice(end));
  element("reader").showModal();
  passage.scrollIntoView({ block: "center" });
}

// Filters.

async function showValues() {
  const field = element("field").value;
  element("value").hidden = !field;
  element("value").replaceChildren();
  if (field) {
    for (const { value, count } of (await ask("values", { field })).slice(0, 500)) {
      const option = document.createElement("option");
      option.value = JSON.stringify(value);
      option.textContent = `${value} (${count})`;
      element("value").append(option);
    }
  }
  await search();
}

// Keyboard.

document.addEventListener("keydown", (event) => {
  const buttons = [...document.querySelectorAll(".hit")];
  const place = buttons.indexOf(document.activeElement);
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) {
    element("query").focus();
  } else if (event.key === "ArrowDown" && buttons[place + 1] && !element("reader").open) {
    buttons[place + 1].focus();
  } else if (event.key === "ArrowUp" && place >= 0 && !element("reader").open) {
    (buttons[place - 1] ?? element("query")).focus();
  } else if (event.key === "Escape" && document.activeElement === element("query")) {
    element("query").value = "";
    search();
  } else {
    return;
  }
  event.preventDefault();
});

// Offline.

/** Remove what an earlier index left. */
async function removeOld() {
  const cache = await caches.open(CACHE);
  const current = new Set([...opened.addresses, RUNTIME]);
  for (const { url } of await cache.keys()) {
    if (url.startsWith(`${SITE}data/`) && !current.has(url)) {
      await cache.delete(url);
      await cache.delete(`${SITE}kept`); // what came in its place is not here yet
    }
  }
}

async function showStored() {
  const kept = await caches.keys();
  const whole = kept.includes(CACHE) && (await (await caches.open(CACHE)).match(`${SITE}kept`));
  const { usage = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  element("stored").textContent = whole
    ? `Works without network. ${size(usage)} are stored in this browser.`
    : usage ? `${size(usage)} are stored in this browser.` : "";
  element("keep").hidden = Boolean(whole);
  element("keep").textContent = `Keep for use without network (${size(opened.bytes + opened.runtimeBytes)})`;
  element("clear").hidden = !kept.includes(CACHE);
}

async function keep() {
  element("keep").disabled = true;
  const cache = await caches.open(CACHE);
  let done = 0;
  for (const address of opened.addresses) {
    if (!(await cache.match(address))) await cache.add(address);
    element("stored").textContent = `${++done} of ${opened.addresses.length} files …`;
  }
  await cache.put(`${SITE}kept`, new Response("all files are here"));
  element("keep").disabled = false;
  await showStored();
}

async function clear() {
  for (const name of await caches.keys()) if (name === CACHE) await caches.delete(name);
  for (const found of await navigator.serviceWorker.getRegistrations()) {
    if (found.scope === SITE) await found.unregister();
  }
  element("stored").textContent = "Deleted.";
  element("keep").hidden = false;
  element("clear").hidden = true;
}

async function goOffline() {
  if (!("serviceWorker" in navigator) || !("caches" in window)) return;
  try {
    await navigator.serviceWorker.register(new URL("sw.js", SITE), { scope: SITE });
    await navigator.serviceWorker.ready;
    await removeOld();
    await showStored();
  } catch {
    element("stored").textContent = "This browser stores nothing: the search needs the network.";
  }
}

element("form").addEventListener("submit", (event) => event.preventDefault());
element("query").addEventListener("input", () => {
  clearTimeout(timer);
  timer = setTimeout(search, PAUSE);
});
element("field").addEventListener("change", showValues);
element("value").addEventListener("change", search);
element("close").addEventListener("click", () => element("reader").close());
element("keep").addEventListener("click", () => keep().catch((error) => say(error.message, true)));
element("clear").addEventListener("click", clear);

try {
  opened = await ask("open", { site: SITE, runtime: RUNTIME });
  for (const field of opened.fields) element("field").append(new Option(field, field));
  element("filters").hidden = !opened.fields.length;
  element("query").disabled = false;
  element("query").value = new URLSearchParams(location.search).get("q") ?? "";
  element("query").focus();
  document.documentElement.dataset.ready = "yes";
  await search();
  await goOffline();
} catch (error) {
  say(error.message, true);
}
