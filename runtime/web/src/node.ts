/** The entry of Node: onnxruntime-node where it is installed, onnxruntime-web otherwise. */

import { open } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { FetchError } from "./errors.js";
import { type Ort, type RuntimeOptions, usePlatform } from "./platform.js";

async function native(): Promise<Ort | undefined> {
  try {
    return (await import("onnxruntime-node")) as unknown as Ort;
  } catch {
    return undefined; // an optional dependency: its binaries are not made for every machine
  }
}

async function onnxruntime(options: RuntimeOptions): Promise<Ort> {
  const found = options.runtime === "wasm" ? undefined : await native();
  if (found !== undefined) return found;
  const web = await import("onnxruntime-web");
  if (options.wasm instanceof Uint8Array) web.env.wasm.wasmBinary = options.wasm as never;
  else if (options.wasm) web.env.wasm.wasmPaths = { wasm: options.wasm };
  web.env.wasm.numThreads = options.threads ?? 1;
  return web as unknown as Ort;
}

async function readPath(path: string, most: number): Promise<Uint8Array> {
  try {
    await using file = await opened(path.startsWith("file:") ? fileURLToPath(path) : path);
    const { size } = await file.handle.stat();
    if (size > most) throw new FetchError(`${path} is longer than the ${most} bytes it may have.`);
    return new Uint8Array(await file.handle.readFile());
  } catch (error) {
    if (error instanceof FetchError) throw error;
    throw new FetchError(`${path} cannot be read: ${(error as Error).message}.`);
  }
}

async function opened(path: string) {
  const handle = await open(path);
  return { handle, [Symbol.asyncDispose]: () => handle.close() };
}

usePlatform({ onnxruntime, readPath });

export * from "./index.js";
