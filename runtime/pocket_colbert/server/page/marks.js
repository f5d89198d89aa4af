// What to mark in a text: pure functions of an explanation, without a page.
//
// The server counts characters as Python does, in code points; JavaScript counts UTF-16 units. So
// texts are cut up as arrays of code points.

const CJK = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;
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

/** Cut text[from, to) into pieces: { text, shares: Map of query word to share, heat, passage }. */
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
    const mark = marks.find(covers);
    found.push({
      text: points.slice(start, end).join(""),
      shares: mark?.shares ?? new Map(),
      heat: mark?.heat ?? 0,
      passage: passages.some(covers),
    });
  }
  return found;
}

/** Say whether a word goes on from one character to the next; no spaces part CJK words. */
function goesOn(before, after) {
  return [before, after].every((letter) => WORD.test(letter) && !CJK.test(letter));
}

/** Return the document's words that were matched, each once, with the share by query word. */
function matchedWords(points, words, explanation) {
  const found = new Map();
  for (const match of explanation.matches) {
    const word = wordOf(words, match.query_span);
    if (word < 0 || !match.document_span || match.weight <= 0) continue;
    let [start, end] = match.document_span;
    if (start >= end) continue;
    // Tokens are parts of words; a part alone reads like a mistake.
    while (start > 0 && goesOn(points[start - 1], points[start])) start--;
    while (end < points.length && goesOn(points[end - 1], points[end])) end++;
    const key = `${start} ${end}`;
    const mark = found.get(key) ?? { start, end, shares: new Map(), heat: 0 };
    mark.heat += match.share * match.weight;
    mark.shares.set(word, (mark.shares.get(word) ?? 0) + match.share);
    found.set(key, mark);
  }
  return [...found.values()];
}
