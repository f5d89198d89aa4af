// SHA-256 without the browser's help, as pages need it that are not secure.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: ["src/sha256.ts"],
  bundle: true,
  format: "esm",
  write: false,
});
const source = Buffer.from(outputFiles[0].contents).toString("base64");
const { sha256Plain } = await import(`data:text/javascript;base64,${source}`);

test("digests are those of Node for all lengths around a block, and for long inputs", () => {
  for (const length of [...Array(200).keys(), 1 << 16, 100_003]) {
    const bytes = Uint8Array.from({ length }, (_, n) => (n * 31 + length) & 255);
    const wanted = createHash("sha256").update(bytes).digest("hex");
    assert.equal(Buffer.from(sha256Plain(bytes)).toString("hex"), wanted);
  }
});
