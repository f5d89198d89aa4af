// HTML that was added as a text: what it says, without what it would do. Its tags make no elements;
// the ones that part blocks part ours.

import { make } from "./dom.js";
import { entity } from "./markdown.js";

const BLOCK = /^(address|article|aside|blockquote|body|br|dd|div|dl|dt|figcaption|figure|footer|form|h[1-6]|head|header|hr|html|li|main|nav|ol|p|pre|section|summary|table|tbody|td|tfoot|th|thead|title|tr|ul)$/;
const SILENT = /^(script|style|template|noscript|head)$/;

/** Return the blocks of HTML as elements. */
export function showHtml({ text }, paint) {
  const shown = [];
  let parts = [];
  let tag = "p";
  const end = () => {
    if (parts.some(([from, to]) => text.slice(from, to).trim())) {
      const name = /^h[1-6]$/.test(tag) ? `h${Math.min(Number(tag[1]) + 2, 6)}` : tag === "pre" ? "pre" : "p";
      const nodes = parts.flatMap(([from, to]) => decoded(text, from, to, paint));
      shown.push(make(name, "", ...(tag === "li" ? ["• "] : []), ...nodes));
      paint.dress(shown.at(-1), parts[0][0], parts.at(-1)[1]);
    }
    parts = [];
  };
  for (const piece of piecesOf(text)) {
    if (!piece.tag) parts.push([piece.from, piece.to]);
    else if (BLOCK.test(piece.tag)) {
      end();
      tag = piece.closes ? "p" : piece.tag;
    }
  }
  end();
  return shown;
}

/** Cut HTML into { from, to } of text and { tag, closes } of tags, in one go through it. */
export function* piecesOf(text) {
  let at = 0;
  let hasMore = true; // whether there is a ">" further on
  const lower = text.toLowerCase();
  for (let open = text.indexOf("<"); open >= 0 && hasMore; open = text.indexOf("<", open)) {
    const found = /^<(\/?)([a-z][a-z0-9]{0,20})|^<[!?]/i.exec(text.slice(open, open + 24));
    if (!found) {
      open++;
      continue;
    }
    const comment = text.startsWith("<!--", open);
    const close = text.indexOf(comment ? "-->" : ">", open + 1);
    hasMore = close >= 0;
    if (!hasMore) break;
    if (open > at) yield { from: at, to: open };
    at = close + (comment ? 3 : 1);
    const tag = found[2]?.toLowerCase();
    if (tag) yield { tag, closes: found[1] === "/" };
    if (tag && !found[1] && SILENT.test(tag)) {
      const ends = lower.indexOf(`</${tag}`, at);
      if (ends < 0) return;
      at = ends;
    }
    open = at;
  }
  if (at < text.length) yield { from: at, to: text.length };
}

/** Return nodes for text[from, to), with what "&amp;" and the like stand for. */
function decoded(text, from, to, paint) {
  const nodes = [];
  let at = from;
  for (const found of text.slice(from, to).matchAll(/&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z][a-z\d]{1,30});/gi)) {
    const start = from + found.index;
    nodes.push(...paint.nodes(at, start), entity(found[0]));
    at = start + found[0].length;
  }
  return [...nodes, ...paint.nodes(at, to)];
}
