/** What differs between browsers and Node: onnxruntime, and how files are read. */

import type * as Common from "onnxruntime-common";
import { FetchError, InvalidInputError } from "./errors.js";

/** The part of onnxruntime that both of its packages share. */
export type Ort = Pick<typeof Common, "InferenceSession" | "Tensor">;

export interface RuntimeOptions {
  /** Where `ort-wasm-simd-threaded.wasm` is, or its bytes. Node needs it only for WebAssembly. */
  wasm?: string | URL | Uint8Array;
  /** Threads of WebAssembly; more than 1 needs a page that is cross-origin isolated. */
  threads?: number;
  /** "wasm" takes onnxruntime-web in Node too. */
  runtime?: "native" | "wasm";
}

export interface Platform {
  onnxruntime(options: RuntimeOptions): Promise<Ort>;
  /** Read a file by a path; URLs are fetched. */
  readPath(path: string, most: number): Promise<Uint8Array>;
}

let chosen: Platform | undefined;

export function usePlatform(platform: Platform): void {
  chosen = platform;
}

export function platform(): Platform {
  if (chosen === undefined) throw new Error("import pocket-colbert, not one of its modules.");
  return chosen;
}

const FETCHED = /^(https?|blob|data):/;

/** Return an address with a slash at its end, absolute where it can be. */
export function folderAddress(address: string | URL): string {
  const text = String(address);
  if (text === "")
    throw new InvalidInputError('an address must not be empty; "./" is this folder.');
  const whole = /^[a-z]+:/i.test(text) || typeof document === "undefined";
  const base = whole ? text : new URL(text, document.baseURI).href;
  return base.endsWith("/") ? base : `${base}/`;
}

/**
 * Read a file.
 *
 * @param address An URL, or in Node a path.
 * @param most Bytes at most: what says otherwise is not read on.
 */
export async function readFile(address: string, most: number): Promise<Uint8Array> {
  if (!FETCHED.test(address) && typeof window === "undefined" && !isWorker()) {
    return platform().readPath(address, most);
  }
  let response: Response;
  try {
    response = await fetch(address, { credentials: "same-origin" });
  } catch (error) {
    throw new FetchError(`${address} cannot be fetched: ${(error as Error).message}.`);
  }
  if (!response.ok) {
    throw new FetchError(`${address} cannot be fetched: the server answers ${response.status}.`);
  }
  return readStream(response.body, most, address);
}

/** Read a stream to its end, or throw once it has more bytes than it may have. */
export async function readStream(
  stream: ReadableStream<Uint8Array> | null,
  most: number,
  address: string,
): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let size = 0;
  const reader = stream?.getReader();
  while (reader) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new FetchError(`${address} is longer than the ${most} bytes that it may have.`);
    }
    parts.push(value);
  }
  if (parts.length === 1) return parts[0]!;
  const whole = new Uint8Array(size);
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

function isWorker(): boolean {
  return "WorkerGlobalScope" in globalThis && !("process" in globalThis);
}
