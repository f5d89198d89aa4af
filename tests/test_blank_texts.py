"""A text without words is never found before one with words."""

from __future__ import annotations

from pathlib import Path

import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever, SearchParameters

BLANK = ["", " ", "\n\t  \n", "\u200b\ufeff", "\u00a0\u3000", "\x00\x01"]
QUERIES = ["x", "who pays for the roof", "words", "?"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder.load("tiny", threads=1)


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_blank_documents_are_not_found(encoder: Encoder, tmp_path: Path, mode: str) -> None:
    config = IndexConfig(dim=encoder.dim, inverted_file="always", model=encoder.card.fingerprint)
    with Index.create(tmp_path / "index", config, threads=1) as index:
        retriever = Retriever(encoder, index)
        retriever.add([Document(f"blank{n}", text) for n, text in enumerate(BLANK)])
        retriever.add([Document("none"), Document("title", "", "The roof")])
        retriever.add([Document("far", "Zebras graze at dawn."), Document("mark", "!")])
    with Index.load(tmp_path / "index", threads=1) as index:
        assert len(index) == len(BLANK) + 4
        retriever = Retriever(encoder, index)
        for query in QUERIES:
            for hybrid in ("off", "rrf", "weighted"):
                parameters = SearchParameters(mode=mode, hybrid=hybrid)  # type: ignore[arg-type]
                hits = retriever.retrieve([query], 20, parameters=parameters)[0]
                assert {hit.document_id for hit in hits} == {"title", "far"}


@pytest.mark.parametrize("query", QUERIES)
def test_blank_texts_come_last(encoder: Encoder, query: str) -> None:
    texts = [*BLANK, "Zebras graze at dawn.", *BLANK]
    hits = Retriever(encoder).rerank(query, texts)
    assert hits[0].text == "Zebras graze at dawn." and len(hits) == len(texts)
    lowest = -float(len(encoder.encode_query([query])[0]))
    assert all(hit.score == lowest for hit in hits[1:])
