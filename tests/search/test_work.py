"""How much work a page of hits takes: tokenisations, runs of the model, SQL, decoded passages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever, Splitting
from pocket_colbert.described_tokens import DescribedTokens
from pocket_colbert.model.readability import Readability
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.search import explanation
from pocket_colbert.search.explanation import explain_match
from pocket_colbert.search.snippets import snippet
from pocket_colbert.server.app import create_app
from pocket_colbert.server.writing import WritingService
from pocket_colbert.storage.database import Database
from pocket_colbert.storage.document_store import DocumentStore
from pocket_colbert.storage.token_vectors import TokenVectors
from tests.support.cli import json_lines, run

QUESTION = "who pays for the bees on the roof?"
FILLER = "The parties have read this paragraph, and nothing in it matters to anybody. " * 20


@pytest.fixture(scope="module")
def folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of one segment, with documents of one passage and of several."""
    path = tmp_path_factory.mktemp("work") / "made.index"
    config = IndexConfig(dim=encoder.dim, splitting=Splitting(max_tokens=64, overlap=8))
    with Index.create(path, config) as index:
        Retriever(encoder, index).add([
            Document(f"d{n}", f"{FILLER if n % 2 else ''}Bees live on roof {n}.", f"Roof {n}")
            for n in range(14)
        ])  # fmt: skip
        index.commit()
    return path


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count calls from here on."""
    counts: Counter[str] = Counter()

    def count(owner: type, method: str, name: Callable[..., str]) -> None:
        original = getattr(owner, method)

        def counting(self: Any, *arguments: Any, **named: Any) -> Any:
            counts[name(*arguments)] += 1
            return original(self, *arguments, **named)

        monkeypatch.setattr(owner, method, counting)

    count(Tokenizer, "_backend_encode", lambda text, *_: "query" if text == QUESTION else "passage")
    count(Session, "run", lambda *_: "run")
    count(Session, "run_rows", lambda *_: "run")
    count(Database, "select", lambda *_: "sql")
    count(DocumentStore, "get", lambda *_: "documents")
    count(DocumentStore, "text_lengths", lambda wanted: f"texts {len(wanted)}")
    count(Readability, "of", lambda *_: "judged")
    count(TokenVectors, "decode", lambda passage: f"decode {passage}")
    return counts


def check_page(work: Counter[str]) -> None:
    assert work["query"] == 1 and work["run"] == 1
    assert work["passage"] <= 10
    assert 0 < work["sql"] <= 6  # one for the rarity of the query's words
    decoded = {name: times for name, times in work.items() if name.startswith("decode")}
    assert len(decoded) == 10 and set(decoded.values()) == {1}
    assert work["documents"] == 1  # for the hits; their texts are not read for snippets again
    assert work["judged"] == 1  # the query; passages were when they were encoded


def test_a_page_of_ten_explained_hits(folder: Path, encoder: Encoder, work: Counter[str]) -> None:
    with Index.load(folder) as index:
        retriever = Retriever(encoder, index)
        work.clear()
        query = encoder.query(QUESTION)
        (hits,) = retriever.retrieve([query], 10)
        assert len(hits) == 10 and {len(hit.passages) for hit in hits} > {1}
        passages = retriever.matched_passages(hits)
        explanations = [explain_match(query, passage) for passage in passages]
        assert all(snippet(query, passage)[1] > 0 for passage in passages)
        check_page(work)
        assert work["passage"] > 0
        assert [why.score for why in explanations] == pytest.approx(
            [hit.score for hit in hits], rel=1e-3
        )


def test_a_page_of_the_command_line(folder: Path, work: Counter[str]) -> None:
    work.clear()
    Index.load(folder).close()
    opening = work["sql"]
    work.clear()
    page = json_lines(run("search", folder, QUESTION, "-k", 10, "--explain", "--json").stdout)
    assert len(page) == 10 and all(hit["snippet"] and hit["explanation"] for hit in page)
    work["sql"] -= opening
    check_page(work)
    assert work["passage"] > 0


def test_a_page_of_the_server(folder: Path, encoder: Encoder, work: Counter[str]) -> None:
    """The same work as in the process, and none for a search that was just answered."""
    body = {"query": QUESTION, "k": 10}
    with Index.load(folder) as index:
        app = create_app(WritingService(encoder, index))
        with TestClient(app, base_url="http://127.0.0.1") as client:
            work.clear()
            first = client.post("/api/search", json=body)
            assert first.status_code == 200, first.text
            assert len(first.json()["hits"]) == 10
            check_page(work)
            work.clear()
            assert client.post("/api/search", json=body).json()["hits"] == first.json()["hits"]
            assert not work["run"] and not work["query"] and not work["sql"]


def test_tokens_and_products_of_a_page(
    folder: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snippet makes no tokens, an explanation those it names, and products are made once."""
    counts: Counter[str] = Counter()
    original_product, original_item = explanation.product, DescribedTokens.__getitem__

    def counting_product(*arguments: Any) -> Any:
        counts["product"] += 1
        return original_product(*arguments)

    def counting_item(self: DescribedTokens, number: Any) -> Any:
        counts["token"] += 1
        return original_item(self, number)

    with Index.load(folder) as index:
        retriever = Retriever(encoder, index)
        query = encoder.query(QUESTION)
        (hits,) = retriever.retrieve([query], 10)
        monkeypatch.setattr(explanation, "product", counting_product)
        monkeypatch.setattr(DescribedTokens, "__getitem__", counting_item)
        passages = retriever.matched_passages(hits)
        assert all(snippet(query, passage)[1] > 0 for passage in passages)
        assert counts == {"product": 10}
        for passage in passages:
            explain_match(query, passage)
        nearest = [
            set((query.embedding @ passage.embedding.T).argmax(axis=1).tolist())
            for passage in passages
        ]
        named = sum(map(len, nearest))
        # Beside them those on both sides, for the words that they are parts of.
        assert named <= counts.pop("token") <= 3 * named
        assert counts == {"product": 10}


def test_texts_are_read_again_only_for_documents_of_one_passage(
    folder: Path, work: Counter[str]
) -> None:
    with Index.load(folder) as index:
        wanted = [
            (name, (passages[0].start, passages[0].end))
            for name in (f"d{n}" for n in range(14))
            if (passages := index.passages(name))
        ]
        work.clear()
        found = index.passage_embeddings(wanted)
        assert len(found) == 14 and all(item is not None and len(item) for item in found)
        assert index.passage_embeddings([("d0", (0, 3)), ("none", (0, 3))]) == [None, None]
    assert work["documents"] == 0 and work["texts 7"] == 1


def test_the_next_page_tokenises_only_its_query(
    folder: Path, encoder: Encoder, work: Counter[str]
) -> None:
    with Index.load(folder) as index:
        retriever = Retriever(encoder, index)
        for _ in range(2):
            work.clear()
            query = encoder.query(QUESTION)
            retriever.snippets(query, retriever.retrieve([query], 10)[0])
    assert work["query"] == 1 and work["passage"] == 0


def test_the_vocabulary_is_counted_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library makes a dictionary of all words for each count, for 5 ms."""
    counts: Counter[str] = Counter()
    backend = encoder._tokenizer._backend

    class Counting:
        def __getattr__(self, name: str) -> Any:
            counts[name] += 1
            return getattr(backend, name)

    monkeypatch.setattr(encoder._tokenizer, "_backend", Counting())
    encoder.query(QUESTION)
    assert counts["encode"] == 1 and not {name for name in counts if "vocab" in name}
