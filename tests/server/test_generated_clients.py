"""Clients that other programs generate from /openapi.json search, rerank, add and filter."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from pocket_colbert import Encoder, Index
from pocket_colbert.server.app import create_app
from pocket_colbert.server.writing import WritingService
from tests.support.servers import listening

pytestmark = pytest.mark.slow

NPM_PACKAGES = ("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "typescript@5.9.3")
TYPESCRIPT = """
import createClient from "openapi-fetch";
import type { paths, components } from "./api.js";
const api = createClient<paths>({ baseUrl: process.argv[2] });
function sure<T>(answer: { data?: T; error?: unknown }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}
const asked: components["schemas"]["SearchRequest"] =
  { query: "capital", k: 5, where: { year: { $gte: 1000 } }, explain: true };
const found = sure(await api.POST("/api/search", { body: asked }));
const year: unknown = found.hits[0].metadata["year"];
const span: number[] | null = found.hits[0].snippet_span;
const ranked = sure(await api.POST("/api/rerank",
  { body: { query: "dough", documents: ["Bees.", "Knead the dough."], k: 1 } }));
const compatible = sure(await api.POST("/v1/rerank",
  { body: { query: "dough", documents: ["Bees.", { text: "Knead the dough." }], top_n: 1 } }));
const texts = sure(await api.POST("/rerank", { body: { query: "dough", texts: ["Bees.", "A"] } }));
const added = sure(await api.POST("/api/documents",
  { body: { documents: [{ id: "new", text: "Tides.", metadata: { n: [1, "a"] } }] } }));
const read = sure(await api.GET("/api/documents", { params: { query: { id: ["new"] } } }));
const gone = await api.GET("/api/documents", { params: { query: { id: ["none"] } } });
console.log(JSON.stringify({
  hits: found.hits.map((hit) => hit.id), year, span, ranked: ranked.results[0].index,
  compatible: "results" in compatible ? compatible.results[0].index : null,
  texts: Array.isArray(texts) ? texts.length : null, added: added.added,
  text: read.documents[0].text, gone: gone.error?.error.type,
}));
"""


@pytest.fixture
def address(library_folder: Path, encoder: Encoder, tmp_path: Path) -> Iterator[str]:
    """The address of a server that may write."""
    folder = tmp_path / "library.index"
    shutil.copytree(library_folder, folder)
    service = WritingService(encoder, Index.load(folder, writable=True))
    with listening(create_app(service)) as found:
        yield found


def test_openapi_python_client(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openapi_python_client", reason="needs pip install openapi-python-client")
    document, config = tmp_path / "openapi.json", tmp_path / "config.yml"
    document.write_text(httpx.get(f"{address}/openapi.json").text)
    config.write_text("post_hooks: []\n")
    made = tmp_path / "generated"
    made.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "openapi_python_client", "generate", "--path", document,
         "--output-path", made / "colbert_api", "--meta", "none", "--config", config,
         "--fail-on-warning"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(made))
    api = importlib.import_module("colbert_api")
    models = importlib.import_module("colbert_api.models")

    def call(name: str, body: object) -> Any:
        module = importlib.import_module(f"colbert_api.api.default.{name}")
        return module.sync(client=client, body=body)

    with api.Client(base_url=address) as client:
        request = models.SearchRequest
        hits = call("search", request(query="What is the capital of France?")).hits
        assert hits[0].id == "paris" and hits[0].metadata["year"] == 987
        asked = {"query": "capital", "k": 5, "where": {"year": {"$gte": 1000}}, "explain": True}
        (hit,) = call("search", request.from_dict(asked)).hits
        assert hit.id == "berlin" and hit.explanation.matches
        compatible = {"query": "dough", "documents": ["Bees.", "Knead the dough."], "top_n": 1}
        asked_of = models.CompatibleRerankRequest.from_dict(compatible)
        assert call("rerank_compatible_1", asked_of).results[0].index == 1
        only_texts = models.TextsRerankRequest("dough", ["Bees.", "Knead the dough."])
        assert [item.index for item in call("rerank_compatible", only_texts)] == [1, 0]
        rerank = models.RerankRequest(query="dough", documents=["Bees.", "Knead the dough."], k=1)
        assert call("rerank", rerank).results[0].index == 1
        documents = {"documents": [{"id": "new", "text": "Tides.", "metadata": {"n": [1, "a"]}}]}
        added = call("add_documents", models.DocumentsRequest.from_dict(documents))
        assert added.added == 1 and added.documents == 5


def test_openapi_typescript(address: str, tmp_path: Path) -> None:
    """A client with the generated types compiles, and searches, filters, reranks and adds."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node with npm")

    def run(*command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, check=False
        )

    (tmp_path / "package.json").write_text('{"type": "module"}')
    installed = run("npm", "install", "--no-audit", "--no-fund", *NPM_PACKAGES)
    if installed.returncode:
        pytest.skip(f"needs npm install {' '.join(NPM_PACKAGES)}: {installed.stderr[-200:]}")
    tools = tmp_path / "node_modules" / ".bin"
    (tmp_path / "openapi.json").write_text(httpx.get(f"{address}/openapi.json").text)
    made = run(tools / "openapi-typescript", "openapi.json", "--output", "api.d.ts")
    assert made.returncode == 0, made.stderr
    (tmp_path / "client.ts").write_text(TYPESCRIPT)
    (tmp_path / "node.d.ts").write_text("declare const process: { argv: string[] };")
    done = run(
        tools / "tsc", "--strict", "--skipLibCheck", "--target", "es2022", "--lib", "es2022,dom",
        "--module", "nodenext", "client.ts", "node.d.ts",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    ran = run("node", "client.js", address)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert len(answer.pop("span")) == 2
    assert answer == {
        "hits": ["berlin"], "year": 1871, "ranked": 1, "compatible": 1, "texts": 2, "added": 1,
        "text": "Tides.", "gone": "unknown_id",
    }  # fmt: skip


def test_the_document_has_nothing_that_generators_stumble_over(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    text = json.dumps(document["components"])
    for word in ('"prefixItems"', '"default"', '"items": false', '"multipleOf"'):
        assert word not in text
    schemas = document["components"]["schemas"]
    assert schemas["SearchRequest"]["required"] == ["query"]
    assert schemas["SearchRequest"]["properties"]["k"]["type"] == "integer"
    metadata = schemas["InputDocument"]["properties"]["metadata"]
    assert metadata.pop("description")
    assert metadata == {"type": "object", "additionalProperties": True}
