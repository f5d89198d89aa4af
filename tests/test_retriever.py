"""Text in, hits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import (
    ClosedError,
    Document,
    DocumentNotFoundError,
    Encoder,
    Hit,
    Index,
    IndexConfig,
    InvalidInputError,
    PassageHit,
    Pruning,
    Retriever,
    SearchParameters,
    Splitting,
    to_run,
)

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
    part = PassageHit(0, len(DOCUMENTS["bread"]), hits[0].score)
    relevance = hits[0].relevance
    assert by_number == [
        Hit("2", hits[0].score, DOCUMENTS["bread"], passages=(part,), relevance=relevance)
    ]
    indexed = retriever.retrieve(["how do I make bread?"], k=4)[0]
    assert indexed[0].document_id == "bread"
    stored = {hit.document_id: hit.score for hit in indexed}
    np.testing.assert_allclose(
        [stored[h.document_id] for h in hits], [h.score for h in hits], rtol=0.02
    )
    assert bare.rerank("x", []) == []
    with pytest.raises(InvalidInputError, match="needs an index"):
        bare.retrieve(["x"])
    with pytest.raises(InvalidInputError, match="texts must"):
        bare.rerank("x", "y")
    with pytest.raises(InvalidInputError, match="query must"):
        bare.rerank(["x"], ["y"])  # type: ignore[arg-type]


def without_relevance(hits: Sequence[Hit]) -> list[Hit]:
    return [replace(hit, relevance=None) for hit in hits]


def test_rerank_ids_scores_what_is_stored(encoder: Encoder, retriever: Retriever) -> None:
    question = "how do I make bread?"
    everything = without_relevance(retriever.retrieve([question], k=4)[0])
    among = retriever.rerank_ids(question, ["bees", "bread", "paris"])
    assert all(hit.relevance is not None for hit in among)
    hits = without_relevance(among)  # which depends on the hits beside them
    assert hits == [hit for hit in everything if hit.document_id != "berlin"]
    others = [hit for hit in hits if hit.document_id != "bread"]
    assert hits[0].document_id == "bread" and len(others) == 2
    best = retriever.rerank_ids(question, ["bees", "paris"], k=1)
    assert without_relevance(best) == others[:1]
    assert retriever.rerank_ids(question, []) == []
    assert without_relevance(retriever.retrieve([question], k=9, subset=["bees"])[0]) == [
        hit for hit in hits if hit.document_id == "bees"
    ]
    with pytest.raises(DocumentNotFoundError, match="'stone'"):
        retriever.rerank_ids(question, ["bees", "stone"])
    with pytest.raises(InvalidInputError, match="one string"):
        retriever.rerank_ids(question, "bees")
    with pytest.raises(InvalidInputError, match="query must"):
        retriever.rerank_ids([question], ["bees"])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="needs an index"):
        Retriever(encoder).rerank_ids(question, ["bees"])


FILLER = "The parties have read this paragraph, and nothing in it matters to anybody. " * 60
CONTRACT = (
    f"{FILLER}\n\nEither party may end this agreement with ninety days of written notice.\n\n"
    f"{FILLER}\n\nThe supplier keeps bees on the roof at its own cost.\n\n{FILLER}"
)


@pytest.fixture(scope="module", params=[Pruning(), Pruning(pool_factor=2)])
def long(request: pytest.FixtureRequest, encoder: Encoder) -> Retriever:
    """An index with a document far beyond the model's window."""
    config = IndexConfig(
        dim=encoder.dim, pruning=request.param, splitting=Splitting(max_tokens=64, overlap=8)
    )
    retriever = Retriever(encoder, Index(encoder.dim, config=config))
    documents = [Document("contract", CONTRACT, "Supply agreement", {"kind": "legal"})]
    documents += [Document(name, text) for name, text in DOCUMENTS.items()]
    assert retriever.add(documents) > 1000 / request.param.pool_factor
    return retriever


def test_long_documents_are_found_by_any_part(long: Retriever) -> None:
    for question, answer in (
        ("how long is the notice period?", "ninety days of written notice"),
        ("who pays for the bees on the roof?", "bees on the roof"),
    ):
        hit = long.retrieve([question], k=1)[0][0]
        assert hit.document_id == "contract" and hit.metadata == {"kind": "legal"}
        scores = [part.score for part in hit.passages]
        assert len(scores) == 3 and scores == sorted(scores, reverse=True)
        assert hit.score == scores[0]
        best = hit.passages[0]
        assert answer in CONTRACT[best.start : best.end]
        assert len(CONTRACT[best.start : best.end]) < 600
        (start, end), *_ = long.snippets(question, [hit], 100)
        assert answer in CONTRACT[start:end] and end - start <= 100
        reranked = long.rerank(question, {"long": CONTRACT, **DOCUMENTS}, k=1)[0]
        assert reranked.document_id == "long"


@pytest.mark.parametrize("words", ["ninety days", "bees roof"])
def test_hits_by_keywords_are_shown_by_their_best_passage(long: Retriever, words: str) -> None:
    assert long.index is not None
    parameters = SearchParameters(hybrid="keywords")
    hits = long.retrieve([words], parameters=parameters)[0]
    alone = long.index.search(
        [np.empty((0, long.index.dim), np.float32)], parameters=parameters, texts=[words]
    )[0]
    assert [(hit.document_id, hit.score) for hit in hits] == [
        (hit.document_id, hit.score) for hit in alone
    ]
    best = hits[0].passages[0]
    assert hits[0].document_id == "contract" and best.end - best.start < 600
    ((start, end),) = long.snippets(words, hits[:1], 100)
    assert words.split()[0] in CONTRACT[start:end]
    assert long.explain(words, hits[0]).start == best.start > 600


def test_explanations_add_up(long: Retriever) -> None:
    question = "How long is the notice?"
    hit = long.retrieve([question], k=1)[0][0]
    why = long.explain(question, hit)
    assert (why.start, why.end) == (hit.passages[0].start, hit.passages[0].end)
    assert sum(match.similarity for match in why.matches) == pytest.approx(why.score, rel=1e-5)
    assert sum(match.share for match in why.matches) == pytest.approx(1)
    pruned = long.index is not None and long.index.config.pruning != Pruning()
    assert why.score == pytest.approx(hit.score, rel=0.15 if pruned else 1e-3)
    notice = next(match for match in why.matches if match.query_token == "notice")
    assert notice.document_span is not None and CONTRACT[slice(*notice.document_span)] == "notice"
    assert question[slice(*(notice.query_span or ()))] == "notice"
    with pytest.raises(InvalidInputError, match="no text"):
        long.explain(question, Hit("contract", 1.0))


def test_a_page_of_hits_is_explained_as_each_hit_is(long: Retriever) -> None:
    question = "who keeps bees on the roof?"
    query = long.encoder.query(question)
    hits = long.retrieve([query], k=4)[0]
    assert hits == long.retrieve([question], k=4)[0]
    assert [hits, hits] == long.retrieve([question, query], k=4)
    assert long.explanations(query, hits) == [long.explain(question, hit) for hit in hits]
    alone = [long.snippets(question, [hit])[0] for hit in hits]
    assert long.snippets(query, hits) == alone
    assert long.explanations(query, []) == long.snippets(query, []) == []
    texts = [hit.text or "" for hit in hits]
    assert long.rerank(query, texts) == long.rerank(question, texts)
    ids = [hit.document_id for hit in hits]
    assert long.rerank_ids(query, ids) == long.rerank_ids(question, ids)


def test_hits_of_no_index_are_explained_too(encoder: Encoder, retriever: Retriever) -> None:
    bare = Retriever(encoder)
    hits = bare.rerank("how do I make bread?", DOCUMENTS, 2)
    for why, hit in zip(bare.explanations("how do I make bread?", hits), hits, strict=True):
        assert why.score == pytest.approx(hit.score, rel=1e-5)
    with_index = retriever.explanations("how do I make bread?", hits)  # of the index's vectors
    assert [why.score for why in with_index] == pytest.approx([hit.score for hit in hits], rel=0.02)


@pytest.mark.parametrize("pruning", [Pruning(), Pruning(pool_factor=2)])
def test_a_closed_index_explains_nothing(encoder: Encoder, pruning: Pruning) -> None:
    index = Index(encoder.dim, config=IndexConfig(dim=encoder.dim, pruning=pruning))
    retriever = Retriever(encoder, index)
    retriever.add([Document("a", DOCUMENTS["bees"])])
    (hit,) = retriever.retrieve(["bees"])[0]
    index.close()
    for call in (
        lambda: retriever.retrieve(["bees"]), lambda: retriever.explain("bees", hit),
        lambda: retriever.snippets("bees", [hit]), lambda: retriever.rerank_ids("bees", ["a"]),
    ):  # fmt: skip
        with pytest.raises(ClosedError, match="closed"):
            call()


def test_add_and_upsert_replace(encoder: Encoder) -> None:
    retriever = Retriever(encoder, Index(encoder.dim))
    retriever.add([Document("a", DOCUMENTS["bees"]), Document("b", None, "Bread and butter")])
    retriever.upsert([Document("a", DOCUMENTS["paris"])])
    assert retriever.retrieve(["capital of France"], 1)[0][0].document_id == "a"
    assert retriever.retrieve(["buttered bread"], 1)[0][0].document_id == "b"
    parameters = SearchParameters(hybrid="keywords")
    assert retriever.retrieve(["swarms"], parameters=parameters) == [[]]
    assert [
        hit.document_id for hit in retriever.retrieve(["capitals"], parameters=parameters)[0]
    ] == ["a"]
    with pytest.raises(InvalidInputError, match="add needs an Index to write to, got None"):
        Retriever(encoder).add([Document("a", "x")])


@pytest.mark.parametrize("documents", [["x"], Document("x", "y"), 5, [Document("x"), None]])
@pytest.mark.parametrize("method", ["add", "upsert", "encode"])
def test_only_documents_can_be_added(encoder: Encoder, method: str, documents: object) -> None:
    retriever = Retriever(encoder, Index(encoder.dim))
    with pytest.raises(InvalidInputError, match="documents must be a list of Document"):
        getattr(retriever, method)(documents)


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


@pytest.mark.parametrize("blank", ["", "  ", "\n\t", "\u3000"])
def test_blank_queries_are_refused(tiny_model: Path, blank: str) -> None:
    encoder = Encoder.load(tiny_model, threads=1)
    retriever = Retriever(encoder, Index(encoder.dim))
    for ask in (
        encoder.query,
        lambda query: retriever.retrieve([query]),
        lambda query: retriever.retrieve([query], parameters=SearchParameters(hybrid="keywords")),
        lambda query: retriever.rerank(query, ["a text"]),
        lambda query: retriever.rerank_ids(query, ["a"]),
    ):
        with pytest.raises(InvalidInputError, match="must not be empty"):
            ask(blank)


def test_documents_without_words_never_come_before_those_with_words(encoder: Encoder) -> None:
    texts = ["", " ", "...", "-- ?!", "Something else entirely.", "x"]
    for query in ("paris", "the", "qzxv wkjh"):
        retriever = Retriever(encoder, Index(encoder.dim))
        retriever.add([Document(str(n), text) for n, text in enumerate(texts)])
        assert {hit.document_id for hit in retriever.retrieve([query], 2)[0]} == {"4", "5"}
        hits = retriever.rerank(query, texts)
        assert {hit.document_id for hit in hits[:2]} == {"4", "5"} and len(hits) == 6
        assert all(hit.score <= 0 for hit in hits[2:])
