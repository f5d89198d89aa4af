/** Text to token ids, as the recipe says, and where each token is in the text. */

import { Tokenizer as Library } from "@huggingface/tokenizers";
import { type BertOptions, normalize, words } from "./bert.js";
import { InvalidInputError, ModelFormatError } from "./errors.js";
import { forModel, TraceBuilder, type Traced, through } from "./normalization.js";
import { queryLimit, type Recipe } from "./recipe.js";

export type Task = "query" | "document";

/** First UTF-16 unit and the one after the last: `text.slice(...span)`. */
export type Span = readonly [start: number, end: number];

/** What a token vector stands for. */
export interface Token {
  id: number;
  /** Its part of the text, or its name, such as "[CLS]". */
  label: string;
  /** Where it is in the text; null for one that only has a name. */
  span: Span | null;
  /** How rare it is in the text that the vocabulary was made from, 0.02 to 1. */
  rarity: number;
}

/** A text as the graph takes it. */
export interface Tokenized {
  ids: number[];
  /** 0 for expansion tokens that are not attended to. */
  attention: number[];
  /** Which token vectors belong to the result. */
  keep: boolean[];
  /** Where each token is in the text, null for one that is not. */
  spans: (Span | null)[];
  /** Tokens that did not fit the window. */
  overflow: number;
}

interface AddedToken {
  id: number;
  content: string;
  normalized: boolean;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
}

interface Piece {
  id: number;
  start: number;
  end: number;
}

/** Of the accents the one that normalization puts last. */
const LAST_ACCENT = "\u0345";

export class Tokenizer {
  /** Tokens of the vocabulary. */
  readonly size: number;
  readonly commonest: number;
  readonly lead: number[];
  readonly trail: number[];
  readonly #library: Library;
  readonly #bert: BertOptions | null;
  readonly #raw: RegExp | null;
  readonly #inside: RegExp | null;
  readonly #added: Map<string, number>;

  constructor(
    definition: unknown,
    config: unknown,
    readonly recipe: Recipe,
  ) {
    const parts = definition as { added_tokens?: AddedToken[]; [name: string]: unknown };
    try {
      this.#library = new Library(parts, config as object);
    } catch (error) {
      throw new ModelFormatError(`tokenizer.json is not usable: ${(error as Error).message}.`);
    }
    const added = parts.added_tokens ?? [];
    this.#added = new Map(added.map((token) => [token.content, token.id]));
    this.#raw = either(added.filter((token) => !token.normalized));
    this.#inside = either(added.filter((token) => token.normalized));
    this.#bert = isBert(parts, added) ? (parts["normalizer"] as BertOptions) : null;
    this.size = this.#library.get_vocab(true).size;
    const empty = this.#library.encode("").ids;
    const probe = this.#library.encode("a").ids;
    let lead = 0;
    while (lead < Math.min(empty.length, probe.length) && empty[lead] === probe[lead]) lead++;
    this.lead = empty.slice(0, lead);
    this.trail = empty.slice(lead);
    const room = empty.length + 2;
    if (Math.min(recipe.queryLength, recipe.documentLength) < room) {
      throw new ModelFormatError(
        `query_length and document_length must be >= ${room} for this tokenizer.`,
      );
    }
    const the = ["the", "\u0120the", "\u2581the"].map((word) => this.#library.token_to_id(word));
    this.commonest = the.find((id) => id !== undefined) ?? 0;
  }

  name(id: number): string | undefined {
    return this.#library.id_to_token(id);
  }

  idOf(token: string): number | undefined {
    return this.#library.token_to_id(token);
  }

  query(text: string): Tokenized {
    const { recipe } = this;
    const result = this.#window("query", text, queryLimit(recipe));
    const missing = recipe.queryLength - result.ids.length;
    if (recipe.doQueryExpansion && missing > 0) {
      const mask = recipe.maskTokenId as number;
      const kept = !(recipe.skiplistTasks.includes("query") && recipe.skiplistIds.has(mask));
      for (let n = 0; n < missing; n++) {
        result.ids.push(mask);
        result.attention.push(Number(recipe.attendToExpansionTokens));
        result.keep.push(kept);
        result.spans.push(null);
      }
    }
    return result;
  }

  document(text: string): Tokenized {
    return this.#window("document", text, this.recipe.documentLength);
  }

  /** Describe the tokens that a text has vectors of, row for row. */
  describe(text: string, tokenized: Tokenized): Token[] {
    const tokens: Token[] = [];
    tokenized.ids.forEach((id, n) => {
      if (!tokenized.keep[n]) return;
      const span = tokenized.spans[n] ?? null;
      const label = span ? text.slice(...span) : (this.name(id) ?? "");
      tokens.push({ id, label, span, rarity: span ? this.rarity(id) : 1 });
    });
    return tokens;
  }

  /** Vocabularies list words by frequency. */
  rarity(id: number): number {
    const rank = Math.max(id - this.commonest + 1, 1);
    const least = Math.log(64);
    const most = Math.log(Math.max(this.size - this.commonest, 128));
    return Math.min(Math.max((Math.log(rank) - least) / (most - least), 0.02), 1);
  }

  /** Tokenize, put the marker in, and cut what exceeds the window. */
  #window(task: Task, text: string, limit: number): Tokenized {
    const { recipe } = this;
    const query = task === "query";
    const prefixId = query ? recipe.queryPrefixId : recipe.documentPrefixId;
    const prefix = query ? recipe.queryPrefix : recipe.documentPrefix;
    const pieces = this.#encode(text, prefixId === null ? prefix : "");
    // Behind the first special token, whatever it is, as PyLate does.
    if (prefixId !== null) pieces.splice(Math.min(1, pieces.length), 0, named(prefixId));
    const overflow = Math.max(pieces.length - limit, 0);
    if (overflow) pieces.splice(limit - this.trail.length, overflow);
    const ids = pieces.map((piece) => piece.id);
    const skips = recipe.skiplistTasks.includes(task);
    const only = query ? new Set<number>() : recipe.keepOnlyTokenIds;
    return {
      ids,
      attention: ids.map(() => 1),
      keep: ids.map((id) => !(skips && recipe.skiplistIds.has(id)) && (!only.size || only.has(id))),
      spans: pieces.map((piece) => place(text, piece)),
      overflow,
    };
  }

  #encode(text: string, prefix: string): Piece[] {
    if (!isWellFormed(text)) throw new InvalidInputError("text must be valid Unicode.");
    let traced = forModel(text);
    if (this.recipe.doLowerCase) traced = lowered(traced);
    if (prefix) traced = prefixed(prefix, traced);
    const inner = this.#bert
      ? this.#split(traced, this.#raw, (part) => this.#normalized(part, this.#bert as BertOptions))
      : this.#library.encode(traced.text, { add_special_tokens: false }).ids.map(named);
    return [...this.lead.map(named), ...inner, ...this.trail.map(named)];
  }

  #normalized(part: Traced, options: BertOptions): Piece[] {
    const plain = through(normalize(part.text, options), part);
    return this.#split(plain, this.#inside, (inner) => this.#wordPieces(inner));
  }

  /** Take added tokens out of a text, and do the rest otherwise. */
  #split(traced: Traced, tokens: RegExp | null, rest: (part: Traced) => Piece[]): Piece[] {
    if (tokens === null) return rest(traced);
    const pieces: Piece[] = [];
    let done = 0;
    for (const match of traced.text.matchAll(tokens)) {
      const end = match.index + match[0].length;
      pieces.push(...rest(slice(traced, done, match.index)));
      pieces.push(piece(traced, this.#added.get(match[0]) as number, match.index, end));
      done = end;
    }
    return pieces.concat(rest(done ? slice(traced, done, traced.text.length) : traced));
  }

  #wordPieces(traced: Traced): Piece[] {
    const pieces: Piece[] = [];
    for (const { text, start } of words(traced.text)) {
      const tokens = this.#library.model?.encode([text]) ?? [];
      let position = start;
      for (const token of tokens) {
        const id = this.#library.token_to_id(token);
        if (id === undefined) throw new ModelFormatError(`tokenizer.json has no token ${token}.`);
        const whole = tokens.length === 1;
        const length = whole ? text.length : token.length - (position > start ? 2 : 0);
        pieces.push(piece(traced, id, position, position + length));
        position += length;
      }
    }
    return pieces;
  }
}

function isBert(definition: Record<string, unknown>, added: AddedToken[]): boolean {
  const type = (name: string) => (definition[name] as { type?: string } | null)?.type;
  const model = definition["model"] as { continuing_subword_prefix?: string } | undefined;
  return (
    type("normalizer") === "BertNormalizer" &&
    type("pre_tokenizer") === "BertPreTokenizer" &&
    type("model") === "WordPiece" &&
    (model?.continuing_subword_prefix ?? "##") === "##" &&
    added.every((token) => !token.single_word && !token.lstrip && !token.rstrip)
  );
}

function either(tokens: AddedToken[]): RegExp | null {
  const longest = tokens.map((token) => token.content).sort((a, b) => b.length - a.length);
  const escaped = longest.map((text) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, "\\$&"));
  return escaped.length ? new RegExp(escaped.join("|"), "gu") : null;
}

function named(id: number): Piece {
  return { id, start: -1, end: -1 };
}

function piece(traced: Traced, id: number, start: number, end: number): Piece {
  return { id, start: traced.starts[start]!, end: traced.ends[end - 1]! };
}

function slice(traced: Traced, start: number, end: number): Traced {
  return {
    text: traced.text.slice(start, end),
    starts: traced.starts.subarray(start, end + 1),
    ends: traced.ends.subarray(start, end + 1),
  };
}

function lowered(traced: Traced): Traced {
  const builder = new TraceBuilder();
  let position = 0;
  for (const character of traced.text) {
    builder.put(character.toLowerCase(), position, position + character.length);
    position += character.length;
  }
  return through(builder.done(position), traced);
}

function prefixed(prefix: string, traced: Traced): Traced {
  const before = new Array<number>(prefix.length).fill(-1);
  return {
    text: prefix + traced.text,
    starts: Int32Array.from([...before, ...traced.starts]),
    ends: Int32Array.from([...before, ...traced.ends]),
  };
}

/** Return the part of a text that a token stands for, with the accents at its end. */
function place(text: string, { start, end }: Piece): Span | null {
  if (end < 0 || end <= start) return null;
  let last = end;
  while (last < text.length) {
    const letter = String.fromCodePoint(text.codePointAt(last) as number);
    if (!isCombining(letter)) break;
    last += letter.length;
  }
  return [Math.max(start, 0), last];
}

/** Say whether a letter is an accent: whether normalization would move it. */
function isCombining(letter: string): boolean {
  if (letter < "\u0300") return false;
  return letter === LAST_ACCENT || !(LAST_ACCENT + letter).normalize("NFD").startsWith(LAST_ACCENT);
}

function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text);
}
