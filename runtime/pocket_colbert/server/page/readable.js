// A text that a reader made of a file, or that has no markup: blocks, headings, lists, tables, pages.

import { make } from "./dom.js";
import { flows, languageOf, layoutOf, placesOf, safeAddress } from "./formats.js";
import { unitsOf } from "./marks.js";
import { showCode } from "./source.js";

const ITEM = /^( *)(?:[-•*]|\d{1,9}[.)]) /;
const ADDRESS = /\bhttps?:\/\/[^\s<>"'`]{3,500}/g;

/** Return the blocks of a text as elements. */
export async function showReadable({ text, title, metadata, sections }, paint) {
  const units = unitsOf(text);
  const headings = new Map(sections.map(({ start, headings: path }) => [units(start), path]));
  const pages = new Map(placesOf(metadata.pages).map(([start, page]) => [units(start), page]));
  const layout = layoutOf(metadata.layout, units);
  const inside = layout.filter(({ kind }) => !isBlock(kind));
  const shown = [];
  for (const { from, to, kind, detail } of blocksOf(text, layout.filter(({ kind }) => isBlock(kind)))) {
    if (pages.has(from)) shown.push(make("p", "page", `Page ${pages.get(from)}`));
    const block = text.slice(from, to);
    const path = headings.get(from);
    let element;
    if (kind === "code") element = await showCode(paint, from, to, languageOf(detail));
    else if (kind === "table") element = table(block, from, paint, inside);
    else if (path?.length && plain(block) === plain(path.at(-1))) {
      element = make(`h${Math.min(path.length + 2, 6)}`, "", ...paint.plain(from, to));
    } else if (from === headings.keys().next().value && plain(block) === plain(title ?? "")) {
      element = make("h3", "", ...paint.plain(from, to)); // readers leave the title out of paths
    } else if (block.split("\n").every((line) => ITEM.test(line))) element = list(block, from, paint, inside);
    else element = make("p", flows(block) ? "flow" : "", ...styled(from, to, paint, inside));
    shown.push(paint.dress(element, from, to));
  }
  return shown;
}

const isBlock = (kind) => kind === "code" || kind === "table";

const plain = (text) => text.replace(/\s+/g, " ").trim();

/** Cut a text at its blank lines, and where its layout says that something else begins. */
export function blocksOf(text, layout) {
  const blocks = [];
  let at = 0;
  const cut = (from, to) => {
    for (const found of text.slice(from, to).matchAll(/[^\n]+(?:\n(?!\s*\n)[^\n]+)*/g)) {
      if (!found[0].trim()) continue;
      const end = from + found.index + found[0].trimEnd().length;
      blocks.push({ from: from + found.index, to: end, kind: "text", detail: "" });
    }
  };
  for (const part of layout) {
    if (part.from < at || part.to > text.length) continue; // says nonsense
    cut(at, part.from);
    blocks.push(part);
    at = part.to;
  }
  cut(at, text.length);
  return blocks;
}

/** Return nodes for text[from, to), with what is marked inside it. */
function styled(from, to, paint, inside) {
  const nodes = [];
  let at = from;
  let n = firstInside(inside, from);
  while (n < inside.length && inside[n].from < to) {
    const part = inside[n];
    if (part.to > to || part.from < at) { // says nonsense
      n++;
      continue;
    }
    nodes.push(...linked(paint.text.slice(at, part.from), at, paint));
    let next = n + 1;
    while (next < inside.length && inside[next].to <= part.to && inside[next].from < part.to) next++;
    const address = part.kind === "link" ? safeAddress(part.detail) : null;
    const within = inside.slice(n + 1, next);
    const shown = part.kind === "span" || address === null && within.length === 0
      ? paint.nodes(part.from, part.to) : styled(part.from, part.to, paint, within);
    if (part.kind === "link") nodes.push(...(address ? [link(address, shown)] : shown));
    else nodes.push(make(part.kind === "span" ? "code" : part.kind, "", ...shown));
    at = part.to;
    n = next;
  }
  return [...nodes, ...linked(paint.text.slice(at, to), at, paint)];
}

function firstInside(inside, at) {
  let [low, high] = [0, inside.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (inside[middle].from < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Return nodes for a part of a text, with addresses in it as links. */
function linked(block, from, paint) {
  const nodes = [];
  let at = 0;
  for (const found of block.matchAll(ADDRESS)) {
    const written = found[0].replace(/[.,;:!?)\]}*_]+$/, "");
    const address = safeAddress(written);
    if (!address) continue;
    nodes.push(...paint.nodes(from + at, from + found.index));
    at = found.index + written.length;
    nodes.push(link(address, paint.nodes(from + found.index, from + at)));
  }
  return [...nodes, ...paint.nodes(from + at, from + block.length)];
}

/** Make a link to another site. */
export function link(address, nodes) {
  const made = make("a", "", ...nodes);
  made.href = address;
  made.target = "_blank";
  made.rel = "noopener noreferrer nofollow";
  return made;
}

function list(block, from, paint, inside) {
  const rows = make("div", "items");
  let at = 0;
  for (const line of block.split("\n")) {
    const row = make("div", "item", ...styled(from + at, from + at + line.length, paint, inside));
    row.dataset.depth = Math.min(Math.floor(ITEM.exec(line)[1].length / 2), 6);
    rows.append(row);
    at += line.length + 1;
  }
  return rows;
}

/** Make a table of rows as readers write them: "a | b" for the labels, then "1 | b: 2". */
function table(block, from, paint, inside) {
  const lines = block.split("\n");
  const labels = lines[0].split(" | ");
  const body = make("tbody", "");
  const head = make("tr", "");
  let at = from;
  lines.forEach((line, n) => {
    const row = n ? make("tr", "") : head;
    let column = 0;
    for (const cell of line.split(" | ")) {
      let start = at;
      if (n && column) { // a cell that is empty is left out, so the label says which it is
        const named = labels.findIndex((label, k) => k >= column && cell.startsWith(`${label}: `));
        if (named > 0) {
          for (; column < named; column++) row.append(make("td", ""));
          start += labels[named].length + 2;
        }
      }
      row.append(make(n ? "td" : "th", "", ...styled(start, at + cell.length, paint, inside)));
      at += cell.length + 3;
      column++;
    }
    if (n) body.append(row);
    at += line.length ? -2 : 1; // no separator after the last cell, but a line break
  });
  return scrolling(make("table", "", make("thead", "", head), body));
}

/** Let what is wide scroll by itself, also by keyboard. */
export function scrolling(inner) {
  const outer = make("div", "wide", inner);
  outer.tabIndex = 0;
  outer.setAttribute("role", "group");
  outer.setAttribute("aria-label", "Table");
  return outer;
}
