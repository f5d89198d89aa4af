/** The index of a site: searched part by part, wherever it lies. */

import { Candidates, defaultCandidates, topK } from "./candidates.js";
import { Product, type QueryCodes } from "./codec.js";
import { type Embedding, Encoder, type LoadOptions, type Query } from "./encoder.js";
import { IndexFormatError, InvalidInputError, ModelFormatError } from "./errors.js";
import { type Explanation, explainMatch } from "./explanation.js";
import { type FieldValues, ID, matching, parseFilter, type Where } from "./filters.js";
import {
  fieldValues,
  type Layout,
  readLayout,
  type SiteDocument,
  siteDocuments,
} from "./layout.js";
import { withTitle } from "./normalization.js";
import {
  Files,
  type Files as FilesType,
  parseJson,
  partOf,
  Remembered,
  type Transfer,
} from "./parts.js";
import { folderAddress } from "./platform.js";
import { contextOf, headingsOf } from "./sections.js";
import { TokenVectors } from "./token_vectors.js";

const LOOKUPS = 512;
const BEST_PASSAGES = 3;

/** Token vectors of a passage at most. */
const LONGEST = 1 << 20;

/** Documents that are ranked at least, as in Python: a few more than are asked for. */
const RANKED = 9;

/** Passages that "auto" scores: fewer than Python, as each may have to be fetched. */
const WEB_CANDIDATES = 256;

export interface SearchOptions {
  /** Documents at most. */
  k?: number;
  /** What the metadata of a document must be. */
  where?: Where;
  /** "exact" scores all, which fetches all; "approximate" what Python would; "auto" less. */
  mode?: "auto" | "exact" | "approximate";
  /** Passages that are scored when not all are. */
  candidates?: number;
}

export interface PassageHit {
  start: number;
  end: number;
  score: number;
  headings: string[];
}

export interface Hit {
  id: string;
  /** MaxSim: for every query token the best cosine in the best passage, summed. */
  score: number;
  title: string | null;
  text: string | null;
  metadata: Record<string, unknown>;
  /** The best passages, best first; places are UTF-16 units of the text. */
  passages: PassageHit[];
}

/** Open the index of a site; its model is loaded with it. */
export async function openIndex(url: string | URL, options: LoadOptions = {}): Promise<SiteIndex> {
  const files = new Files(folderAddress(url));
  const layout = await readLayout(files);
  const read = async (name: string) => {
    const entry = layout.model[name];
    if (!entry) throw new ModelFormatError(`the site's model has no ${name}.`);
    return files.get(entry);
  };
  const [order, counts, lengths] = await Promise.all([
    files.numbers(layout.order, layout.documents),
    files.numbers(layout.counts, layout.documents),
    files.numbers(layout.lengths, layout.passages),
  ]);
  const sizes = new Sizes(layout, order, counts, lengths); // before the model, which is large
  const [encoder, product] = await Promise.all([
    Encoder.read(read, { ...options, dim: layout.codec.dim }),
    Product.load(options),
  ]);
  return new SiteIndex(layout, files, encoder, product, sizes);
}

/** Which passages and parts documents have, checked to add up. */
class Sizes {
  /** The first passage of each document, and the number of all. */
  readonly firsts: Uint32Array;
  /** Where each document is in the parts. */
  readonly places: Uint32Array;

  constructor(
    { documents, passages }: Layout,
    readonly order: Uint32Array,
    counts: Uint32Array,
    readonly lengths: Uint32Array,
  ) {
    this.firsts = new Uint32Array(documents + 1);
    counts.forEach((count, n) => {
      this.firsts[n + 1] = Math.min(this.firsts[n]! + count, passages + 1);
    });
    this.places = new Uint32Array(documents);
    const seen = new Uint8Array(documents);
    order.forEach((document, place) => {
      if (document < documents) seen[document] = 1;
      this.places[document] = place;
    });
    const adds = this.firsts[documents] === passages && counts.every((count) => count > 0);
    if (!adds || seen.includes(0) || lengths.some((length) => length > LONGEST)) {
      throw new IndexFormatError("the index does not add up.");
    }
  }
}

export class SiteIndex {
  readonly #firsts: Uint32Array;
  readonly #places: Uint32Array;
  readonly #vectors: TokenVectors;
  readonly #texts: Remembered<SiteDocument[]>;
  readonly #fields = new Map<string, Promise<FieldValues>>();
  readonly #hits = new WeakMap<Hit, number>();
  #candidates: Promise<Candidates> | undefined;

  constructor(
    private readonly layout: Layout,
    private readonly files: FilesType,
    readonly encoder: Encoder,
    private readonly product: Product,
    { firsts, places, order, lengths }: Sizes,
  ) {
    this.#firsts = firsts;
    this.#places = places;
    this.#vectors = new TokenVectors(layout, files, product, lengths, order, firsts);
    this.#texts = new Remembered((part) => this.#readTexts(part));
  }

  get title(): string {
    return this.layout.title;
  }

  /** Number of documents. */
  get length(): number {
    return this.layout.documents;
  }

  /** What was fetched so far, without the model's graph that a browser may have kept. */
  get transfer(): Transfer {
    return { ...this.files.transfer };
  }

  /** Names of the metadata's fields. */
  get fields(): string[] {
    return Object.keys(this.layout.fields);
  }

  /** Addresses of all files, and what they take. */
  get allFiles(): { addresses: string[]; bytes: number } {
    const addresses = this.layout.all.map((entry) => this.files.address + entry.path);
    return { addresses, bytes: this.layout.all.reduce((sum, entry) => sum + entry.bytes, 0) };
  }

  /** Values of a field, each with the number of documents that have it. */
  async values(field: string): Promise<{ value: string | number; count: number }[]> {
    const values = await this.#valuesOf(field);
    return values.map(([value, documents]) => ({ value, count: documents.length }));
  }

  /** Find the best documents, best first; equal scores in the order of the index. */
  async search(query: string | Query, options: SearchOptions = {}): Promise<Hit[]> {
    const { k = 10, mode = "auto", candidates } = options;
    for (const [name, value] of Object.entries({ k, candidates: candidates ?? 1 })) {
      if (!Number.isSafeInteger(value) || value < 1) {
        throw new InvalidInputError(`${name} must be a whole number >= 1, got ${value}.`);
      }
    }
    if (!["auto", "exact", "approximate"].includes(mode)) {
      throw new InvalidInputError(`mode must be auto, exact or approximate, got ${mode}.`);
    }
    const allowed = options.where === undefined ? null : await this.#allowed(options.where);
    const asked = typeof query === "string" ? await this.encoder.query(query) : query;
    const codes = this.layout.codec.encodeQuery(asked.embedding);
    if (!codes.tokens) return [];
    const ranked = Math.max(k, RANKED);
    let found = await this.#approximate(codes, allowed, ranked, mode, candidates);
    found ??= await this.#scored(codes, this.#passagesOf(this.#documents(allowed)));
    const best = topK(found.scores, ranked).map((n) => found.documents[n]!);
    // An approximate search may have missed a document's best passage.
    const ascending = best.toSorted((a, b) => a - b);
    const whole = await this.#scored(codes, this.#passagesOf(ascending));
    const order = topK(whole.scores, k);
    return Promise.all(
      order.map((n) => this.#hit(whole.documents[n]!, whole.scores[n]!, whole.each[n]!)),
    );
  }

  /** Say why a document matched: which token of its best passage each query token is nearest to. */
  async explain(query: string | Query, hit: Hit): Promise<Explanation> {
    const asked = typeof query === "string" ? await this.encoder.query(query) : query;
    const best = hit.passages[0];
    const text = (hit.text ?? "").slice(best?.start ?? 0, best?.end);
    const title = contextOf(hit.title, best?.headings ?? []);
    const joined = withTitle(text, title);
    const shift = joined.length - text.length;
    const tokens = this.encoder.documentTokens(joined).map((token) => {
      const { span } = token;
      const shown = span !== null && span[1] > shift;
      return {
        ...token,
        span: shown ? ([Math.max(span[0] - shift, 0), span[1] - shift] as const) : null,
      };
    });
    const embedding = await this.#stored(hit, tokens.length);
    const vectors = embedding ?? (await this.encoder.encodeDocument([joined]))[0]!;
    return explainMatch(asked, hit.id, text, best?.start ?? 0, tokens, vectors);
  }

  async #stored(hit: Hit, tokens: number): Promise<Embedding | null> {
    const document = this.#hits.get(hit);
    const best = hit.passages[0];
    if (this.layout.pruned || document === undefined || !best) return null;
    const { passages } = await this.#document(document);
    const number = passages.findIndex(([start, end]) => start === best.start && end === best.end);
    const embedding = await this.#vectors.decode(this.#firsts[document]! + Math.max(number, 0));
    return number >= 0 && embedding.rows === tokens ? embedding : null;
  }

  /** Score candidates; null where all is to be scored. */
  async #approximate(
    codes: QueryCodes,
    allowed: Uint8Array | null,
    k: number,
    mode: string,
    given: number | undefined,
  ) {
    const { inverted, documents, passages } = this.layout;
    if (mode === "exact" || inverted === null) return null;
    const usual = defaultCandidates(this.#vectors.meanLength);
    const asked = given ?? (mode === "auto" ? Math.min(usual, WEB_CANDIDATES) : usual);
    const least = documents === passages ? k : Math.floor((k * passages) / documents);
    const limit = Math.max(asked * inverted.widening, least);
    const chosen = this.#documents(allowed);
    if (this.#passagesOf(chosen).length <= limit) return null;
    this.#candidates ??= Candidates.load(this.layout, inverted, this.product, this.files);
    this.#candidates.catch(() => {
      this.#candidates = undefined;
    });
    const mask = allowed && this.#maskOfPassages(allowed);
    const finder = await this.#candidates;
    const found = await finder.find(codes, mask, LOOKUPS * inverted.widening, limit);
    const scored = await this.#scored(codes, found);
    return scored.documents.length >= Math.min(k, chosen.length) ? scored : null;
  }

  /** Score passages, ascending, and say what the best of each document is. */
  async #scored(codes: QueryCodes, passages: ArrayLike<number>) {
    const near = await this.#vectors.similarities(codes, passages);
    const documents: number[] = [];
    const each: number[][] = [];
    let document = 0;
    for (let n = 0; n < passages.length; n++) {
      const passage = passages[n]!;
      while (this.#firsts[document + 1]! <= passage) document++;
      if (documents.at(-1) !== document) {
        documents.push(document);
        each.push([]);
      }
      let score = Number.NEGATIVE_INFINITY;
      if (this.#vectors.lengths[passage]) {
        score = 0;
        for (let t = 0; t < codes.tokens; t++) score += near[n * codes.tokens + t]!;
      }
      each.at(-1)!.push(score);
    }
    const scores = Float32Array.from(each, (values) => values.reduce((a, b) => Math.max(a, b)));
    return { documents, each, scores };
  }

  async #hit(document: number, score: number, each: number[]): Promise<Hit> {
    const { id, title, text, metadata, passages, sections } = await this.#document(document);
    const best = topK(Float32Array.from(each), BEST_PASSAGES);
    const hit: Hit = {
      id,
      score,
      title,
      text,
      metadata,
      passages: best.map((n) => {
        const [start, end] = passages[n]!;
        return { start, end, score: each[n]!, headings: headingsOf(sections, start, end) };
      }),
    };
    this.#hits.set(hit, document);
    return hit;
  }

  async #document(document: number): Promise<SiteDocument> {
    const place = this.#places[document]!;
    const part = partOf(this.layout.texts, place);
    const found = (await this.#texts.get(part))[place - this.layout.texts.firsts[part]!]!;
    if (found.passages.length !== this.#firsts[document + 1]! - this.#firsts[document]!) {
      throw new IndexFormatError(`${found.id} has not the passages that the index says.`);
    }
    return found;
  }

  async #readTexts(part: number): Promise<SiteDocument[]> {
    const { entries, firsts } = this.layout.texts;
    const entry = entries[part]!;
    const count = (firsts[part + 1] ?? this.layout.documents) - firsts[part]!;
    return siteDocuments(parseJson(await this.files.get(entry), entry.path), count);
  }

  #allowed(where: Where): Promise<Uint8Array> {
    const filter = parseFilter(where);
    return matching(filter, this.layout.documents, (field) => this.#valuesOf(field));
  }

  #valuesOf(field: string): Promise<FieldValues> {
    const entry = field === ID ? this.layout.ids : this.layout.fields[field];
    if (!entry || (field !== ID && !Object.hasOwn(this.layout.fields, field))) {
      return Promise.resolve([]);
    }
    const known = this.#fields.get(field);
    if (known) return known;
    const read = this.files
      .json(entry)
      .then((value) => fieldValues(value, field, this.layout.documents));
    this.#fields.set(field, read);
    read.catch(() => this.#fields.delete(field));
    return read;
  }

  #documents(allowed: Uint8Array | null): number[] {
    const all = Array.from({ length: this.layout.documents }, (_, n) => n);
    return allowed ? all.filter((n) => allowed[n]) : all;
  }

  #passagesOf(documents: readonly number[]): number[] {
    return documents.flatMap((n) => {
      const first = this.#firsts[n]!;
      return Array.from({ length: this.#firsts[n + 1]! - first }, (_, m) => first + m);
    });
  }

  #maskOfPassages(allowed: Uint8Array): Uint8Array {
    const mask = new Uint8Array(this.layout.passages);
    for (const passage of this.#passagesOf(this.#documents(allowed))) mask[passage] = 1;
    return mask;
  }
}
