/** The recipe of a model, as its `onnx_config.json` has it; the same rules as in Python. */

import { ModelFormatError } from "./errors.js";

/** Queries are padded to a length that the recipe says: a damaged one must not say millions. */
const MOST = 1 << 17;
const VERSION = 1;

export interface ListedFile {
  bytes: number;
  sha256: string;
}

/** Names and meaning are those of Python's `ModelConfig`. */
export interface Recipe {
  modelName: string;
  embeddingDim: number;
  queryLength: number;
  documentLength: number;
  queryPrefix: string;
  documentPrefix: string;
  queryPrefixId: number | null;
  documentPrefixId: number | null;
  doQueryExpansion: boolean;
  queryExpansionStrategy: "fixed" | "min";
  queryMaxLength: number | null;
  attendToExpansionTokens: boolean;
  maskTokenId: number | null;
  skiplistIds: ReadonlySet<number>;
  skiplistTasks: readonly string[];
  keepOnlyTokenIds: ReadonlySet<number>;
  doLowerCase: boolean;
  matryoshkaDims: readonly number[];
  modelFile: string;
  languages: readonly string[];
  files: Readonly<Record<string, ListedFile>>;
}

type Json = Record<string, unknown>;

/** Read and check a recipe; throws ModelFormatError. */
export function parseRecipe(config: unknown): Recipe {
  const top = asObject(config, "onnx_config.json");
  const own = asObject(top["pocket_colbert"] ?? {}, "pocket_colbert");
  if ((own["format_version"] ?? VERSION) !== VERSION) {
    throw new ModelFormatError(
      `the model is of format version ${own["format_version"]}, this release reads ${VERSION}.`,
    );
  }
  const read = new Reader(top, own);
  const dim = read.whole("embedding_dim");
  const queryLength = read.whole("query_length");
  const recipe: Recipe = {
    modelName: read.text("model_name"),
    embeddingDim: dim,
    queryLength,
    documentLength: read.whole("document_length"),
    queryPrefix: read.text("query_prefix"),
    documentPrefix: read.text("document_prefix"),
    queryPrefixId: read.id("query_prefix_id"),
    documentPrefixId: read.id("document_prefix_id"),
    doQueryExpansion: read.flag("do_query_expansion"),
    queryExpansionStrategy: read.choice("query_expansion_strategy", ["fixed", "min"]),
    queryMaxLength: read.id("query_max_length"),
    attendToExpansionTokens: read.flag("attend_to_expansion_tokens"),
    maskTokenId: read.id("mask_token_id"),
    skiplistIds: new Set(read.ids("skiplist_ids")),
    skiplistTasks: read.texts("skiplist_tasks", ["document"]),
    keepOnlyTokenIds: new Set(read.ids("keep_only_token_ids")),
    doLowerCase: read.flag("do_lower_case"),
    matryoshkaDims: read.ids("matryoshka_dims"),
    modelFile: read.text("model_file") || "model_int8.onnx",
    languages: read.texts("languages", []),
    files: filesOf(own["files"] ?? {}),
  };
  const poolFactor = own["pool_factor"] ?? 1;
  require(poolFactor === 1, `pool_factor must be 1 here, got ${poolFactor}: use Python.`);
  require(!recipe.doQueryExpansion ||
    recipe.maskTokenId !==
      null, "mask_token_id must be given when do_query_expansion is true, got null.");
  const longest = recipe.queryMaxLength;
  require(longest === null ||
    (longest >= queryLength &&
      longest <=
        MOST), `query_max_length must be null or from ${queryLength} to ${MOST}, got ${longest}.`);
  const widths = [dim, ...recipe.matryoshkaDims, 0];
  require(widths.every(
    (width, n) => n === 0 || widths[n - 1]! > width,
  ), `matryoshka_dims must fall from below ${dim}, got [${recipe.matryoshkaDims}].`);
  require(/^[\w.-]+$/.test(
    recipe.modelFile,
  ), `model_file must be a name, got ${recipe.modelFile}.`);
  return recipe;
}

/** The longest that a query may be, in tokens. */
export function queryLimit(recipe: Recipe): number {
  const grows = recipe.doQueryExpansion && recipe.queryExpansionStrategy === "min";
  return Math.max(recipe.queryLength, (grows && recipe.queryMaxLength) || 0);
}

class Reader {
  constructor(
    private readonly top: Json,
    private readonly own: Json,
  ) {}

  private value(name: string): unknown {
    return this.own[name] ?? this.top[name] ?? null;
  }

  whole(name: string): number {
    const value = this.value(name);
    require(isWhole(value) &&
      value >= 1 &&
      value <= MOST, `${name} must be 1 to ${MOST}, got ${value}.`);
    return value as number;
  }

  id(name: string): number | null {
    const value = this.value(name);
    require(value === null || isWhole(value), `${name} must be a whole number, got ${value}.`);
    return value as number | null;
  }

  ids(name: string): number[] {
    const value = this.value(name) ?? [];
    require(Array.isArray(value) && value.every(isWhole), `${name} must be a list of token ids.`);
    return value as number[];
  }

  text(name: string): string {
    const value = this.value(name) ?? "";
    require(typeof value === "string", `${name} must be a text, got ${value}.`);
    return value as string;
  }

  texts(name: string, otherwise: string[]): string[] {
    const value = this.value(name) ?? otherwise;
    const valid = Array.isArray(value) && value.every((item) => typeof item === "string");
    require(valid, `${name} must be a list of texts.`);
    return value as string[];
  }

  flag(name: string): boolean {
    const value = this.value(name) ?? false;
    require(typeof value === "boolean", `${name} must be true or false, got ${value}.`);
    return value as boolean;
  }

  choice<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    const value = this.value(name) ?? choices[0];
    require(choices.includes(value as T), `${name} must be one of ${choices}, got ${value}.`);
    return value as T;
  }
}

function filesOf(value: unknown): Record<string, ListedFile> {
  const files: Record<string, ListedFile> = {};
  for (const [name, item] of Object.entries(asObject(value, "files"))) {
    const { bytes, sha256 } = asObject(item, name);
    require(isWhole(bytes) &&
      typeof sha256 === "string" &&
      /^[0-9a-f]{64}$/.test(
        sha256,
      ), `files must list sizes and sha256 digests, got ${JSON.stringify(item)} for ${name}.`);
    files[name] = { bytes: bytes as number, sha256: sha256 as string };
  }
  return files;
}

function asObject(value: unknown, name: string): Json {
  const valid = typeof value === "object" && value !== null && !Array.isArray(value);
  require(valid, `${name} must be an object.`);
  return value as Json;
}

function isWhole(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function require(holds: boolean, message: string): void {
  if (!holds) throw new ModelFormatError(`the model's recipe is damaged: ${message}`);
}
