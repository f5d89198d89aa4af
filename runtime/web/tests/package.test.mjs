// What an installed package does without Python: load, encode, refuse damaged models.
import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { load, ModelFormatError, maxsim } from "pocket-colbert";

const TINY = new URL("../../../models/tiny", import.meta.url);
const folder = await mkdtemp(join(tmpdir(), "pocket-colbert-"));
after(() => rm(folder, { recursive: true }));

test("a document about the query scores higher than another", async () => {
  const encoder = await load(TINY);
  const [query] = await encoder.encodeQuery(["who pays for the roof?"]);
  const texts = ["The tenant pays for repairs of the roof.", "Bees swarm in May."];
  const [right, wrong] = await encoder.encodeDocument(texts);
  assert.ok(maxsim(query, right) > maxsim(query, wrong) + 0.1);
  await assert.rejects(encoder.encodeQuery("one text"), /put a single one in a list/);
  await assert.rejects(encoder.encodeQuery(["\ud800"]), /valid Unicode/);
  await encoder.release();
});

test("a model whose files are not what its recipe lists is refused", async () => {
  await cp(TINY, folder, { recursive: true });
  const path = join(folder, "model_int8.onnx");
  const bytes = await readFile(path);
  bytes[bytes.length >> 1] ^= 1;
  await writeFile(path, bytes);
  await assert.rejects(load(folder), (error) => {
    assert.ok(error instanceof ModelFormatError);
    assert.match(error.message, /model_int8.onnx is damaged/);
    return true;
  });
  await writeFile(path, Buffer.concat([bytes, bytes]));
  await assert.rejects(load(folder), /longer than the 7914986 bytes/);
});

test("a recipe that asks for too much is refused", async () => {
  const path = join(folder, "onnx_config.json");
  const recipe = JSON.parse(await readFile(path, "utf8"));
  for (const [key, value] of [
    ["query_length", 2 ** 40],
    ["document_length", 0],
    ["query_prefix_id", -1],
  ]) {
    await writeFile(path, JSON.stringify({ ...recipe, [key]: value }));
    await assert.rejects(load(folder), new RegExp(`recipe is damaged: ${key}`));
  }
  await writeFile(path, "{");
  await assert.rejects(load(folder), /is no JSON/);
});
