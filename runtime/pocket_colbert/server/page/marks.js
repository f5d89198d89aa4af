// What to mark in a text: pure functions of an explanation, without a page.
//
// The server counts characters as Python does, in code points; JavaScript counts UTF-16 units. So
// texts are cut up as arrays of code points.

const WORD = /[\p{L}\p{N}\p{M}_]/u;

/** Return the words of a query as [start, end) in code points. */
export function queryWords(query) {
  const points = Array.from(query);
  const words = [];
  let start = -1;
  for (let n = 0; n <= points.length; n++) {
    const inside = n < points.length && !/\s/u.test(points[n]);
    if (inside && start < 0) start = n;
    if (!inside && start >= 0) {
      words.push({ start, end: n, text: points.slice(start, n).join("") });
      start = -1;
    }
  }
  return words;
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

function wordOf(words, span) {
  return span ? words.findIndex((w) => span[0] < w.end && span[1] > w.start) : -1;
}

/** Cut text[from, to) into pieces: { text, shares: Map of query word to share, passage }. */
export function pieces(text, from, to, words, explanation, passages = []) {
  const points = Array.from(text);
  const marks = explanation ? matchedWords(points, words, explanation) : [];
  const borders = new Set([from, to]);
  for (const { start, end } of [...marks, ...passages]) {
    for (const place of [start, end]) if (place > from && place < to) borders.add(place);
  }
  const places = [...borders].sort((a, b) => a - b);
  const found = [];
  for (let n = 0; n + 1 < places.length; n++) {
    const [start, end] = [places[n], places[n + 1]];
    const covers = (span) => span.start <= start && span.end >= end;
    found.push({
      text: points.slice(start, end).join(""),
      shares: marks.find(covers)?.shares ?? new Map(),
      passage: passages.some(covers),
    });
  }
  return found;
}

/** Return the document's words that were matched, each once, with the share by query word. */
function matchedWords(points, words, explanation) {
  const found = new Map();
  for (const match of explanation.matches) {
    const word = wordOf(words, match.query_span);
    if (word < 0 || !match.document_span) continue;
    let [start, end] = match.document_span;
    if (start >= end) continue;
    // Tokens are parts of words; a part alone reads like a mistake.
    while (start > 0 && WORD.test(points[start]) && WORD.test(points[start - 1])) start--;
    while (end < points.length && WORD.test(points[end - 1]) && WORD.test(points[end])) end++;
    const key = `${start} ${end}`;
    const mark = found.get(key) ?? { start, end, shares: new Map() };
    mark.shares.set(word, (mark.shares.get(word) ?? 0) + match.share);
    found.set(key, mark);
  }
  return [...found.values()];
}
