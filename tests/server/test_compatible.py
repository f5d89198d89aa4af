"""Rerank requests in the shapes that clients of other services send, and what they read."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pocket_colbert import Encoder, Index, Retriever
from pocket_colbert.server import compatible
from pocket_colbert.server.app import create_app
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service
from tests.support.servers import BASE, error_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
]

QUERY = "capital of France"
TEXTS = ["Bread needs flour.", "Paris is the capital of France.", "Bees swarm."]
COHERE_OBJECTS = [{"title": text[:5], "body": text, "id": n} for n, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def client(library_folder: Path, encoder: Encoder) -> Iterator[TestClient]:
    service = Service(encoder, ServedIndex(Index.load(library_folder)))
    with TestClient(create_app(service), base_url=BASE) as found:
        yield found


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/v1/reranking"])
@pytest.mark.parametrize(
    "extra",
    [
        {"return_documents": "true"}, {"return_documents": "false"}, {"top_n": 0}, {"top_n": None},
        {"top_n": "3"}, {"top_n": 3.0}, {"top_n": 1000}, {"max_chunks_per_doc": 10},
        {"model": "jina-reranker-v2-base-multilingual", "instruction": "rank", "overlap_tokens": 8},
        {"model": "BAAI/bge-reranker-v2-m3", "max_chunks_per_doc": 1024, "return_len": True},
        {"user": {"name": "a"}, "return_len": None, "kwargs": "{}", "encoding_format": None},
        {"input_type": "query", "truncate": "NONE", "raw_scores": False, "truncation": "true"},
        {"model": "rerank-2", "top_k": 3},
    ],
    ids=str,
)  # fmt: skip
def test_unusual_fields_change_nothing(
    client: TestClient, path: str, extra: dict[str, Any]
) -> None:
    asked = {"query": QUERY, "documents": TEXTS, **extra}
    answer = client.post(path, json=asked)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert results[0]["index"] == 1 and len(results) == 3
    assert answer.json()["data"] == [
        {"index": r["index"], "relevance_score": r["relevance_score"]} for r in results
    ]
    wanted = extra.get("return_documents", "true" if path != "/v2/rerank" else "false")
    assert ("document" in results[0]) == (wanted == "true")


def test_objects_and_the_fields_to_rank_by(client: TestClient) -> None:
    more: list[dict[str, Any]] = [{"text": text, "title": "a", "tags": [1]} for text in TEXTS]
    for documents, fields in ((more, None), (COHERE_OBJECTS, ["title", "body"]), (more, ["text"])):
        asked = {"query": QUERY, "documents": documents, "rank_fields": fields, "top_n": 1}
        (best,) = client.post("/v1/rerank", json=asked).json()["results"]
        assert best["index"] == 1
    for documents, fields in ((COHERE_OBJECTS, None), (more, ["body"]), ([{}], None)):
        asked = {"query": QUERY, "documents": documents, "rank_fields": fields}
        assert error_of(client.post("/v1/rerank", json=asked), 422) == "invalid_request"


def test_tei(client: TestClient, encoder: Encoder) -> None:
    asked = {"query": QUERY, "texts": TEXTS, "truncate": True}
    found = client.post("/rerank", json=asked).json()
    assert found[0]["index"] == 1 and set(found[0]) == {"index", "score"}
    assert 1 >= found[0]["score"] > found[1]["score"] >= 0
    raw = client.post("/rerank", json={**asked, "raw_scores": True, "return_text": True}).json()
    hits = Retriever(encoder).rerank(QUERY, TEXTS)
    assert [item["score"] for item in raw] == pytest.approx([hit.score for hit in hits], abs=1e-3)
    assert [item["text"] for item in raw] == [hit.text for hit in hits]
    for wrong in ({"documents": TEXTS}, {"texts": None}, {"texts": []}):
        assert error_of(client.post("/rerank", json={**asked, **wrong}), 422) == "invalid_request"


def test_unknown_fields_are_logged_once(
    client: TestClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compatible, "_seen", set())
    asked = {"query": QUERY, "documents": TEXTS, "instruction": "a", "x" * 1000: 1}
    with caplog.at_level(logging.WARNING, logger="pocket_colbert.server"):
        for _ in range(3):
            assert client.post("/v1/rerank", json=asked).status_code == 200
    named = [r.getMessage().split("'")[1] for r in caplog.records if "ignores" in r.getMessage()]
    assert named == ["instruction", "x" * 60]


def test_our_own_endpoints_stay_strict(client: TestClient) -> None:
    asked = {"query": QUERY, "documents": TEXTS}
    wrong_ones: list[dict[str, Any]] = [
        {"top_n": 1}, {"k": 0}, {"k": "1"}, {"k": 1.5}, {"documents": [{"text": "a"}]},
    ]  # fmt: skip
    for wrong in wrong_ones:
        answer = client.post("/api/rerank", json={**asked, **wrong})
        assert error_of(answer, 422) == "invalid_request"
    assert len(client.post("/api/rerank", json={**asked, "k": 1.0}).json()["results"]) == 1
    found = client.post("/api/search", json={"query": QUERY, "k": 1.0, "snippet_length": 9.0})
    assert len(found.json()["hits"]) == 1


def test_answers_say_when_the_query_was_cut(client: TestClient, encoder: Encoder) -> None:
    long = "bees and the roof " * 500
    requests: list[tuple[str, dict[str, Any]]] = [
        ("/api/search", {}), ("/api/rerank", {"documents": TEXTS}), ("/rerank", {"texts": TEXTS}),
        ("/v2/rerank", {"documents": TEXTS}),
    ]  # fmt: skip
    for path, extra in requests:
        for query, cut in ((long, True), ("bees", False)):
            answer = client.post(path, json={"query": query, **extra})
            assert answer.status_code == 200
            assert answer.headers.get("x-query-truncated") == ("true" if cut else None)
            if "texts" not in extra:
                assert answer.json()["truncated"] is cut
    assert encoder.query(long).lost > 0 and encoder.query("bees").lost == 0
