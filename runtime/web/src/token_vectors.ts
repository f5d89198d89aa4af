/** The codes of passages: fetched part by part, unpacked, and scored. */

import { BLOCK, type Codec, halfFloats, type Product, type QueryCodes } from "./codec.js";
import type { Embedding } from "./encoder.js";
import { IndexFormatError } from "./errors.js";
import type { Layout } from "./layout.js";
import { type Files, partOf, Remembered } from "./parts.js";

/** A passage's unpacked codes, a token vector a row, and their scales. */
interface PassageCodes {
  codes: Uint8Array;
  scales: Float32Array;
}

export class TokenVectors {
  readonly #parts: Remembered<Map<number, PassageCodes>>;
  /** The passage at each place of the parts, and the place of each passage. */
  readonly #passages: Uint32Array;
  readonly #places: Uint32Array;

  constructor(
    private readonly layout: Layout,
    private readonly files: Files,
    private readonly product: Product,
    /** Token vectors of each passage. */
    readonly lengths: Uint32Array,
    order: Uint32Array,
    firsts: Uint32Array,
  ) {
    this.#passages = new Uint32Array(layout.passages);
    this.#places = new Uint32Array(layout.passages);
    let place = 0;
    for (const document of order) {
      for (let passage = firsts[document]!; passage < firsts[document + 1]!; passage++) {
        this.#passages[place] = passage;
        this.#places[passage] = place++;
      }
    }
    this.#parts = new Remembered((part) => this.#read(part));
  }

  get codec(): Codec {
    return this.layout.codec;
  }

  /** Token vectors a passage has on average, those that are left over in rows included. */
  get meanLength(): number {
    const { planes } = this.codec;
    const rows = this.lengths.reduce((sum, length) => sum + Math.ceil(length / planes), 0);
    return (rows * planes) / Math.max(this.lengths.length, 1);
  }

  /**
   * Score passages by MaxSim.
   *
   * @returns For each passage the best product of each query token, end to end; -1 for a passage
   *   without token vectors.
   */
  async similarities(query: QueryCodes, passages: ArrayLike<number>): Promise<Float32Array> {
    const { tokens } = query;
    const found = new Float32Array(passages.length * tokens).fill(-1);
    await this.fetch(passages);
    let first = 0;
    while (first < passages.length) {
      let last = first;
      let size = 0;
      const block: PassageCodes[] = [];
      while (last < passages.length && (last === first || size < BLOCK)) {
        const codes = await this.#codes(passages[last]!);
        block.push(codes);
        size += codes.scales.length;
        last++;
      }
      if (size)
        await this.#scoreBlock(query, block, size, found.subarray(first * tokens, last * tokens));
      first = last;
    }
    return found;
  }

  /** Fetch the parts that passages are in, side by side. */
  async fetch(passages: ArrayLike<number>): Promise<void> {
    const parts = new Set<number>();
    for (let n = 0; n < passages.length; n++) parts.add(this.#partOf(passages[n]!));
    await Promise.all(Array.from(parts, (part) => this.#parts.get(part)));
  }

  /** Return a passage's token vectors as they are stored. */
  async decode(passage: number): Promise<Embedding> {
    const { codes, scales } = await this.#codes(passage);
    return this.codec.decode(codes, scales, this.lengths[passage]!);
  }

  #partOf(passage: number): number {
    return partOf(this.layout.codes, this.#places[passage]!);
  }

  async #codes(passage: number): Promise<PassageCodes> {
    return (await this.#parts.get(this.#partOf(passage))).get(passage) as PassageCodes;
  }

  async #scoreBlock(query: QueryCodes, block: PassageCodes[], size: number, found: Float32Array) {
    const { tokens } = query;
    const rows = new Uint8Array(size * this.codec.dim);
    const scales = new Float32Array(size);
    let row = 0;
    for (const passage of block) {
      rows.set(passage.codes, row * this.codec.dim);
      scales.set(passage.scales, row);
      row += passage.scales.length;
    }
    const products = await this.product.run(query, rows, this.codec.zeroPoint, scales);
    for (let t = 0; t < tokens; t++) {
      const scale = query.scales[t]!;
      const constant = query.constants[t]!;
      let position = t * size;
      for (let n = 0; n < block.length; n++) {
        const end = position + block[n]!.scales.length;
        let best = Number.NEGATIVE_INFINITY;
        for (; position < end; position++)
          if (products[position]! > best) best = products[position]!;
        if (best > Number.NEGATIVE_INFINITY) found[n * tokens + t] = best * scale + constant;
      }
    }
  }

  /** Fetch a part, and cut it into its passages. */
  async #read(part: number): Promise<Map<number, PassageCodes>> {
    const { codes } = this.layout;
    const { dim, planes } = this.codec;
    const bytes = await this.files.get(codes.entries[part]!);
    const last = codes.firsts[part + 1] ?? this.layout.passages;
    const passages = new Map<number, PassageCodes>();
    let offset = 0;
    for (let place = codes.firsts[part]!; place < last; place++) {
      const passage = this.#passages[place]!;
      const rows = Math.ceil(this.lengths[passage]! / planes);
      const end = offset + rows * dim;
      const next = end + 2 * rows * planes;
      if (next > bytes.length) break;
      const unpacked = new Uint8Array(rows * planes * dim);
      this.codec.unpack(bytes.subarray(offset, end), unpacked);
      const halves = halfFloats(bytes.subarray(end, next));
      if (!halves.every(Number.isFinite)) throw new IndexFormatError("scales must be numbers.");
      const scales = new Float32Array(rows * planes);
      for (let n = 0; n < scales.length; n++)
        scales[(n % planes) * rows + Math.floor(n / planes)] = halves[n]!;
      passages.set(passage, { codes: unpacked, scales });
      offset = next;
    }
    if (offset !== bytes.length || passages.size !== last - codes.firsts[part]!) {
      throw new IndexFormatError(`${codes.entries[part]!.path} does not hold its passages.`);
    }
    return passages;
  }
}
