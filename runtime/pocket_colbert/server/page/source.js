// Code: with colours, and with line numbers where it is a file of its own.

import { make } from "./dom.js";
import { coloursOf } from "./parse.js";

/** Return code as an element, with the numbers of its lines if `lineOf` is given. */
export async function showCode(paint, from, to, language, lineOf = null) {
  const text = paint.text.slice(from, to);
  const colours = await coloursOf(text, language);
  const code = make("code", lineOf ? "numbered" : "");
  if (!lineOf) {
    code.append(...coloured(paint, from, to, from, colours, paint.nodes.bind(paint)));
  } else {
    let at = from;
    text.split("\n").forEach((line, n) => {
      const end = at + line.length;
      const nodes = coloured(paint, at, end, from, colours, paint.plain.bind(paint));
      const row = make("span", "line", ...nodes, "\n");
      if (paint.covered(at, end)) row.classList.add("passage", ...paint.best(at, end + 1));
      row.dataset.line = lineOf(n + 1);
      code.append(row);
      at = end + 1;
    });
  }
  const shown = make("pre", "code", code);
  shown.tabIndex = 0;
  shown.setAttribute("role", "group");
  shown.setAttribute("aria-label", language ? `Code, ${language}` : "Code");
  return shown;
}

/** Return nodes for a part of a text, each colour in an element; colours count from `origin`. */
function coloured(paint, from, to, origin, colours, painted) {
  const nodes = [];
  let at = from;
  let n = first(colours, from - origin);
  for (; n < colours.length && colours[n].from + origin < to; n++) {
    const [start, end] = [Math.max(colours[n].from + origin, from), Math.min(colours[n].to + origin, to)];
    if (start > at) nodes.push(...painted(at, start));
    nodes.push(make("span", colours[n].name, ...painted(start, end)));
    at = end;
  }
  if (at < to) nodes.push(...painted(at, to));
  return nodes;
}

function first(colours, at) {
  let [low, high] = [0, colours.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (colours[middle].to <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}
