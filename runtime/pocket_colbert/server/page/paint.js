// Parts of a text as nodes, with what was matched marked. All text of documents goes through here.

import { make, percent } from "./dom.js";
import { marksOf, merged, unexplained, unitsOf, wordsItself } from "./marks.js";
import { state } from "./state.js";

const FAINT = 0.12; // less heat than that of the hottest would only be noise
const ITSELF = 0.4; // heat of a word that was not matched by meaning but stands there

export class Paint {
  /**
   * @param text the text
   * @param hit the hit that it belongs to, or null
   * @param options first: where the text starts in the document's, in code points; passages: whether
   *   to show the passages of the hit
   */
  constructor(text, hit, { first = 0, passages = false } = {}) {
    const units = unitsOf(text);
    this.text = text;
    this.marks = marksOf(text, state.words, hit?.explanation, first);
    this.hottest = Math.max(0, ...this.marks.map((mark) => mark.heat));
    this.passages = !passages || !hit ? [] : joined(hit.passages.map(({ start, end }) => {
      const [from, to] = [units(start), units(end)];
      return [from, from + text.slice(from, to).trimEnd().length];
    }));
    if (!hit) return;
    // A word that matched the title is marked where it stands in the text, too.
    const itself = wordsItself(text, state.words, unexplained(state.words, hit.explanation));
    this.marks = merged(this.marks, itself.filter(({ from, to }) => !passages || this.covered(from, to)));
  }

  /** Return a title as nodes, with the words of the query in it marked. */
  static title(title) {
    const paint = new Paint(title, null);
    const words = state.words.map((_, n) => n).filter((n) => !state.words[n].stop);
    paint.marks = merged([], wordsItself(title, state.words, words).sort((a, b) => a.from - b.from));
    return paint.plain(0, title.length);
  }

  /** Give an element that shows text[from, to) the class of a passage if all of it lies in one. */
  dress(element, from, to) {
    if (this.covered(from, to) === "all") element.classList.add("passage", ...this.best(from, to));
    return element;
  }

  /** Return ["best"] if a part touches the best passage, [] otherwise. */
  best(from, to) {
    const [first] = this.passages;
    return first && first[0] < to && from < first[1] ? ["best"] : [];
  }

  /** Say how much of a part lies in a passage: "all", "some" or "". */
  covered(from, to) {
    if (this.passages.some((p) => p[0] <= from && to <= p[1])) return "all";
    return this.passages.some((p) => p[0] < to && from < p[1]) ? "some" : "";
  }

  /** Return nodes for text[from, to); a passage that ends within is an element of its own. */
  nodes(from, to) {
    if (this.covered(from, to) !== "some") return this.plain(from, to);
    const nodes = [];
    let at = from;
    for (const [start, end] of this.passages.filter((p) => p[0] < to && from < p[1]).sort((a, b) => a[0] - b[0])) {
      nodes.push(...this.plain(at, Math.max(at, start)));
      nodes.push(make("span", ["passage", ...this.best(Math.max(at, start), Math.min(end, to))].join(" "),
        ...this.plain(Math.max(at, start), Math.min(end, to))));
      at = Math.min(end, to);
    }
    return [...nodes, ...this.plain(at, to)];
  }

  /** Return nodes for text[from, to), without passages. */
  plain(from, to) {
    const nodes = [];
    let at = from;
    for (let n = this.firstMark(from); n < this.marks.length && this.marks[n].from < to; n++) {
      const mark = this.marks[n];
      const [start, end] = [Math.max(mark.from, from), Math.min(mark.to, to)];
      if (start > at) nodes.push(document.createTextNode(this.text.slice(at, start)));
      nodes.push(this.element(mark, this.text.slice(start, end)));
      at = end;
    }
    if (at < to) nodes.push(document.createTextNode(this.text.slice(at, to)));
    return nodes;
  }

  firstMark(from) {
    let [low, high] = [0, this.marks.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.marks[middle].to <= from) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  element(mark, text) {
    const node = make("mark", "", text);
    const itself = [...mark.shares.values()].includes(null);
    const heat = itself ? ITSELF : mark.heat / this.hottest || 0;
    node.style.setProperty("--heat", heat < FAINT ? "0" : (0.15 + 0.85 * heat).toFixed(3));
    node.dataset.words = [...mark.shares.keys()].join(" ");
    node.title = [...mark.shares]
      .map(([word, part]) => `${state.words[word].text}: ${part === null ? "the word itself" : `${percent(part)} of the words' score`}`)
      .join("\n");
    return node;
  }
}

/** Join spans that overlap; the one that came first stays first. */
function joined(spans) {
  const kept = [];
  for (const span of spans) {
    const other = kept.find((k) => k[0] <= span[1] && span[0] <= k[1]);
    if (other) [other[0], other[1]] = [Math.min(other[0], span[0]), Math.max(other[1], span[1])];
    else kept.push([...span]);
  }
  return kept;
}
