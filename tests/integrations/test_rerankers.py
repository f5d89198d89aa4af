"""The ranker in AnswerDotAI's rerankers itself."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from pocket_colbert import Encoder, InvalidInputError, ModelNotFoundError, Retriever
from tests.support.library import LIBRARY

pytest.importorskip("rerankers", reason="needs the rerankers extra")

from rerankers import Document, Reranker  # noqa: E402
from rerankers.models.ranker import BaseRanker  # noqa: E402

from pocket_colbert.integrations.rerankers import PocketColbertRanker  # noqa: E402

TEXTS = [document.text or "" for document in LIBRARY]
QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def ranker(encoder: Encoder) -> PocketColbertRanker:
    """A ranker over the bundled model."""
    return PocketColbertRanker(encoder)


def test_reranker_finds_it_by_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    found = Reranker("tiny", model_type="pocket-colbert", verbose=0, threads=1)
    assert isinstance(found, PocketColbertRanker) and isinstance(found, BaseRanker)
    assert found.encoder.threads == 1
    assert found.rank(QUESTION, TEXTS)[0].text == TEXTS[0]
    assert capsys.readouterr().out == ""
    # A model that is not there is an error, not rerankers' printed advice and a None.
    with pytest.raises(ModelNotFoundError):
        Reranker("no/such/folder", model_type="pocket-colbert", verbose=0)


def test_scores_ranks_and_ids_are_those_of_the_retriever(ranker: PocketColbertRanker) -> None:
    results = ranker.rank(QUESTION, TEXTS, doc_ids=[d.document_id for d in LIBRARY])
    hits = Retriever(ranker.encoder).rerank(
        QUESTION, dict(zip((d.document_id for d in LIBRARY), TEXTS, strict=True))
    )
    assert [(r.doc_id, r.score, r.text) for r in results] == [
        (h.document_id, h.score, h.text) for h in hits
    ]
    assert [r.rank for r in results] == [1, 2, 3, 4] and results.has_scores
    assert results.query == QUESTION and results.results_count() == 4
    assert [r.doc_id for r in results.top_k(2)] == ["paris", "berlin"]
    assert results.get_score_by_docid("bread") == hits[[h.document_id for h in hits].index(
        "bread")].score  # fmt: skip
    assert ranker.score(QUESTION, TEXTS[0]) == results[0].score
    # Long documents count by their best passage, as everywhere.
    assert ranker.rank("who keeps bees on the roof?", TEXTS)[0].doc_id == 3


def test_documents_keep_ids_and_metadata_and_are_not_changed(ranker: PocketColbertRanker) -> None:
    documents = [
        Document("Knead the dough.", doc_id="bread", metadata={"year": 1}),
        Document("Paris is the capital of France.", metadata={"year": 2}),
    ]
    results = ranker.rank(QUESTION, documents)
    assert [(r.doc_id, r.metadata) for r in results] == [(1, {"year": 2}), ("bread", {"year": 1})]
    again = ranker.rank(QUESTION, documents, doc_ids=["a", "b"], metadata=[{"n": 0}, {"n": 1}])
    assert [(r.doc_id, r.n) for r in again] == [("b", 1), ("a", 0)]
    assert [d.doc_id for d in documents] == ["bread", None]
    assert ranker.rank(QUESTION, "Paris")[0].doc_id == 0
    assert ranker.rank(QUESTION, documents[0])[0].doc_id == "bread"
    assert ranker.rank(QUESTION, []).results == []


def test_rank_async_gives_the_same(ranker: PocketColbertRanker) -> None:
    found = asyncio.run(ranker.rank_async(QUESTION, TEXTS))
    assert [r.score for r in found] == [r.score for r in ranker.rank(QUESTION, TEXTS)]


def test_what_cannot_be_ranked_is_an_error(ranker: PocketColbertRanker) -> None:
    image = Document(document_type="image", image_path="x.png")
    with pytest.raises(InvalidInputError, match="got image at position 1"):
        ranker.rank(QUESTION, [Document("a"), image])
    with pytest.raises(InvalidInputError, match="got int at position 0"):
        ranker.rank(QUESTION, [3])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="doc_ids must have one item for each of 2"):
        ranker.rank(QUESTION, ["a", "b"], doc_ids=["x"])
    with pytest.raises(InvalidInputError, match="query must be a string"):
        ranker.rank(3, ["a"])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="threads must be None for a loaded encoder"):
        PocketColbertRanker(ranker.encoder, threads=1)


def test_it_brings_no_torch() -> None:
    """Where torch is not installed, that is: rerankers imports what it finds."""
    script = (
        "import sys\nsys.modules['torch'] = None\nsys.modules['transformers'] = None\n"
        "from pocket_colbert.integrations.rerankers import PocketColbertRanker\n"
        "print(PocketColbertRanker('tiny').rank('bees', ['Bees swarm.'])[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "Bees swarm."
