/** Text to token vectors, by a model folder that Python made. */

import { InvalidInputError, ModelFormatError } from "./errors.js";
import { Graph } from "./graph.js";
import { strip } from "./normalization.js";
import { folderAddress, type RuntimeOptions, readFile } from "./platform.js";
import { parseRecipe, type Recipe } from "./recipe.js";
import { sha256 } from "./sha256.js";
import { type Token, type Tokenized, Tokenizer } from "./tokenizer.js";

/** Bytes that a recipe or a tokenizer may have, and a graph. */
const MOST_JSON = 1 << 25;
const MOST_GRAPH = 1 << 30;

export interface LoadOptions extends RuntimeOptions {
  /** Components of a token vector to keep: one of the model's `matryoshkaDims`, or all. */
  dim?: number;
}

/** Token vectors of a text: `rows` of `dim` numbers each, of length 1, end to end. */
export interface Embedding {
  data: Float32Array;
  rows: number;
  dim: number;
  /** Tokens that did not fit the model's window. */
  lost: number;
}

/** A query that is encoded once, to search with and to explain with. */
export interface Query {
  text: string;
  embedding: Embedding;
  /** What each row stands for. */
  tokens: readonly Token[];
}

/** Reads a file of a model folder, of so many bytes at most. */
export type ReadModelFile = (name: string, most: number) => Promise<Uint8Array>;

/**
 * Load a model.
 *
 * @param modelUrl Address of a model folder; in Node a path, too.
 */
export async function load(modelUrl: string | URL, options: LoadOptions = {}): Promise<Encoder> {
  const folder = folderAddress(modelUrl);
  return Encoder.read((name, most) => readFile(folder + name, most), options);
}

export class Encoder {
  /** Width of a token vector. */
  readonly dim: number;

  private constructor(
    readonly recipe: Recipe,
    readonly tokenizer: Tokenizer,
    private readonly graph: Graph,
    dim: number,
  ) {
    this.dim = dim;
  }

  /** Load a model from wherever its files are. */
  static async read(read: ReadModelFile, options: LoadOptions = {}): Promise<Encoder> {
    const recipe = parseRecipe(json(await read("onnx_config.json", MOST_JSON), "onnx_config.json"));
    const dim = options.dim ?? recipe.embeddingDim;
    const widths = [recipe.embeddingDim, ...recipe.matryoshkaDims];
    if (!widths.includes(dim)) {
      throw new InvalidInputError(`dim must be one of this model's (${widths}), got ${dim}.`);
    }
    const checked = async (name: string, most: number) => {
      const listed = recipe.files[name];
      if (listed && listed.bytes > most) throw new ModelFormatError(`${name} is too large.`);
      const bytes = await read(name, listed?.bytes ?? most);
      if (listed && (bytes.length !== listed.bytes || (await sha256(bytes)) !== listed.sha256)) {
        throw new ModelFormatError(`${name} is damaged: it is not what onnx_config.json lists.`);
      }
      return bytes;
    };
    const [definition, config, weights] = await Promise.all([
      checked("tokenizer.json", MOST_JSON),
      checked("tokenizer_config.json", MOST_JSON),
      checked(recipe.modelFile, MOST_GRAPH),
    ]);
    const tokenizer = new Tokenizer(
      json(definition, "tokenizer.json"),
      json(config, "tokenizer_config.json"),
      recipe,
    );
    const graph = await Graph.load(weights, options);
    const inputs = graph.inputNames;
    const known = ["input_ids", "attention_mask", "token_type_ids"];
    if (!inputs.includes("input_ids") || inputs.some((name) => !known.includes(name))) {
      throw new ModelFormatError(
        `the graph must take input_ids and attention_mask, got ${inputs}.`,
      );
    }
    return new Encoder(recipe, tokenizer, graph, dim);
  }

  /** Encode queries; may be empty, and so may a query. */
  async encodeQuery(texts: readonly string[]): Promise<Embedding[]> {
    return this.#each(texts, (text) => this.tokenizer.query(text));
  }

  /** Encode documents: those longer than the window are cut, tokens of the skiplist left out. */
  async encodeDocument(texts: readonly string[]): Promise<Embedding[]> {
    return this.#each(texts, (text) => this.tokenizer.document(text));
  }

  /** Encode one query that is not blank, and describe its tokens. */
  async query(text: string): Promise<Query> {
    checkTexts([text]);
    if (!strip(text)) throw new InvalidInputError("the query must not be blank.");
    const tokenized = this.tokenizer.query(text);
    const embedding = await this.#run(tokenized);
    return { text, embedding, tokens: this.tokenizer.describe(text, tokenized) };
  }

  /** Describe the tokens that a query has vectors of, row for row of `encodeQuery`. */
  queryTokens(text: string): Token[] {
    checkTexts([text]);
    return this.tokenizer.describe(text, this.tokenizer.query(text));
  }

  /** Describe the tokens that a document has vectors of, row for row of `encodeDocument`. */
  documentTokens(text: string): Token[] {
    checkTexts([text]);
    return this.tokenizer.describe(text, this.tokenizer.document(text));
  }

  /** Free the model's memory. */
  async release(): Promise<void> {
    await this.graph.release();
  }

  async #each(texts: readonly string[], tokenize: (text: string) => Tokenized) {
    checkTexts(texts);
    const embeddings: Embedding[] = [];
    for (const text of texts) embeddings.push(await this.#run(tokenize(text)));
    return embeddings;
  }

  async #run(tokenized: Tokenized): Promise<Embedding> {
    const length = tokenized.ids.length;
    const int64 = (values: number[]) => ({
      type: "int64" as const,
      data: BigInt64Array.from(values, BigInt),
      dims: [1, length],
    });
    const all = {
      input_ids: int64(tokenized.ids),
      attention_mask: int64(tokenized.attention),
      token_type_ids: int64(tokenized.ids.map(() => 0)),
    };
    const feeds = Object.entries(all).filter(([name]) => this.graph.inputNames.includes(name));
    const { data, dims } = await this.graph.run(Object.fromEntries(feeds));
    const full = this.recipe.embeddingDim;
    if (dims.join() !== [1, length, full].join()) {
      throw new ModelFormatError(`the graph must give [1, ${length}, ${full}], got [${dims}].`);
    }
    const kept = tokenized.keep.flatMap((keep, n) => (keep ? [n] : []));
    const rows = new Float32Array(kept.length * this.dim);
    kept.forEach((row, n) => {
      const vector = data.subarray(row * full, row * full + this.dim);
      rows.set(this.dim < full ? unit(vector) : vector, n * this.dim);
    });
    return { data: rows, rows: kept.length, dim: this.dim, lost: tokenized.overflow };
  }
}

function unit(vector: Float32Array): Float32Array {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return vector.map((value) => value / Math.max(length, 1e-12));
}

function checkTexts(texts: readonly string[]): void {
  if (!Array.isArray(texts) || texts.some((text) => typeof text !== "string")) {
    throw new InvalidInputError("texts must be a list of strings; put a single one in a list.");
  }
}

function json(bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new ModelFormatError(`${name} is no JSON: ${(error as Error).message}.`);
  }
}
