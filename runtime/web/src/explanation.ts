/** Why a document matched: which of its tokens, and where they are. */

import type { Embedding, Query } from "./encoder.js";
import { InvalidInputError } from "./errors.js";
import { similarities } from "./maxsim.js";
import type { Span, Token } from "./tokenizer.js";

const STOP_WORD = 0.15;
const WORD = /[\p{L}\p{N}_]/u;
const CJK =
  /[\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\u{20000}-\u{3ffff}]/u;

export interface TokenMatch {
  queryToken: string;
  querySpan: Span | null;
  documentToken: string;
  /** Where it is in the document's text. */
  documentSpan: Span | null;
  similarity: number;
  /** Its part of what the words of the query add to the score. */
  share: number;
  /** How strongly to mark it, 0 to 1. */
  weight: number;
}

export interface Explanation {
  id: string;
  score: number;
  start: number;
  end: number;
  matches: TokenMatch[];
}

export function explainMatch(
  query: Query,
  id: string,
  text: string,
  start: number,
  tokens: readonly Token[],
  embedding: Embedding,
): Explanation {
  if (!embedding.rows || embedding.rows !== tokens.length) {
    throw new InvalidInputError("the document has no token vectors that could be explained.");
  }
  const nearest = similarities(query.embedding, embedding);
  const adds = nearest.map(({ similarity }, n) =>
    query.tokens[n]!.span ? Math.max(similarity, 0) : 0,
  );
  const total = adds.reduce((sum, value) => sum + value, 0);
  const ofDocument = wordWeights(tokens);
  const weights = matchWeights(
    query.tokens,
    nearest.map(({ position }) => ofDocument[position]!),
  );
  const matches = nearest.map(({ position, similarity }, n): TokenMatch => {
    const [asked, found] = [query.tokens[n]!, tokens[position]!];
    return {
      queryToken: asked.label,
      querySpan: asked.span,
      documentToken: found.label,
      documentSpan: found.span && [start + found.span[0], start + found.span[1]],
      similarity,
      share: total ? adds[n]! / total : 0,
      weight: weights[n]!,
    };
  });
  const score = nearest.reduce((sum, { similarity }) => sum + similarity, 0);
  return { id, score, start, end: start + text.length, matches };
}

/** Weigh tokens by how rare their words are: those of a word as its rarest. */
function wordWeights(tokens: readonly Token[]): number[] {
  const weights = tokens.map(() => 0);
  const words: number[][] = [];
  tokens.forEach((token, n) => {
    if (!token.span || !WORD.test(token.label)) return;
    const before = words.length ? tokens[words.at(-1)!.at(-1)!]! : null;
    const joined =
      before?.span &&
      before.span[1] === token.span[0] &&
      !CJK.test(Array.from(before.label).at(-1)!) &&
      !CJK.test(Array.from(token.label)[0]!);
    if (joined) words.at(-1)!.push(n);
    else words.push([n]);
  });
  for (const word of words) {
    const rarity = Math.max(...word.map((n) => tokens[n]!.rarity));
    for (const n of word) weights[n] = rarity > STOP_WORD ? rarity : 0;
  }
  return weights;
}

function matchWeights(query: readonly Token[], matched: readonly number[]): number[] {
  const weights = wordWeights(query);
  if (weights.some(Boolean)) return weights.map((weight, n) => (matched[n]! > 0 ? weight : 0));
  const words = query.map((token) => Number(token.span !== null && WORD.test(token.label)));
  return words.some(Boolean) ? words : query.map((token) => Number(token.span !== null));
}
