"""The retriever and the reranker in LangChain itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from pocket_colbert import Encoder, InvalidInputError, Retriever, SearchParameters
from tests.support.library import LIBRARY

pytest.importorskip("langchain_core", reason="needs the langchain extra")

from langchain_core.documents import Document  # noqa: E402
from langchain_core.load import dumps, loads  # noqa: E402
from langchain_core.prompts import ChatPromptTemplate  # noqa: E402
from langchain_core.runnables import ConfigurableField, RunnablePassthrough  # noqa: E402

from pocket_colbert.integrations.langchain import (  # noqa: E402
    PocketColbertReranker,
    PocketColbertRetriever,
)

QUESTION = "What is the capital of France?"


def test_documents_have_id_text_metadata_and_score(library: Retriever) -> None:
    found = PocketColbertRetriever(retriever=library, k=2).invoke(QUESTION)
    hits = library.retrieve([QUESTION], 2)[0]
    assert [(d.id, d.page_content) for d in found] == [(h.document_id, h.text) for h in hits]
    assert [d.metadata["score"] for d in found] == [h.score for h in hits]
    assert [d.metadata["relevance_score"] for d in found] == [h.relevance for h in hits]
    assert found[0].metadata["relevance_score"] > 0.5
    paris = found[0].metadata
    assert (paris["title"], paris["kind"], paris["year"]) == ("France", "city", 987)
    assert paris["passages"] == [
        {"start": 0, "end": len(LIBRARY[0].text or ""), "score": hits[0].score}
    ]
    # A title of the metadata's own stays, and none is made up.
    assert "title" not in found[1].metadata


def test_settings_and_the_call_narrow_the_search(library: Retriever) -> None:
    cities = PocketColbertRetriever(retriever=library, where={"kind": "city"})
    assert {d.id for d in cities.invoke("bees on the roof")} == {"paris", "berlin"}
    # What the retriever was made with holds whatever a call asks for.
    late = cities.invoke("bees on the roof", where={"$or": [{"kind": "legal"}, {"year": 1871}]})
    assert [d.id for d in late] == ["berlin"]
    assert len(cities.invoke(QUESTION, k=1)) == 1
    words = PocketColbertRetriever(retriever=library, hybrid="keywords").invoke("dough")
    assert [d.id for d in words] == ["bread"]
    parameters = SearchParameters(hybrid="weighted", keyword_weight=1.0)
    fused = PocketColbertRetriever(retriever=library, parameters=parameters).invoke("dough")
    expected = library.retrieve(["dough"], parameters=parameters)[0]
    assert [d.metadata["score"] for d in fused] == [h.score for h in expected]
    assert [d.metadata["relevance_score"] for d in fused] == [h.relevance for h in expected]


def test_passages_are_documents_of_their_own(library: Retriever) -> None:
    question = "who pays for the bees on the roof?"
    retriever = PocketColbertRetriever(retriever=library, k=2, passages=2)
    found = retriever.invoke(question)
    assert [d.metadata["document_id"] for d in found][:2] == ["contract", "contract"]
    assert len(found) == 3 and len({d.id for d in found}) == 3
    text = LIBRARY[3].text or ""
    best = found[0]
    start, end = best.metadata["start"], best.metadata["end"]
    assert best.id == f"contract:{start}-{end}" and best.page_content == text[start:end]
    assert "bees on the roof" in best.page_content and len(best.page_content) < len(text) / 2
    assert best.metadata["score"] == best.metadata["document_score"]
    assert found[1].metadata["score"] < best.metadata["score"]
    assert best.metadata["title"] == "Supply agreement" and "passages" not in best.metadata


def test_wrong_settings_fail_where_they_are_made(library: Retriever, encoder: Encoder) -> None:
    for settings, message in (
        ({"k": 0}, "k must be a whole number >= 1, got 0"),
        ({"passages": -1}, "passages must be a whole number >= 0, got -1"),
        ({"where": {"$near": 1}}, "a filter has names"),
        ({"hybrid": "rrf", "parameters": SearchParameters()}, "must not both be given"),
        ({"hybrid": "keywords", "passages": 1}, "passages need MaxSim scores"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            PocketColbertRetriever(retriever=library, **settings)
    with pytest.raises(ValueError, match="must have an index"):
        PocketColbertRetriever(retriever=Retriever(encoder))
    with pytest.raises(ValueError, match="k must be"):
        PocketColbertReranker(encoder=encoder, k=0)
    with pytest.raises(InvalidInputError, match="k must be"):
        PocketColbertRetriever(retriever=library).invoke(QUESTION, k=0)


UNKNOWN = [
    {"wher": {"kind": "city"}}, {"filters": {"kind": "city"}}, {"top_k": 1}, {"top_n": 1},
    {"search_type": "mmr"}, {"similarity_top_k": 1}, {"score_threshold": 0.5},
    {"search_kwargs": {"wher": {"kind": "city"}}}, {"search_kwargs": {"fetch_k": 20}},
]  # fmt: skip


@pytest.mark.parametrize("settings", UNKNOWN, ids=str)
def test_unknown_settings_are_refused(
    library: Retriever, encoder: Encoder, settings: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PocketColbertRetriever(retriever=library, **settings)
    retriever = PocketColbertRetriever(retriever=library)
    with pytest.raises((TypeError, InvalidInputError), match=next(iter(settings))):
        retriever.invoke(QUESTION, **settings)
    with pytest.raises((TypeError, InvalidInputError), match=next(iter(settings))):
        retriever.bind(**settings).invoke(QUESTION)
    if "top_n" not in settings:
        with pytest.raises(ValueError, match=next(iter(settings))):
            PocketColbertReranker(encoder=encoder, **settings)


def ids(documents: list[Document]) -> set[str | None]:
    return {document.id for document in documents}


def test_settings_under_langchains_names(library: Retriever, encoder: Encoder) -> None:
    city, old = {"kind": "city"}, {"year": {"$lt": 1000}}
    for settings in ({"filter": city}, {"search_kwargs": {"filter": city}}):
        retriever = PocketColbertRetriever(retriever=library, **settings)
        assert ids(retriever.invoke("bees on the roof")) == {"paris", "berlin"}
        for call in ({"filter": old}, {"where": old}, {"search_kwargs": {"filter": old}}):
            assert ids(retriever.invoke("bees on the roof", **call)) == {"paris"}
        assert ids(retriever.invoke("bees", filter={"kind": "legal"})) == set()
        assert ids(retriever.bind(filter=old).invoke("bees")) == {"paris"}
    both = PocketColbertRetriever(retriever=library, where=city, filter=old)
    assert ids(both.invoke("bees")) == {"paris"}
    few = PocketColbertRetriever(retriever=library, search_kwargs={"k": 1})
    assert len(few.invoke(QUESTION)) == 1 and len(few.invoke(QUESTION, k=2)) == 2
    few.search_kwargs["filter"] = {"kind": "recipe"}  # as people set it on a retriever they have
    assert ids(few.invoke(QUESTION)) == {"bread"}
    for numbers in ({"k": 2, "search_kwargs": {"k": 3}}, {"search_kwargs": {"k": 0}}):
        with pytest.raises(ValueError, match="k"):
            PocketColbertRetriever(retriever=library, **numbers)
    documents = [Document(d.text or "") for d in LIBRARY]
    assert (
        len(PocketColbertReranker(encoder=encoder, top_n=2).compress_documents(documents, "x")) == 2
    )
    for wrong in ({"top_n": 0}, {"top_n": 2, "k": 2}):
        with pytest.raises(ValueError, match="k"):
            PocketColbertReranker(encoder=encoder, **wrong)


def test_a_configurable_filter_is_applied(library: Retriever) -> None:
    retriever = PocketColbertRetriever(retriever=library).configurable_fields(
        search_kwargs=ConfigurableField(id="search_kwargs")
    )
    config = {"configurable": {"search_kwargs": {"filter": {"kind": "recipe"}, "k": 2}}}
    assert [d.id for d in retriever.invoke("bees", config)] == ["bread"]


def test_a_document_found_by_two_queries_is_the_same(library: Retriever) -> None:
    for passages in (0, 1):
        retriever = PocketColbertRetriever(retriever=library, k=1, passages=passages)
        (one,), (other,) = (retriever.invoke(q) for q in (QUESTION, "France, its main city?"))
        assert one.id == other.id and one == other
        assert one.metadata["relevance_score"] != other.metadata["relevance_score"]
        assert one == Document(one.page_content, id=one.id, metadata=one.metadata)
        assert one != retriever.invoke("kneading dough")[0]
        assert one != one.model_copy(update={"metadata": {**one.metadata, "year": 1}})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # LangChain calls `loads` beta
            assert type(loads(dumps(one))) is Document


def test_retrievers_that_ask_several_queries(library: Retriever) -> None:
    pytest.importorskip("langchain_classic", reason="needs pip install langchain-classic")
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_classic.retrievers.multi_query import MultiQueryRetriever
    from langchain_core.runnables import RunnableLambda

    retriever = PocketColbertRetriever(retriever=library, k=2)
    queries = RunnableLambda(lambda _: [QUESTION, "France, its main city?"])
    several = MultiQueryRetriever(retriever=retriever, llm_chain=queries)
    found = [d.id for d in several.invoke(QUESTION)]
    assert len(found) == len(set(found)) and "paris" in found
    for key in ("document_id", None):
        ensemble = EnsembleRetriever(retrievers=[retriever, retriever], id_key=key)
        assert [d.id for d in ensemble.invoke(QUESTION)] == [
            d.id for d in retriever.invoke(QUESTION)
        ]


def test_ainvoke_leaves_the_loop_free(
    library: Retriever, beside_the_loop: Callable[..., Any]
) -> None:
    retriever = PocketColbertRetriever(retriever=library, k=3)
    found = beside_the_loop(lambda: retriever.ainvoke(QUESTION, k=1, where={"kind": "city"}))
    assert [d.id for d in found] == ["paris"]


def test_it_is_part_of_a_chain_and_of_a_batch(library: Retriever) -> None:
    retriever = PocketColbertRetriever(retriever=library, k=1)
    prompt = ChatPromptTemplate.from_template("{context}|{question}")
    context = retriever | (lambda found: found[0].page_content)
    chain = {"context": context, "question": RunnablePassthrough()} | prompt
    assert chain.invoke(QUESTION).to_string() == (
        f"Human: Paris is the capital of France.|{QUESTION}"
    )
    found = retriever.batch([QUESTION, "kneading dough"])
    assert [[d.id for d in one] for one in found] == [["paris"], ["bread"]]


def test_reranker_orders_copies(encoder: Encoder) -> None:
    documents = [Document(d.text or "", id=d.document_id, metadata={"n": 1}) for d in LIBRARY]
    reranker = PocketColbertReranker(encoder=encoder, k=2)
    found = reranker.compress_documents(documents, "kneading dough")
    expected = Retriever(encoder).rerank("kneading dough", [d.page_content for d in documents], 2)
    assert [d.id for d in found] == [LIBRARY[int(h.document_id)].document_id for h in expected]
    assert [d.metadata for d in found] == [
        {"n": 1, "relevance_score": hit.relevance, "score": hit.score} for hit in expected
    ]
    assert found[0].id == "bread" and all(d.metadata == {"n": 1} for d in documents)
    assert reranker.compress_documents([], "x") == []


def test_acompress_leaves_the_loop_free(
    encoder: Encoder, beside_the_loop: Callable[..., Any]
) -> None:
    documents = [Document("Paris is in France."), Document("Knead the dough.")]
    reranker = PocketColbertReranker(encoder=encoder, k=1)
    found = beside_the_loop(lambda: reranker.acompress_documents(documents, "bread"))
    assert [d.page_content for d in found] == ["Knead the dough."]
