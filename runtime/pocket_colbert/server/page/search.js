// A search: from what is typed to hits, with what is said meanwhile and when it fails.

import * as backend from "./backend.js";
import { readAddress, writeAddress } from "./address.js";
import { $, tell } from "./dom.js";
import { whereOf } from "./filters.js";
import { addHits, showHits, showWords } from "./hits.js";
import { findStopWords, queryWords } from "./marks.js";
import { said } from "./said.js";
import { state, weak } from "./state.js";

const TYPING_PAUSE = 150; // ms
const SHOWN = 10; // hits at a time
const MOST = 1000; // hits that a server returns
const BUSY_AFTER = 300; // ms without an answer
const SLOW_AFTER = 4000; // ms
const AGAIN_AFTER = [1000, 2000, 4000]; // ms after which a busy server is asked again

let underWay = null;
let pause = null;
let asked = 0;

/** Search when nothing has been typed for a moment. */
export function searchSoon() {
  clearTimeout(pause);
  pause = setTimeout(search, TYPING_PAUSE);
}

/** What the page asks for now, as the address says it. */
function wanted() {
  return {
    query: $("query").value.trim(), conditions: state.conditions, rank: $("hybrid").value,
    least: Number($("least").value), opened: readAddress(location.href).opened,
  };
}

/** Search for what is asked now, and show what is found. */
export async function search() {
  clearTimeout(pause);
  const now = wanted();
  const number = ++asked;
  underWay?.abort();
  history.replaceState(history.state, "", writeAddress(location.href, now));
  hideProblem();
  $("more").hidden = true;
  $("start").hidden = Boolean(now.query);
  if (!now.query) {
    show("", []);
    const filtered = now.conditions.length > 0;
    $("status").textContent = filtered ? "Ask a question of the documents that the filter lets through." : "";
    return;
  }
  try {
    const answer = await answerOf(request(now, 0), () => number === asked);
    if (number !== asked) return; // the answer to an older question
    show(now.query, answer.hits, answer.key_spans);
    $("status").textContent = counted(answer, now.rank);
    $("more").hidden = answer.hits.length < SHOWN;
    tell("found");
  } catch (error) {
    if (number !== asked || error.name === "AbortError") return;
    show(now.query, []);
    failed(error, search);
  }
}

/** Show the hits after those that are shown. */
export async function searchMore() {
  const now = wanted();
  const number = asked;
  $("more").disabled = true;
  hideProblem();
  try {
    const answer = await answerOf(request(now, state.hits.length), () => number === asked);
    if (number !== asked) return;
    const first = addHits(answer.hits);
    first?.focus();
    $("more").hidden = answer.hits.length < SHOWN || state.hits.length >= MOST;
    $("status").textContent = counted({ ...answer, hits: state.hits }, now.rank);
  } catch (error) {
    if (number === asked && error.name !== "AbortError") failed(error, searchMore);
  } finally {
    $("more").disabled = false;
  }
}

function request({ query, conditions, rank, least }, offset) {
  return {
    query, k: SHOWN, offset, explain: true, snippet_length: 240, hybrid: rank, where: whereOf(conditions),
    min_relevance: least ? least / 100 : null,
  };
}

/** Ask, say that it takes long if it does, and ask a busy server again. */
async function answerOf(body, current) {
  underWay = new AbortController();
  const { signal } = underWay;
  $("hits").setAttribute("aria-busy", "true");
  const say = (text) => { if (current()) $("status").textContent = text; };
  const busy = setTimeout(say, BUSY_AFTER, "Searching …");
  const slow = setTimeout(say, SLOW_AFTER, "Still searching: the server has much to do.");
  try {
    for (let n = 0; ; n++) {
      try {
        return await backend.search(body, signal);
      } catch (error) {
        if (error.status !== 503 || n === AGAIN_AFTER.length || !current()) throw error;
        say("The server is busy. Trying again …");
        await new Promise((resolve) => setTimeout(resolve, AGAIN_AFTER[n]));
        signal.throwIfAborted();
      }
    }
  } finally {
    clearTimeout(busy);
    clearTimeout(slow);
    if (current()) $("hits").removeAttribute("aria-busy");
  }
}

function show(query, hits, keySpans = []) {
  state.words = query ? queryWords(query) : [];
  findStopWords(state.words, keySpans);
  state.pinned = -1;
  showWords($("words"), hits.length ? state.words : []);
  showHits(hits);
}

/** Say what has gone wrong, and offer to try again. */
export function failed(error, again) {
  $("status").textContent = "";
  if (error.status === 401) {
    tell("unauthorized", { again });
    return;
  }
  $("problem-text").textContent = said(error);
  $("again").onclick = () => {
    hideProblem();
    again();
  };
  $("problem").hidden = false;
}

export function hideProblem() {
  $("problem").hidden = true;
  $("problem-text").textContent = "";
}

/** Say how many hits there are, and whether any of them is likely to be right. */
function counted({ hits, ranked_by: by, truncated }, rank) {
  if (!hits.length) return nothing();
  const cut = truncated ? ". The question is too long: its end was not looked at" : "";
  const why = rank === "auto" && by === "keywords"
    ? ", by keywords: the model was not made for this language" : "";
  if (hits.every(weak)) {
    return `Weak matches: nothing here is likely to be what you ask for${why || cut ? why + cut : ""}.`;
  }
  const strong = hits.filter((hit) => !weak(hit)).length;
  const number = strong === hits.length ? `${strong} ${strong === 1 ? "hit" : "hits"}`
    : `${strong} ${strong === 1 ? "hit" : "hits"}, ${hits.length - strong} weak ${hits.length - strong === 1 ? "match" : "matches"}`;
  return number + why + cut;
}

function nothing() {
  if (!$("indexing").hidden) return "Nothing found yet: documents are still being indexed.";
  if (Number($("least").value)) return "Nothing found: ask for less relevance, or ask in other words.";
  if (state.conditions.length) return "Nothing found: remove a filter, or ask in other words.";
  return "Nothing found: ask in other words.";
}
