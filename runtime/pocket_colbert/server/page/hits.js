// The list of hits, and the words of the query, each of which shows what it matched.

import { $, button, make, percent, tell } from "./dom.js";
import { signsIn, viewOf } from "./formats.js";
import { unitsOf, wordShares } from "./marks.js";
import { Paint } from "./paint.js";
import { readAddress, writeAddress } from "./address.js";
import { state, weak } from "./state.js";

/** Show hits in place of those that are shown. */
export function showHits(hits) {
  state.hits = [];
  $("hits").replaceChildren();
  addHits(hits);
  light(-1);
}

/** Show further hits; return the first of their links. */
export function addHits(hits) {
  const before = state.hits.length;
  const hadWeak = state.hits.some(weak);
  state.hits.push(...hits);
  hits.forEach((hit, n) => {
    const item = make("li", "", hitLink(hit, before + n));
    const first = weak(hit) && !hadWeak && !hits.slice(0, n).some(weak);
    if (first && before + n > 0) item.classList.add("first-weak");
    $("hits").append(item);
  });
  return $("hits").children[before]?.querySelector("a");
}

function hitLink(hit, n) {
  const link = make("a", "hit", make("span", "head", make("strong", "", ...Paint.title(hit.title || hit.id)), score(hit)));
  link.href = writeAddress(location.href, { ...readAddress(location.href), opened: hit.id });
  link.classList.toggle("weak", weak(hit));
  link.append(trail(hit), snippet(hit));
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // as any link
    event.preventDefault();
    tell("open", { id: hit.id, hit: state.hits[n] });
  });
  return link;
}

function score(hit) {
  const shown = make("span", "score", scoreText(hit, -1));
  if (typeof hit.relevance !== "number") return shown;
  const bar = make("span", "bar-of");
  bar.style.setProperty("--share", hit.relevance.toFixed(3));
  bar.title = `Relevance ${percent(hit.relevance)}: how likely this is right`;
  return make("span", "rated", bar, shown);
}

/** Show where a hit is from: its place, and the headings it stands under. */
export function trail(hit, headings = hit.passages[0]?.headings ?? []) {
  const parts = [hit.place ?? hit.id, ...headings.filter((heading) => heading !== hit.title)];
  const shown = make("span", "trail");
  parts.forEach((part, n) => {
    if (n) shown.append(make("span", "step", " › "));
    shown.append(make("span", n ? "" : "place", part));
  });
  return shown;
}

function snippet(hit) {
  const shown = make("span", "snippet");
  if (hit.snippet === null) return shown;
  const [start, end] = hit.snippet_span;
  const text = hit.snippet;
  const paint = new Paint(text, hit, { first: start });
  const view = viewOf({ text, metadata: hit.metadata });
  const signs = view === "markdown" || view === "html" ? signsIn(text) : [];
  if (view === "source") shown.classList.add("mono");
  if (start) shown.append("… ");
  let at = 0;
  for (const [from, to] of signs) {
    shown.append(...paint.plain(at, from));
    at = to;
  }
  shown.append(...paint.plain(at, text.length));
  if (end < hit.text_length) shown.append(" …");
  return shown;
}

// ---- what a word of the query matched

/** Show the words of the query as buttons; stop words are only there to be read. */
export function showWords(place, words) {
  place.replaceChildren(...words.map((word, n) => {
    if (word.stop) return make("span", "stop", word.text);
    const made = button("word", word.text, () => {
      state.pinned = state.pinned === n ? -1 : n;
      light(state.pinned < 0 ? n : state.pinned);
      for (const each of document.querySelectorAll(".word")) {
        each.setAttribute("aria-pressed", String(Number(each.dataset.word) === state.pinned));
      }
    });
    made.dataset.word = n;
    made.setAttribute("aria-pressed", String(n === state.pinned));
    for (const name of ["mouseenter", "focus"]) made.addEventListener(name, () => light(n));
    for (const name of ["mouseleave", "blur"]) made.addEventListener(name, () => light(state.pinned));
    return made;
  }));
}

/** Light what a word of the query matched; -1 for none. */
export function light(word) {
  document.body.classList.toggle("focused", word >= 0);
  for (const mark of document.querySelectorAll("mark")) {
    mark.classList.toggle("lit", mark.dataset.words.split(" ").includes(String(word)));
  }
  document.querySelectorAll("#hits .score").forEach((label, n) => {
    label.textContent = scoreText(state.hits[n], word);
  });
  if (state.opened?.hit) $("reader-score").textContent = readerScore(state.opened.hit, word);
}

function scoreText(hit, word) {
  if (word < 0 || !hit.explanation) {
    return typeof hit.relevance === "number" ? percent(hit.relevance) : hit.score.toFixed(2);
  }
  return `${percent(wordShares(state.words, hit.explanation)[word])} of the words`;
}

/** Say how good the hit is that is read. */
export function readerScore(hit, word) {
  const name = typeof hit.relevance === "number" ? "relevance" : "score";
  return word < 0 ? `${name} ${scoreText(hit, word)}` : scoreText(hit, word);
}

/** Return where the best passage starts, in units of the text. */
export const bestStart = (text, hit) => unitsOf(text)(hit?.passages[0]?.start ?? 0);
