/** Which passages are worth an exact MaxSim: the inverted file, read list by list. */

import type { Product, QueryCodes } from "./codec.js";
import { IndexFormatError } from "./errors.js";
import type { Inverted, Layout } from "./layout.js";
import { type Files, partOf, Remembered } from "./parts.js";

const ZERO_POINT = 128;
const LEAST_PROBES = 8;
const MOST_PROBES = 64;
const USUAL_LENGTH = 200;
const USUAL_CANDIDATES = 512;

/** How many passages Python scores exactly by default, by their mean number of token vectors. */
export function defaultCandidates(meanLength: number): number {
  const shorter = Math.max(USUAL_LENGTH / Math.max(meanLength, 1), 1);
  return Math.round(USUAL_CANDIDATES * shorter ** 1.25);
}

export class Candidates {
  readonly #lists: Remembered<Uint32Array[]>;

  private constructor(
    private readonly layout: Layout,
    private readonly inverted: Inverted,
    private readonly product: Product,
    private readonly centroids: Uint8Array,
    private readonly scales: Float32Array,
    private readonly lengths: Uint32Array,
    private readonly files: Files,
  ) {
    this.#lists = new Remembered((part) => this.#read(part));
  }

  static async load(layout: Layout, inverted: Inverted, product: Product, files: Files) {
    const [centroids, scales, lengths] = await Promise.all([
      files.get(inverted.centroids),
      files.get(inverted.scales),
      files.numbers(inverted.lengths, inverted.count),
    ]);
    const values = new Float32Array(scales.slice().buffer);
    const whole = centroids.length === inverted.count * layout.codec.dim;
    if (!whole || !values.every(Number.isFinite)) {
      throw new IndexFormatError("the inverted file makes no sense.");
    }
    return new Candidates(layout, inverted, product, centroids, values, lengths, files);
  }

  /**
   * Find the passages whose MaxSim is estimated the highest.
   *
   * @param allowed Which passages may be found; null for all.
   * @returns Passages, ascending.
   */
  async find(query: QueryCodes, allowed: Uint8Array | null, lookups: number, limit: number) {
    const { tokens } = query;
    const { count } = this.inverted;
    const products = await this.product.run(query, this.centroids, ZERO_POINT, this.scales);
    const probes = Math.min(Math.max(Math.floor(lookups / tokens), LEAST_PROBES), MOST_PROBES);
    const wanted = Math.min(probes, count - 1) + 1;
    const nearest = Array.from({ length: tokens }, (_, t) =>
      largest(products.subarray(t * count, (t + 1) * count), wanted),
    );
    await this.#fetch(nearest.flatMap((found) => found.slice(0, -1)));
    const estimates = new Float32Array(this.layout.passages);
    const best = new Float32Array(this.layout.passages);
    for (let t = 0; t < tokens; t++) {
      const row = products.subarray(t * count, (t + 1) * count);
      const found = nearest[t]!;
      const imputed = row[found.at(-1)!]!;
      const touched: number[] = [];
      for (const list of found.slice(0, -1)) {
        const gain = (row[list]! - imputed) * query.scales[t]!;
        for (const passage of await this.#list(list)) {
          if (best[passage] === 0) touched.push(passage);
          if (gain > best[passage]!) best[passage] = gain;
        }
      }
      for (const passage of touched) {
        estimates[passage] = estimates[passage]! + best[passage]!;
        best[passage] = 0;
      }
    }
    const scores = estimates.map((value, passage) =>
      value > 0 && (allowed === null || allowed[passage]) ? value : Number.NEGATIVE_INFINITY,
    );
    return topK(scores, limit).sort((a, b) => a - b);
  }

  async #fetch(lists: readonly number[]): Promise<void> {
    const parts = new Set(lists.map((list) => partOf(this.inverted.lists, list)));
    await Promise.all(Array.from(parts, (part) => this.#lists.get(part)));
  }

  async #list(list: number): Promise<Uint32Array> {
    const part = partOf(this.inverted.lists, list);
    return (await this.#lists.get(part))[list - this.inverted.lists.firsts[part]!]!;
  }

  async #read(part: number): Promise<Uint32Array[]> {
    const { lists } = this.inverted;
    const bytes = await this.files.get(lists.entries[part]!);
    const first = lists.firsts[part]!;
    const last = lists.firsts[part + 1] ?? this.inverted.count;
    const lengths = this.lengths.subarray(first, last);
    if (bytes.length !== 4 * lengths.reduce((sum, length) => sum + length, 0)) {
      throw new IndexFormatError(`${lists.entries[part]!.path} does not hold its lists.`);
    }
    const steps = new Uint32Array(bytes.slice().buffer);
    const found: Uint32Array[] = [];
    let offset = 0;
    for (const length of lengths) {
      const list = steps.slice(offset, offset + length);
      for (let n = 1; n < length; n++) list[n] = list[n]! + list[n - 1]!;
      if (list.some((passage) => passage >= this.layout.passages)) {
        throw new IndexFormatError("a list names a passage that is not there.");
      }
      found.push(list);
      offset += length;
    }
    return found;
  }
}

/** Positions of the largest values, best first; equal ones in order. */
export function topK(values: Float32Array, k: number): number[] {
  const filled: number[] = [];
  values.forEach((value, n) => {
    if (value > Number.NEGATIVE_INFINITY) filled.push(n);
  });
  if (filled.length > k) {
    const sorted = Float32Array.from(filled, (n) => values[n]!).sort();
    const least = sorted[sorted.length - k]!;
    const better = filled.filter((n) => values[n]! > least);
    const equal = filled.filter((n) => values[n] === least).slice(0, k - better.length);
    filled.splice(0, filled.length, ...better.concat(equal).sort((a, b) => a - b));
  }
  return filled.sort((a, b) => values[b]! - values[a]! || a - b);
}

function largest(values: Float32Array, number: number): number[] {
  return topK(values, number);
}
