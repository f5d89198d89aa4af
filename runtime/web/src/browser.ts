/** The entry of browsers and their workers: onnxruntime-web, WebAssembly. */

import * as ort from "onnxruntime-web/wasm";
import { FetchError, UnsupportedError } from "./errors.js";
import { type Ort, type RuntimeOptions, usePlatform } from "./platform.js";

/** (module (func (result v128) i32.const 0 i8x16.splat i8x16.popcnt)) */
const SIMD = Uint8Array.of(
  0,
  97,
  115,
  109,
  1,
  0,
  0,
  0,
  1,
  5,
  1,
  96,
  0,
  1,
  123,
  3,
  2,
  1,
  0,
  10,
  10,
  1,
  8,
  0,
  65,
  0,
  253,
  15,
  253,
  98,
  11,
);

async function onnxruntime(options: RuntimeOptions): Promise<Ort> {
  if (typeof WebAssembly === "undefined" || !WebAssembly.validate(SIMD)) {
    throw new UnsupportedError(
      "this browser has no WebAssembly with SIMD, which the search needs; a newer one has it " +
        "(Chrome or Edge 91, Firefox 89, Safari 16.4).",
    );
  }
  if (options.wasm instanceof Uint8Array) ort.env.wasm.wasmBinary = options.wasm as never;
  else if (options.wasm) ort.env.wasm.wasmPaths = { wasm: options.wasm };
  const isolated = (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated;
  ort.env.wasm.numThreads = isolated ? (options.threads ?? 1) : 1;
  return ort as unknown as Ort;
}

async function readPath(path: string): Promise<Uint8Array> {
  throw new FetchError(`${path} is no address that a browser can fetch.`);
}

usePlatform({ onnxruntime, readPath });

export * from "./index.js";
