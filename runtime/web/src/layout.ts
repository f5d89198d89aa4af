/** What a site's index consists of, checked before anything of it is used. */

import { Codec } from "./codec.js";
import { IndexFormatError } from "./errors.js";
import { type FieldValues, ID, type Value } from "./filters.js";
import {
  type FileEntry,
  type Files,
  fileEntry,
  isCount,
  type PartTable,
  parseJson,
  partTable,
} from "./parts.js";
import { readFile } from "./platform.js";
import type { Span } from "./tokenizer.js";

const VERSION = 1;
const MOST_MANIFEST = 1 << 16;
const MOST_ITEMS = 1 << 24;
const MOST_DIM = 1024;

export interface Inverted {
  widening: number;
  centroids: FileEntry;
  scales: FileEntry;
  lengths: FileEntry;
  lists: PartTable;
  count: number;
}

/** A document as a site stores it; places are UTF-16 units. */
export interface SiteDocument {
  id: string;
  title: string | null;
  text: string | null;
  metadata: Record<string, unknown>;
  passages: Span[];
  sections: { start: number; headings: string[] }[];
}

/** The whole description of a site's index. */
export interface Layout {
  title: string;
  codec: Codec;
  documents: number;
  passages: number;
  pruned: boolean;
  model: Record<string, FileEntry>;
  order: FileEntry;
  counts: FileEntry;
  lengths: FileEntry;
  codes: PartTable;
  texts: PartTable;
  ids: FileEntry;
  fields: Record<string, FileEntry>;
  inverted: Inverted | null;
  /** Every file, for keeping a site offline. */
  all: FileEntry[];
}

/** Fetch and check the description of the index at an address. */
export async function readLayout(files: Files): Promise<Layout> {
  const name = `${files.address}search.json`;
  const manifest = object(parseJson(await readFile(name, MOST_MANIFEST), name), name);
  if (manifest["format"] !== "pocket-colbert-site") {
    throw new IndexFormatError(
      `${name} is not the index of a site; make one: pocket-colbert site.`,
    );
  }
  if (manifest["version"] !== VERSION) {
    throw new IndexFormatError(
      `the index is of version ${manifest["version"]}, this release reads ${VERSION}; make it again.`,
    );
  }
  const listed = fileEntry(manifest["content"], "content");
  const content = object(await files.json(listed), "content");
  const layout = layoutOf(content, String(manifest["title"] ?? ""));
  layout.all.push(listed);
  return layout;
}

function layoutOf(content: Record<string, unknown>, title: string): Layout {
  const { dim, bits, documents, passages, shared, signs } = content;
  if (
    !isCount(dim, MOST_DIM) ||
    !isCount(documents, MOST_ITEMS) ||
    !isCount(passages, MOST_ITEMS)
  ) {
    throw new IndexFormatError("the index does not say how much it holds.");
  }
  const numbers = Array.isArray(shared) && shared.every((value) => typeof value === "number");
  if (!numbers || typeof signs !== "string" || typeof bits !== "number" || !dim) {
    throw new IndexFormatError("the index does not say what its codes mean.");
  }
  if (passages < documents) throw new IndexFormatError("the index has documents without passages.");
  const entries = (name: string): Record<string, FileEntry> => {
    const named = Object.entries(object(content[name], name));
    return Object.fromEntries(named.map(([key, value]) => [key, fileEntry(value, key)]));
  };
  const file = (name: string) => fileEntry(content[name], name);
  const layout: Layout = {
    title,
    codec: new Codec(dim, bits, Float32Array.from(shared as number[]), signs),
    documents,
    passages,
    pruned: content["pruned"] === true,
    model: entries("model"),
    order: file("order"),
    counts: file("counts"),
    lengths: file("lengths"),
    codes: partTable(content["codes"], "codes", passages),
    texts: partTable(content["texts"], "texts", documents),
    ids: file("ids"),
    fields: entries("fields"),
    inverted: content["inverted"] === null ? null : invertedOf(content["inverted"]),
    all: [],
  };
  const { inverted } = layout;
  layout.all = [
    ...Object.values(layout.model),
    layout.order,
    layout.counts,
    layout.lengths,
    ...layout.codes.entries,
    ...layout.texts.entries,
    layout.ids,
    ...Object.values(layout.fields),
    ...(inverted ? [inverted.centroids, inverted.scales, inverted.lengths] : []),
    ...(inverted?.lists.entries ?? []),
  ];
  return layout;
}

function invertedOf(value: unknown): Inverted {
  const parts = object(value, "inverted");
  const scales = fileEntry(parts["scales"], "scales");
  const count = scales.size / 4;
  if (!isCount(count, 1 << 20) || !count || !isCount(parts["widening"], 64)) {
    throw new IndexFormatError("the index does not say what its inverted file is.");
  }
  return {
    widening: parts["widening"] as number,
    centroids: fileEntry(parts["centroids"], "centroids"),
    scales,
    lengths: fileEntry(parts["lengths"], "lengths"),
    lists: partTable(parts["lists"], "lists", count),
    count,
  };
}

/** Check what a part of texts holds. */
export function siteDocuments(value: unknown, count: number): SiteDocument[] {
  if (!Array.isArray(value) || value.length !== count) {
    throw new IndexFormatError(`a part of texts must hold ${count} documents.`);
  }
  return value.map((item) => {
    const valid =
      Array.isArray(item) &&
      item.length === 6 &&
      typeof item[0] === "string" &&
      (item[1] === null || typeof item[1] === "string") &&
      (item[2] === null || typeof item[2] === "string") &&
      typeof item[3] === "object" &&
      Array.isArray(item[4]) &&
      Array.isArray(item[5]);
    if (!valid) throw new IndexFormatError("a part of texts holds what is no document.");
    const [id, title, text, metadata, passages, sections] = item;
    const length = (text ?? "").length;
    for (const span of passages as unknown[]) {
      const [start, end] = Array.isArray(span) ? span : [];
      if (!isCount(start, length) || !isCount(end, length) || start > end) {
        throw new IndexFormatError(`a passage of ${id} is not in its text.`);
      }
    }
    const checked = (sections as unknown[]).map((section) => {
      const [start, headings] = Array.isArray(section) ? section : [];
      if (!isCount(start, length) || !Array.isArray(headings)) {
        throw new IndexFormatError(`a section of ${id} is not in its text.`);
      }
      return { start, headings: headings.map(String) };
    });
    return { id, title, text, metadata: metadata ?? {}, passages, sections: checked };
  });
}

/** Check what a file of a field holds; or of ids, each of one document. */
export function fieldValues(value: unknown, field: string, documents: number): FieldValues {
  if (!Array.isArray(value)) throw new IndexFormatError(`the values of ${field} are no list.`);
  const rows = field === ID ? value.map((id, n) => [id, [n]]) : value;
  for (const row of rows as unknown[]) {
    const [item, found] = Array.isArray(row) ? row : [];
    const valid =
      (typeof item === "string" || typeof item === "number") &&
      Array.isArray(found) &&
      found.every((n) => isCount(n, documents - 1));
    if (!valid) throw new IndexFormatError(`the values of ${field} make no sense.`);
  }
  return rows as [Value, number[]][];
}

function object(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new IndexFormatError(`${name} must be an object.`);
  }
  return value as Record<string, unknown>;
}
