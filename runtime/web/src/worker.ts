/** The worker of a site's page: it loads the index, searches and explains. */

import { type Hit, openIndex, type Query, type SearchOptions, type SiteIndex } from "./browser.js";
import { readFile, readStream } from "./platform.js";

const MOST_RUNTIME = 1 << 26;

interface Request {
  id: number;
  method: keyof typeof methods;
  given: never;
}

let index: SiteIndex;
let asked: Query;
let hits: Hit[] = [];

const methods = {
  /** Load the runtime and the index. */
  async open({ site, runtime }: { site: string; runtime: string }) {
    const packed = await readFile(runtime, MOST_RUNTIME);
    const stream = new Blob([packed as Uint8Array<ArrayBuffer>]).stream();
    const unpacked = stream.pipeThrough(new DecompressionStream("gzip"));
    index = await openIndex(site, { wasm: await readStream(unpacked, MOST_RUNTIME, runtime) });
    const { title, length, fields } = index;
    return { title, documents: length, fields, runtimeBytes: packed.length, ...index.allFiles };
  },

  async search({ query, options }: { query: string; options: SearchOptions }) {
    const started = performance.now();
    asked = await index.encoder.query(query);
    const encoded = performance.now();
    hits = await index.search(asked, options);
    const took = { encode: encoded - started, search: performance.now() - encoded };
    return { hits, took, transfer: index.transfer };
  },

  /** Explain a hit of the last search. */
  async explain({ number }: { number: number }) {
    const hit = hits[number];
    return hit === undefined ? null : index.explain(asked, hit);
  },

  async values({ field }: { field: string }) {
    return index.values(field);
  },
};

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { id, method, given } = data;
  try {
    self.postMessage({ id, result: await methods[method](given) });
  } catch (error) {
    const { name, message } = error as Error;
    self.postMessage({ id, error: { name, message } });
  }
};
