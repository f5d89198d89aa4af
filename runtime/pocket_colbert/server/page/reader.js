// Reading a document: rendered by what it is, at the passage that matched.

import * as backend from "./backend.js";
import { readAddress, writeAddress } from "./address.js";
import { $, make, tell } from "./dom.js";
import { linesOf, languageOf, placesOf, viewOf } from "./formats.js";
import { bestStart, light, readerScore, showWords, trail } from "./hits.js";
import { showHtml } from "./html.js";
import { showMarkdown } from "./markdown.js";
import { unitsOf } from "./marks.js";
import { Paint } from "./paint.js";
import { showReadable } from "./readable.js";
import { said } from "./said.js";
import { failed } from "./search.js";
import { showCode } from "./source.js";
import { state } from "./state.js";

const UNSAID = ["lines", "pages", "layout", "path", "size"]; // what the text itself shows

let number = 0;

/** Open a document. `hit` is the one of it if there is one; `again` leaves the address as it is. */
export async function open(id, hit = null, again = false) {
  const mine = ++number;
  if (!again) history.pushState(null, "", writeAddress(location.href, { ...readAddress(location.href), opened: id }));
  try {
    const found = await backend.document(id);
    if (mine !== number) return;
    state.opened = { document: { ...found, text: found.text ?? "" }, hit };
    showHead();
    $("reader-text").replaceChildren(make("p", "quiet", "Loading …"));
    if (!$("reader").open) $("reader").showModal();
    await show(mine);
  } catch (error) {
    if (mine !== number) return;
    leaveAddress();
    failed(error, () => open(id, hit));
  }
}

function showHead() {
  const { document: found, hit } = state.opened;
  $("reader-title").textContent = found.title || found.id;
  $("reader-trail").replaceChildren(trail(hit ?? { id: found.id, title: found.title, passages: [] }));
  $("reader-score").textContent = hit ? readerScore(hit, -1) : "";
  $("reader-about").replaceChildren(...Object.entries(found.metadata)
    .filter(([name]) => !UNSAID.includes(name))
    .slice(0, 30)
    .map(([name, value]) => make("span", "fact", make("span", "name", name), " ", written(value))));
  $("reader-status").textContent = "";
  $("menu").hidden = true;
  $("open-menu").setAttribute("aria-expanded", "false");
  $("delete").hidden = !state.info?.writable;
  $("as-text").textContent = "Show as plain text";
  showWords($("reader-words"), hit ? state.words : []);
}

function written(value) {
  if (/^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) return new Date(value).toLocaleDateString();
  const text = Array.isArray(value) ? value.map(written).join(", ")
    : value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
  return text.length > 200 ? `${text.slice(0, 200)} …` : text;
}

/** Show the text, rendered or plain, and go to what matched. */
async function show(mine, plain = false) {
  const { document: found, hit } = state.opened;
  const paint = new Paint(found.text, hit, { passages: true });
  const view = plain || !found.text ? "plain" : viewOf(found);
  let nodes = null;
  try {
    nodes = await rendered(view, found, paint);
  } catch (error) {
    console.warn(error); // what cannot be rendered can still be read
  }
  if (mine !== number) return;
  $("as-text").hidden = view === "plain" && !plain;
  const text = $("reader-text");
  text.className = nodes ? `text ${view}` : "text plain";
  text.replaceChildren(...(nodes ?? paint.nodes(0, found.text.length)));
  if (!found.text) text.replaceChildren(make("p", "quiet", "The index holds no text of this document."));
  withoutGaps(text);
  text.scrollTop = 0;
  text.focus({ preventScroll: true });
  light(state.pinned);
  goToMatch(found, hit);
}

/** Let no level of headings be left out, which those who hear a page would look for. */
function withoutGaps(text) {
  let last = 2; // the title's
  for (const heading of text.querySelectorAll("h3, h4, h5, h6")) {
    const level = Math.min(Number(heading.tagName[1]), last + 1);
    last = level;
    if (heading.tagName[1] === String(level)) continue;
    const other = make(`h${level}`, heading.className, ...heading.childNodes);
    heading.replaceWith(other);
  }
}

function rendered(view, found, paint) {
  const { text, metadata } = found;
  if (view === "source") {
    const lineOf = linesOf(text, metadata.lines, unitsOf(text));
    return showCode(paint, 0, text.length, languageOf(String(metadata.path ?? "")), lineOf).then((code) => [code]);
  }
  if (view === "markdown") return showMarkdown(found, paint);
  if (view === "html") return showHtml(found, paint);
  return view === "readable" ? showReadable(found, paint) : null;
}

/** Scroll to what matched; without marks, to the page of the passage. */
function goToMatch(found, hit) {
  const text = $("reader-text");
  const names = ["mark.lit", ".best mark", ".best", ".passage mark", ".passage", "mark"];
  let target = names.map((name) => text.querySelector(name)).find(Boolean);
  if (hit && placesOf(found.metadata.pages).length) {
    const at = bestStart(found.text, hit);
    const before = placesOf(found.metadata.pages).filter(([start]) => unitsOf(found.text)(start) <= at).length;
    target ??= text.querySelectorAll(".page")[before - 1];
  }
  target?.scrollIntoView({ block: "center" });
}

/** Take the document out of the address. */
function leaveAddress() {
  const now = readAddress(location.href);
  if (now.opened !== null) history.replaceState(null, "", writeAddress(location.href, { ...now, opened: null }));
}

/** The reader was closed. */
export function closed() {
  number++;
  const id = state.opened?.document.id;
  state.opened = null;
  leaveAddress();
  light(state.pinned);
  // The page may have searched since, and then has new links.
  if (!document.activeElement || document.activeElement === document.body) {
    const at = state.hits.findIndex((hit) => hit.id === id);
    document.querySelectorAll("#hits .hit")[at]?.focus();
  }
}

// ---- the menu

export function toggleMenu(open = $("menu").hidden) {
  $("menu").hidden = !open;
  $("open-menu").setAttribute("aria-expanded", String(open));
  if (open) $("menu").querySelector("button:not([hidden])").focus();
}

export function showOther() {
  const plain = $("as-text").textContent === "Show as plain text";
  $("as-text").textContent = plain ? "Show rendered" : "Show as plain text";
  toggleMenu(false);
  show(number, plain);
}

export async function copy(what) {
  const texts = { link: location.href, text: state.opened.document.text };
  toggleMenu(false);
  try {
    await navigator.clipboard.writeText(texts[what]);
    $("reader-status").textContent = what === "link" ? "The link is copied." : "The text is copied.";
  } catch {
    $("reader-status").textContent = "The browser does not let this page copy: copy by hand.";
  }
}

export function askToDelete() {
  toggleMenu(false);
  $("deleter-name").textContent = state.opened.document.title || state.opened.document.id;
  $("deleter-status").textContent = "";
  $("deleter").showModal();
}

export async function remove(event) {
  event.preventDefault();
  $("delete-now").disabled = true;
  try {
    await backend.remove(state.opened.document.id);
    $("deleter").close();
    $("reader").close();
    tell("changed");
  } catch (error) {
    $("deleter-status").textContent = said(error);
  } finally {
    $("delete-now").disabled = false;
  }
}
