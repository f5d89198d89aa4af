// What to mark in a text: pure functions of an explanation, without a page.
//
// The server counts characters as Python does, in code points; JavaScript counts UTF-16 units.
// `unitsOf` turns the one into the other; all else here counts in units.

const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
const WORD = /[\p{L}\p{N}\p{M}_]/u;

/** Return a function from code points to units of a text. */
export function unitsOf(text) {
  if (!/[\ud800-\udfff]/.test(text)) return (point) => Math.min(Math.max(point, 0), text.length);
  const starts = [];
  for (let at = 0; at < text.length; at += text.codePointAt(at) > 0xffff ? 2 : 1) starts.push(at);
  starts.push(text.length);
  return (point) => starts[Math.min(Math.max(point, 0), starts.length - 1)];
}

/** Return the words of a query as { start, end, text }, in code points as explanations count. */
export function queryWords(query) {
  const points = Array.from(query);
  const words = [];
  let start = -1;
  for (let n = 0; n <= points.length; n++) {
    const inside = n < points.length && !/\s/u.test(points[n]);
    if (inside && start < 0) start = n;
    if (!inside && start >= 0) {
      words.push({ start, end: n, text: points.slice(start, n).join(""), stop: false });
      start = -1;
    }
  }
  return words;
}

const wordOf = (words, span) => (span ? words.findIndex((w) => span[0] < w.end && span[1] > w.start) : -1);

/** Set `stop` of the words that matches are not marked of, such as "the". */
export function findStopWords(words, keySpans) {
  const keys = new Set(keySpans.map((span) => wordOf(words, span)));
  words.forEach((word, n) => { word.stop = !keys.has(n); });
}

/** Return of each word the share that its tokens have of what all words add to the score. */
export function wordShares(words, explanation) {
  const shares = words.map(() => 0);
  for (const match of explanation.matches) {
    const word = wordOf(words, match.query_span);
    if (word >= 0) shares[word] += match.share;
  }
  return shares;
}

/** Say whether a word goes on from one character to the next; no spaces part CJK words. */
const goesOn = (before, after) => [before, after].every((letter) => WORD.test(letter) && !CJK.test(letter));

/**
 * Return the words of a text that were matched: { from, to, shares: Map of query word to share, heat }.
 *
 * @param text the text
 * @param words the words of the query
 * @param explanation of the hit, or nothing
 * @param first where the text starts in that of the document, in code points
 */
export function marksOf(text, words, explanation, first = 0) {
  const units = unitsOf(text);
  const found = new Map();
  for (const match of explanation?.matches ?? []) {
    const word = wordOf(words, match.query_span);
    if (word < 0 || !match.document_span || match.weight <= 0) continue;
    let [from, to] = match.document_span.map((point) => point - first);
    if (from < 0 || from >= to || units(to) === units(to - 1)) continue; // outside the text
    [from, to] = [units(from), units(to)];
    // Tokens are parts of words; a part alone reads like a mistake.
    while (from > 0 && goesOn(letterBefore(text, from), letterAt(text, from))) from -= letterBefore(text, from).length;
    while (to < text.length && goesOn(letterBefore(text, to), letterAt(text, to))) to += letterAt(text, to).length;
    const mark = found.get(from) ?? { from, to, shares: new Map(), heat: 0 };
    mark.to = Math.max(mark.to, to);
    mark.heat += match.share * match.weight;
    mark.shares.set(word, (mark.shares.get(word) ?? 0) + match.share);
    found.set(from, mark);
  }
  const marks = [...found.values()].sort((a, b) => a.from - b.from);
  return marks.filter((mark, n) => n === 0 || mark.from >= marks[n - 1].to);
}

/** Return which words have no match in the document's text: they matched its title, or nothing. */
export function unexplained(words, explanation) {
  const explained = new Set((explanation?.matches ?? [])
    .filter((match) => match.document_span && match.weight > 0)
    .map((match) => wordOf(words, match.query_span)));
  return words.map((_, n) => n).filter((n) => !words[n].stop && !explained.has(n));
}

const MOST_ITSELF = 100; // places of a word that are marked because they are that word

/** Return where words of a query stand in a text themselves, as `marksOf` does. */
export function wordsItself(text, words, numbers) {
  const marks = [];
  for (const n of numbers) {
    const word = words[n].text.replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");
    if (!word || word.length > 100) continue;
    const literal = word.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
    const places = text.matchAll(new RegExp(`(?<![\\p{L}\\p{N}_])${literal}(?![\\p{L}\\p{N}_])`, "giu"));
    for (const found of places) {
      if (marks.length === MOST_ITSELF) break;
      marks.push({ from: found.index, to: found.index + found[0].length, shares: new Map([[n, null]]), heat: 0 });
    }
  }
  return marks;
}

/** Return marks in order, without those that lie over others; the first ones win. */
export function merged(marks, others) {
  const kept = [...marks, ...others.filter((o) => !marks.some((m) => m.from < o.to && o.from < m.to))];
  kept.sort((a, b) => a.from - b.from);
  return kept.filter((mark, n) => n === 0 || mark.from >= kept[n - 1].to);
}

function letterAt(text, at) {
  return String.fromCodePoint(text.codePointAt(at));
}

function letterBefore(text, at) {
  const low = text.charCodeAt(at - 1);
  return low >= 0xdc00 && low <= 0xdfff && at > 1 ? text.slice(at - 2, at) : text[at - 1];
}
