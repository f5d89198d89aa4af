/** MaxSim on float vectors: for each query token the best dot product, summed. */

import type { Embedding } from "./encoder.js";
import { InvalidInputError } from "./errors.js";

/**
 * Score a document for a query (Khattab & Zaharia 2020, arXiv 2004.12832).
 *
 * @returns The sum; -Infinity for a document without token vectors.
 */
export function maxsim(query: Embedding, document: Embedding): number {
  return similarities(query, document).reduce((sum, { similarity }) => sum + similarity, 0);
}

/** The nearest document token of each query token; of equally near ones the first. */
export function similarities(
  query: Embedding,
  document: Embedding,
): { position: number; similarity: number }[] {
  const { dim } = query;
  if (dim !== document.dim) {
    throw new InvalidInputError(
      `both must have vectors of one width, got ${dim} and ${document.dim}.`,
    );
  }
  const nearest: { position: number; similarity: number }[] = [];
  for (let q = 0; q < query.rows; q++) {
    let position = -1;
    let similarity = Number.NEGATIVE_INFINITY;
    for (let d = 0; d < document.rows; d++) {
      let product = 0;
      for (let n = 0; n < dim; n++)
        product += query.data[q * dim + n]! * document.data[d * dim + n]!;
      if (product > similarity) {
        similarity = product;
        position = d;
      }
    }
    nearest.push({ position, similarity });
  }
  return nearest;
}
