"""Relevance: one scale from 0 to 1, whatever the query's length and the kind of search."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pocket_colbert import (
    Document,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    Query,
    Retriever,
    SearchParameters,
)
from tests.support.cli import run

TEXTS = {
    "paris": "Paris is the capital of France and its largest city.",
    "cell": "The mitochondria is the powerhouse of the cell.",
    "short": "x",
    "bread": "Bread is baked at 220 degrees for forty minutes.",
}


@pytest.fixture(scope="module")
def retriever(encoder: Encoder) -> Retriever:
    retriever = Retriever(encoder, Index(encoder.dim))
    retriever.add([Document(name, text) for name, text in TEXTS.items()])
    return retriever


@pytest.mark.parametrize(
    ("query", "right"),
    [
        ("What is the capital of France?", "paris"),
        ("paris", "paris"),
        ("powerhouse of the cell", "cell"),
        ("How many degrees is bread baked at?", "bread"),
    ],
)
def test_right_answers_are_likely_and_others_are_not(
    retriever: Retriever, query: str, right: str
) -> None:
    for parameters in (None, SearchParameters(hybrid="rrf"), SearchParameters(hybrid="keywords")):
        for hit in retriever.retrieve([query], 4, parameters=parameters, min_relevance=0)[0]:
            assert hit.relevance is not None
            assert hit.relevance > 0.6 if hit.document_id == right else hit.relevance < 0.3
    assert {hit.relevance for hit in retriever.retrieve([query], 4)[0]} == {None}  # not asked for


@pytest.mark.parametrize(
    "query", ["the", "of the and", "is it what", "qzxv wkjh plort", "asdf jkl;", "?", "who won"]
)
def test_queries_that_nothing_answers_have_no_relevant_hit(
    retriever: Retriever, query: str
) -> None:
    hits = retriever.retrieve([query], 4, min_relevance=0)[0]
    assert len(hits) == 4 and all(hit.relevance is not None and hit.relevance < 0.1 for hit in hits)
    assert retriever.retrieve([query], 4, min_relevance=0.1) == [[]]


def test_only_hits_with_enough_relevance_are_returned(retriever: Retriever) -> None:
    (hits,) = retriever.retrieve(["What is the capital of France?"], 4, min_relevance=0.5)
    assert [hit.document_id for hit in hits] == ["paris"]
    for wrong in (-0.1, 1.1, float("nan"), "0.5", True):
        with pytest.raises(InvalidInputError, match="must be null or a number from 0 to 1"):
            retriever.retrieve(["paris"], min_relevance=wrong)  # type: ignore[arg-type]


def test_relevance_is_not_known_without_weights(retriever: Retriever) -> None:
    query = retriever.encoder.query("paris")
    bare = Query(query.text, query.embedding, query.tokens)
    assert retriever.retrieve([bare], 4, min_relevance=0.1) == [[]]
    assert {hit.relevance for hit in retriever.retrieve([bare], 4, min_relevance=0)[0]} == {None}


def test_the_command_line_leaves_out_what_is_not_likely(encoder: Encoder, tmp_path: Path) -> None:
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(tmp_path / "made.index", config) as index:
        Retriever(encoder, index).add([Document(name, text) for name, text in TEXTS.items()])
        index.commit()
    for question, found in (("What is the capital of France?", ["paris"]), ("the", [])):
        done = run("search", tmp_path / "made.index", question, "--min-relevance", 0.5, "--json")
        hits = json.loads(done.stdout)
        assert [hit["document_id"] for hit in hits] == found
        assert all(0.5 <= hit["relevance"] <= 1 for hit in hits)
