// Builds dist/: one module for Node, one for browsers, and types. With --site also the worker of
// sites and its runtime, which the Python package carries.
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const SITE = "../pocket_colbert/site/page";
const WASM = "node_modules/onnxruntime-web/dist/ort-wasm-simd-threaded.wasm";

const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  loader: { ".onnx": "binary" },
  logLevel: "warning",
};

async function buildPackage() {
  rmSync("dist", { recursive: true, force: true });
  const external = ["onnxruntime-node", "onnxruntime-web", "@huggingface/tokenizers"];
  const options = { ...common, outdir: "dist" };
  await build({ ...options, entryPoints: ["src/node.ts"], platform: "node", external });
  external.push("onnxruntime-web/wasm");
  await build({ ...options, entryPoints: ["src/browser.ts"], platform: "browser", external });
  execFileSync("node_modules/.bin/tsc", ["--declaration", "--emitDeclarationOnly"], {
    stdio: "inherit",
  });
}

/** Return the worker of sites, all that it needs but the WebAssembly in one file. */
async function worker() {
  const { outputFiles } = await build({
    ...common,
    entryPoints: ["src/worker.ts"],
    platform: "browser",
    minify: true,
    legalComments: "inline",
    charset: "ascii",
    write: false,
  });
  return outputFiles[0].contents;
}

const [what, folder = SITE] = process.argv.slice(2);
if (what === "--site") {
  writeFileSync(`${folder}/worker.js`, await worker());
  writeFileSync(`${folder}/ort.wasm.gz`, gzipSync(readFileSync(WASM), { level: 9 }));
} else {
  await buildPackage();
}
