/** Queries and token vectors as whole numbers; the same as Python's codec reads. */

import productGraph from "../../pocket_colbert/vectors/onnx_graphs/product_uint8.onnx";
import type { Embedding } from "./encoder.js";
import { IndexFormatError } from "./errors.js";
import { Graph } from "./graph.js";
import type { RuntimeOptions } from "./platform.js";

/** Token vectors that are multiplied at a time. */
export const BLOCK = 16_384;

export interface QueryCodes {
  /** (dim, tokens), moved up by 128. */
  codes: Uint8Array;
  scales: Float32Array;
  constants: Float32Array;
  tokens: number;
}

export class Codec {
  readonly planes: number;
  readonly zeroPoint: number;
  /** (dim, dim): a vector times it is rotated. */
  readonly #rotation: Float32Array;

  constructor(
    readonly dim: number,
    readonly bits: number,
    readonly shared: Float32Array,
    signs: string,
  ) {
    if (![8, 4, 2, 1].includes(bits) || shared.length !== dim || !shared.every(Number.isFinite)) {
      throw new IndexFormatError("the index does not say what its codes mean.");
    }
    if (!/^[+-]+$/.test(signs) || signs.length !== 2 * dim) {
      throw new IndexFormatError("the index does not say how its vectors are rotated.");
    }
    this.planes = 8 / bits;
    this.zeroPoint = bits === 8 ? 128 : (1 << bits) - 1;
    this.#rotation = rotation(
      dim,
      Array.from(signs, (sign) => (sign === "+" ? 1 : -1)),
    );
  }

  encodeQuery(query: Embedding): QueryCodes {
    const { dim } = this;
    const tokens = query.rows;
    const codes = new Uint8Array(dim * tokens);
    const scales = new Float32Array(tokens);
    const constants = new Float32Array(tokens);
    for (let t = 0; t < tokens; t++) {
      const rotated = this.#rotated(query.data.subarray(t * dim, (t + 1) * dim));
      let largest = rotated.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      if (largest === 0) largest = 127;
      const factor = Math.fround(127 / largest);
      for (let n = 0; n < dim; n++) {
        codes[n * tokens + t] = 128 + roundEven(Math.fround(rotated[n]! * factor));
      }
      scales[t] = largest / 127;
      constants[t] = rotated.reduce((sum, value, n) => sum + value * this.shared[n]!, 0);
    }
    return { codes, scales, constants, tokens };
  }

  /** Write the codes of rows, plane after plane, to `out`; minus `zeroPoint` they are levels. */
  unpack(rows: Uint8Array, out: Uint8Array): void {
    if (this.bits === 8) {
      out.set(rows);
      return;
    }
    const mask = ((1 << this.bits) - 1) << 1;
    for (let plane = 0; plane < this.planes; plane++) {
      const shift = plane * this.bits;
      const offset = plane * rows.length;
      for (let n = 0; n < rows.length; n++) out[offset + n] = ((rows[n]! << 1) >> shift) & mask;
    }
  }

  /** Put token vectors together from unpacked codes and scales. */
  decode(codes: Uint8Array, scales: Float32Array, tokens: number): Embedding {
    const { dim } = this;
    const data = new Float32Array(tokens * dim);
    const turned = new Float32Array(dim);
    for (let t = 0; t < tokens; t++) {
      for (let n = 0; n < dim; n++) {
        turned[n] = (codes[t * dim + n]! - this.zeroPoint) * scales[t]! + this.shared[n]!;
      }
      for (let row = 0; row < dim; row++) {
        let sum = 0;
        for (let n = 0; n < dim; n++) sum += this.#rotation[row * dim + n]! * turned[n]!;
        data[t * dim + row] = sum;
      }
    }
    return { data, rows: tokens, dim, lost: 0 };
  }

  #rotated(vector: Float32Array): Float32Array {
    const result = new Float64Array(this.dim);
    for (let row = 0; row < this.dim; row++) {
      const value = vector[row]!;
      const offset = row * this.dim;
      for (let n = 0; n < this.dim; n++) result[n]! += value * this.#rotation[offset + n]!;
    }
    return Float32Array.from(result);
  }
}

/** Multiplies codes with a query in whole numbers, by the graph that Python uses. */
export class Product {
  private constructor(private readonly graph: Graph) {}

  static async load(options: RuntimeOptions): Promise<Product> {
    return new Product(await Graph.load(productGraph, options));
  }

  /** Return (query tokens, n) scaled products. */
  async run(query: QueryCodes, rows: Uint8Array, zeroPoint: number, scales: Float32Array) {
    const dim = query.codes.length / query.tokens;
    const { data } = await this.graph.run({
      rows: { type: "uint8", data: rows, dims: [scales.length, dim] },
      codes: { type: "uint8", data: query.codes, dims: [dim, query.tokens] },
      zero_point: { type: "uint8", data: Uint8Array.of(zeroPoint), dims: [] },
      scales: { type: "float32", data: scales, dims: [1, scales.length] },
    });
    return data;
  }
}

/** Twice a cosine transform after flipping signs; docs/format.md has the formula. */
function rotation(dim: number, signs: number[]): Float32Array {
  const cosine = new Float64Array(dim * dim);
  for (let j = 0; j < dim; j++) {
    const scale = Math.sqrt((j ? 2 : 1) / dim);
    for (let k = 0; k < dim; k++) {
      cosine[j * dim + k] = scale * Math.cos((Math.PI * (k + 0.5) * j) / dim);
    }
  }
  const matrix = new Float32Array(dim * dim);
  for (let j = 0; j < dim; j++) {
    for (let k = 0; k < dim; k++) {
      let sum = 0;
      for (let n = 0; n < dim; n++) {
        sum += cosine[j * dim + n]! * signs[n]! * cosine[n * dim + k]! * signs[dim + k]!;
      }
      matrix[k * dim + j] = sum;
    }
  }
  return matrix;
}

/** Round as NumPy's rint does: halves to the even number. */
function roundEven(value: number): number {
  const rounded = Math.round(value);
  return Math.abs(value % 1) === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Read little-endian float16. */
export function halfFloats(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Float32Array(bytes.length >> 1);
  for (let n = 0; n < values.length; n++) {
    const half = view.getUint16(2 * n, true);
    const exponent = (half >> 10) & 31;
    const fraction = half & 1023;
    const size =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 31
          ? fraction
            ? Number.NaN
            : Number.POSITIVE_INFINITY
          : (1 + fraction / 1024) * 2 ** (exponent - 15);
    values[n] = half & 0x8000 ? -size : size;
  }
  return values;
}
