/** Files of a site's index: fetched once, checked, and unpacked. */

import { IndexFormatError } from "./errors.js";
import { readFile, readStream } from "./platform.js";
import { sha256 } from "./sha256.js";

/** Bytes of one file at most, packed or not. */
const MOST = 1 << 30;
const PATH = /^[\w-]+(\/[\w.-]+)*$/;
const DIGEST = 32;

/** A file, as a site lists it. */
export interface FileEntry {
  path: string;
  bytes: number;
  size: number;
  gzip: boolean;
  sha256: string;
}

/** Parts of something, each fetched alone. */
export interface PartTable {
  /** Number of the first item of each part. */
  firsts: Uint32Array;
  entries: FileEntry[];
}

/** What was fetched so far. */
export interface Transfer {
  bytes: number;
  files: number;
}

/** Fetches files below an address; one that is asked for twice is fetched once. */
export class Files {
  readonly transfer: Transfer = { bytes: 0, files: 0 };

  constructor(readonly address: string) {}

  async get(entry: FileEntry): Promise<Uint8Array> {
    const stored = await readFile(this.address + entry.path, entry.bytes);
    this.transfer.bytes += stored.length;
    this.transfer.files += 1;
    const digest = await sha256(stored);
    if (stored.length !== entry.bytes || !digest.startsWith(entry.sha256)) {
      throw new IndexFormatError(`${entry.path} is damaged: it is not what the index lists.`);
    }
    if (!entry.gzip) return stored;
    const stream = new Blob([stored as Uint8Array<ArrayBuffer>]).stream();
    const unpacked = stream.pipeThrough(new DecompressionStream("gzip"));
    const bytes = await readStream(unpacked, entry.size, entry.path).catch((error) => {
      throw new IndexFormatError(`${entry.path} is damaged: ${(error as Error).message}`);
    });
    if (bytes.length !== entry.size) {
      throw new IndexFormatError(`${entry.path} is damaged: it has ${bytes.length} bytes.`);
    }
    return bytes;
  }

  async json(entry: FileEntry): Promise<unknown> {
    return parseJson(await this.get(entry), entry.path);
  }

  /** Read whole numbers; `count` of them must be there. */
  async numbers(entry: FileEntry, count: number): Promise<Uint32Array> {
    const bytes = await this.get(entry);
    if (bytes.length !== 4 * count)
      throw new IndexFormatError(`${entry.path} is no list of ${count}.`);
    return new Uint32Array(bytes.slice().buffer);
  }
}

export function parseJson(bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw new IndexFormatError(`${name} is no JSON: ${(error as Error).message}.`);
  }
}

/** Check what a site says of a file: sizes in bounds, and a path that stays below the site. */
export function fileEntry(value: unknown, name: string): FileEntry {
  const entry = value as Partial<FileEntry> | null;
  const valid =
    typeof entry === "object" &&
    entry !== null &&
    typeof entry.path === "string" &&
    PATH.test(entry.path) &&
    !entry.path.includes("..") &&
    isCount(entry.bytes, MOST) &&
    isCount(entry.size, MOST) &&
    typeof entry.gzip === "boolean" &&
    (entry.gzip || entry.size === entry.bytes) &&
    typeof entry.sha256 === "string" &&
    /^[0-9a-f]{32,64}$/.test(entry.sha256);
  if (!valid) throw new IndexFormatError(`the index does not say what its file ${name} is.`);
  return entry as FileEntry;
}

/** Check a table of parts of `items` items. */
export function partTable(value: unknown, name: string, items: number): PartTable {
  const table = value as Record<string, unknown> | null;
  const fail = () => new IndexFormatError(`the index does not say what the parts of ${name} are.`);
  if (typeof table !== "object" || table === null) throw fail();
  const { kind, firsts, bytes, sizes, gzip, digests } = table;
  const lists = [firsts, bytes, sizes, gzip];
  if (!lists.every(Array.isArray) || typeof digests !== "string" || typeof kind !== "string")
    throw fail();
  const numbers = lists as number[][];
  const count = numbers[0]!.length;
  if (numbers.some((list) => list.length !== count) || digests.length !== DIGEST * count)
    throw fail();
  const rising = numbers[0]!.every(
    (first, n, all) => isCount(first, items - 1) && (n ? first > all[n - 1]! : first === 0),
  );
  if (!rising || (items > 0 && count === 0)) throw fail();
  const entries = numbers[1]!.map((length, n) => {
    const digest = (digests as string).slice(DIGEST * n, DIGEST * (n + 1));
    const entry = {
      path: `data/${kind}-${digest.slice(0, 16)}.bin`,
      bytes: length,
      size: numbers[2]![n],
      gzip: numbers[3]![n] === 1,
      sha256: digest,
    };
    return fileEntry(entry, name);
  });
  return { firsts: Uint32Array.from(numbers[0]!), entries };
}

/** The part that an item is in. */
export function partOf(table: PartTable, item: number): number {
  let low = 0;
  let high = table.firsts.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (table.firsts[middle]! <= item) low = middle;
    else high = middle - 1;
  }
  return low;
}

export function isCount(value: unknown, most: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
}

/** Remembers what a few keys led to; a failure is forgotten. */
export class Remembered<T> {
  readonly #known = new Map<number, Promise<T>>();

  constructor(private readonly make: (key: number) => Promise<T>) {}

  get(key: number): Promise<T> {
    const known = this.#known.get(key);
    if (known) return known;
    const made = this.make(key);
    this.#known.set(key, made);
    made.catch(() => this.#known.delete(key));
    return made;
  }
}
