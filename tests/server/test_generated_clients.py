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

TYPESCRIPT = """
import type { paths, components } from "./api";
type Search = components["schemas"]["SearchRequest"];
const asked: Search = { query: "bees", where: { kind: "city", year: { $gte: 1 } } };
const rerank: components["schemas"]["RerankRequest"] = { query: "a", documents: ["b"], k: 1 };
const added: components["schemas"]["DocumentsRequest"] =
  { documents: [{ id: "a", text: "b", metadata: { year: 1, tags: ["x"] } }] };
type Answer =
  paths["/api/search"]["post"]["responses"]["200"]["content"]["application/json"];
function first(answer: Answer): number[] | null {
  const year: unknown = answer.hits[0].metadata["year"];
  return year === undefined ? null : answer.hits[0].snippet_span;
}
export { asked, rerank, added, first };
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
        rerank = models.RerankRequest(query="dough", documents=["Bees.", "Knead the dough."], k=1)
        assert call("rerank", rerank).results[0].index == 1
        documents = {"documents": [{"id": "new", "text": "Tides.", "metadata": {"n": [1, "a"]}}]}
        added = call("add_documents", models.DocumentsRequest.from_dict(documents))
        assert added.added == 1 and added.documents == 5


def test_openapi_typescript(address: str, tmp_path: Path) -> None:
    generate, compile_ = shutil.which("openapi-typescript"), shutil.which("tsc")
    if generate is None or compile_ is None:
        pytest.skip("needs npm install --global openapi-typescript typescript")
    document = tmp_path / "openapi.json"
    document.write_text(httpx.get(f"{address}/openapi.json").text)
    subprocess.run([generate, document, "--output", tmp_path / "api.d.ts"], check=True)
    (tmp_path / "client.ts").write_text(TYPESCRIPT)
    done = subprocess.run(
        [compile_, "--noEmit", "--strict", "--skipLibCheck", "client.ts"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_the_document_has_nothing_that_generators_stumble_over(address: str) -> None:
    document = httpx.get(f"{address}/openapi.json").json()
    text = json.dumps(document["components"])
    for word in ('"prefixItems"', '"default"', '"items": false', '"multipleOf"'):
        assert word not in text
    schemas = document["components"]["schemas"]
    assert schemas["SearchRequest"]["required"] == ["query"]
    assert schemas["SearchRequest"]["properties"]["k"]["type"] == "integer"
    metadata = schemas["InputDocument"]["properties"]["metadata"]
    assert metadata == {"type": "object", "additionalProperties": True}
