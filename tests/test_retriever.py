"""Text in, hits out."""

from __future__ import annotations

import numpy as np
import pytest

from pocket_colbert import Encoder, Hit, Index, IndexConfig, InvalidInputError, Retriever, to_run

DOCUMENTS = {
    "paris": "Paris is the capital of France.",
    "berlin": "Berlin is the capital of Germany.",
    "bread": "Knead the dough for ten minutes and let it rise.",
    "bees": "A colony swarms when the queen runs out of room to lay.",
}


@pytest.fixture(scope="module")
def retriever(encoder: Encoder) -> Retriever:
    config = IndexConfig(dim=encoder.dim, codes="int8", model=encoder.card.fingerprint)
    index = Index(encoder.dim, config=config)
    texts = list(DOCUMENTS.values())
    index.add(list(DOCUMENTS), encoder.encode_document(texts), texts=texts)
    return Retriever(encoder, index)


def test_answers_come_first(retriever: Retriever) -> None:
    questions = {
        "What is the capital of France?": "paris", "German capital city": "berlin",
        "how do I make bread?": "bread", "why do bees swarm": "bees",
    }  # fmt: skip
    hits = retriever.retrieve(list(questions), k=2)
    assert [found[0].document_id for found in hits] == list(questions.values())
    assert hits[0][0].text == DOCUMENTS["paris"] and len(hits[0]) == 2


def test_rerank_needs_no_index(encoder: Encoder, retriever: Retriever) -> None:
    bare = Retriever(encoder)
    hits = bare.rerank("how do I make bread?", DOCUMENTS)
    assert [hit.document_id for hit in hits][0] == "bread" and len(hits) == 4
    by_number = bare.rerank("how do I make bread?", list(DOCUMENTS.values()), k=1)
    assert by_number == [Hit("2", hits[0].score, DOCUMENTS["bread"])]
    indexed = retriever.retrieve(["how do I make bread?"], k=4)[0]
    assert [hit.document_id for hit in indexed] == [hit.document_id for hit in hits]
    np.testing.assert_allclose([h.score for h in indexed], [h.score for h in hits], rtol=0.02)
    assert bare.rerank("x", []) == []
    with pytest.raises(InvalidInputError, match="needs an index"):
        bare.retrieve(["x"])
    with pytest.raises(InvalidInputError, match="texts must"):
        bare.rerank("x", "y")
    with pytest.raises(InvalidInputError, match="query must"):
        bare.rerank(["x"], ["y"])  # type: ignore[arg-type]


def test_rerank_ids_scores_what_is_stored(encoder: Encoder, retriever: Retriever) -> None:
    question = "how do I make bread?"
    everything = retriever.retrieve([question], k=4)[0]
    hits = retriever.rerank_ids(question, ["bees", "bread", "paris"])
    assert hits == [hit for hit in everything if hit.document_id != "berlin"]
    assert retriever.rerank_ids(question, ["bees", "paris"], k=1) == hits[1:2]
    assert retriever.rerank_ids(question, []) == []
    assert retriever.retrieve([question], k=9, subset=["bees"])[0] == hits[2:]
    with pytest.raises(InvalidInputError, match="'stone'"):
        retriever.rerank_ids(question, ["bees", "stone"])
    with pytest.raises(InvalidInputError, match="one string"):
        retriever.rerank_ids(question, "bees")
    with pytest.raises(InvalidInputError, match="query must"):
        retriever.rerank_ids([question], ["bees"])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="needs an index"):
        Retriever(encoder).rerank_ids(question, ["bees"])


def test_other_models_are_refused(encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="another model"):
        Retriever(encoder, Index(96, config=IndexConfig(dim=96, model="f" * 64)))
    with pytest.raises(InvalidInputError, match="96 dimensions, got 5"):
        Retriever(encoder, Index(5))


def test_to_run() -> None:
    hits = [[Hit("a", 2.0), Hit("b", 1.0)], []]
    assert to_run(["q1", "q2"], hits) == {"q1": {"a": 2.0, "b": 1.0}, "q2": {}}
    with pytest.raises(ValueError, match="argument"):
        to_run(["q1"], hits)
