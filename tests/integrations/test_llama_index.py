"""The retriever and the reranker in LlamaIndex itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pocket_colbert import Document as PocketDocument
from pocket_colbert import Encoder, Index, InvalidInputError, Retriever, SearchParameters
from tests.support.library import LIBRARY

pytest.importorskip("llama_index.core", reason="needs the llama-index extra")

from llama_index.core.llms import MockLLM  # noqa: E402
from llama_index.core.retrievers import QueryFusionRetriever  # noqa: E402
from llama_index.core.schema import (  # noqa: E402
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    TextNode,
)
from llama_index.core.vector_stores import MetadataFilter, MetadataFilters  # noqa: E402

from pocket_colbert.integrations.llama_index import (  # noqa: E402
    PocketColbertReranker,
    PocketColbertRetriever,
    to_where,
)

QUESTION = "What is the capital of France?"


def test_nodes_have_id_text_metadata_and_score(library: Retriever) -> None:
    found = PocketColbertRetriever(library, k=2).retrieve(QUESTION)
    hits = library.retrieve([QUESTION], 2)[0]
    assert [(n.node_id, n.text, n.score) for n in found] == [
        (h.document_id, h.text, h.score) for h in hits
    ]
    node = found[0].node
    assert node.metadata["title"] == "France" and node.metadata["year"] == 987
    assert node.metadata["passages"][0]["score"] == hits[0].score
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        shown = node.get_content(metadata_mode=mode)
        assert "France" in shown and "987" in shown and "passages" not in shown
    assert node.relationships == {}


def test_settings_narrow_the_search(library: Retriever) -> None:
    cities = PocketColbertRetriever(library, where={"kind": "city"})
    assert {n.node_id for n in cities.retrieve("bees on the roof")} == {"paris", "berlin"}
    words = PocketColbertRetriever(library, hybrid="keywords").retrieve("dough")
    assert [n.node_id for n in words] == ["bread"]
    parameters = SearchParameters(mode="exact")
    exact = PocketColbertRetriever(library, parameters=parameters).retrieve(QUESTION)
    assert exact[0].node_id == "paris" and len(exact) == 4


def test_passages_are_nodes_with_a_source(library: Retriever) -> None:
    found = PocketColbertRetriever(library, k=2, passages=2).retrieve("bees on the roof")
    assert len(found) == 3 and len({n.node_id for n in found}) == 3
    node = found[0].node
    assert isinstance(node, TextNode)
    text = LIBRARY[3].text or ""
    assert node.text == text[node.start_char_idx : node.end_char_idx]
    assert "bees on the roof" in node.text and len(node.text) < len(text) / 2
    assert node.ref_doc_id == "contract" and NodeRelationship.SOURCE in node.relationships
    assert "document_score" not in node.get_content(metadata_mode=MetadataMode.LLM)


def test_wrong_settings_fail_where_they_are_made(library: Retriever, encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="k must be a whole number >= 1, got 0"):
        PocketColbertRetriever(library, k=0)
    with pytest.raises(InvalidInputError, match="must have an index"):
        PocketColbertRetriever(Retriever(encoder))
    with pytest.raises(ValueError, match="k must be"):
        PocketColbertReranker(encoder=encoder, k=0)
    with pytest.raises(InvalidInputError, match="needs a query"):
        PocketColbertReranker(encoder=encoder).postprocess_nodes([])


@pytest.mark.parametrize(
    "settings", [{"filter": {}}, {"wher": {}}, {"top_k": 1}, {"search_kwargs": {}}], ids=str
)
def test_unknown_settings_are_refused(
    library: Retriever, encoder: Encoder, settings: dict[str, Any]
) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(settings))):
        PocketColbertRetriever(library, **settings)
    for more in (settings, {"filters": None}, {"similarity_top_k": 1}):
        with pytest.raises((TypeError, ValueError), match=next(iter(more))):
            PocketColbertReranker(encoder=encoder, **more)


def filters(key: str, operator: str, value: Any) -> MetadataFilters:
    return MetadataFilters(filters=[MetadataFilter(key=key, operator=operator, value=value)])


def test_settings_under_llama_index_names(library: Retriever, encoder: Encoder) -> None:
    retriever = PocketColbertRetriever(
        library, similarity_top_k=1, filters=filters("kind", "==", "city")
    )
    assert len(retriever.retrieve("bees on the roof")) == 1
    retriever.similarity_top_k = 5
    assert {n.node_id for n in retriever.retrieve("bees on the roof")} == {"paris", "berlin"}
    retriever.where = {"year": {"$lt": 1000}}
    assert {n.node_id for n in retriever.retrieve("bees on the roof")} == {"paris"}
    retriever.filters = filters("kind", "==", "recipe")
    assert retriever.k == 5 and retriever.retrieve("bees on the roof") == []
    with pytest.raises(InvalidInputError, match="k=2 and similarity_top_k=2"):
        PocketColbertRetriever(library, k=2, similarity_top_k=2)
    with pytest.raises(InvalidInputError, match="must be LlamaIndex's MetadataFilters"):
        PocketColbertRetriever(library, filters={"kind": "city"})
    assert len(PocketColbertReranker(encoder=encoder, top_n=2).postprocess_nodes(
        nodes(), query_str="kneading dough"
    )) == 2  # fmt: skip
    with pytest.raises(ValueError, match="k=2 and top_n=2"):
        PocketColbertReranker(encoder=encoder, k=2, top_n=2)


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        ("==", "a", "1 2"), ("!=", "a", "3 4"), ("in", ["a", "c"], "1 2 3"), ("nin", ["a"], "3 4"),
        ("any", ["b", "c"], "2 3"), ("all", ["a", "b"], "2"), ("contains", "b", "2"),
        ("is_empty", None, "4"),
    ],
)  # fmt: skip
def test_filters_mean_what_they_mean_in_llama_index(
    encoder: Encoder, operator: str, value: Any, expected: str
) -> None:
    retriever = Retriever(encoder, Index(encoder.dim))
    tags: dict[str, dict[str, Any]] = {
        "1": {"tag": "a"},
        "2": {"tag": ["a", "b"]},
        "3": {"tag": "c"},
        "4": {},
    }
    retriever.add([PocketDocument(key, "Bees.", metadata=tag) for key, tag in tags.items()])
    found = PocketColbertRetriever(retriever, filters=filters("tag", operator, value))
    assert sorted(n.node_id for n in found.retrieve("bees")) == expected.split()


def test_filters_combine_and_others_are_refused() -> None:
    one, two = filters("a", ">", 1), filters("b", "<=", 2)
    assert to_where(one) == {"$and": [{"a": {"$gt": 1}}]}
    for condition, name in (("and", "$and"), ("or", "$or")):
        both = MetadataFilters(filters=[one, two], condition=condition)
        assert to_where(both) == {name: [to_where(one), to_where(two)]}
    none = MetadataFilters(filters=[one, two], condition="not")
    assert to_where(none) == {"$not": {"$or": [to_where(one), to_where(two)]}}
    assert to_where(MetadataFilters(filters=[])) == {}
    with pytest.raises(InvalidInputError, match="got 'text_match'"):
        to_where(filters("a", "text_match", "x"))


def test_a_node_found_by_two_queries_is_returned_once(library: Retriever) -> None:
    retriever = PocketColbertRetriever(library, k=2)
    fusion = QueryFusionRetriever(
        [retriever], llm=MockLLM(), num_queries=1, mode="simple", use_async=False,
    )  # fmt: skip
    one, other = (retriever.retrieve(q)[0] for q in (QUESTION, "France, its main city?"))
    assert one.node_id == other.node_id and one.score != other.score
    assert one.node.metadata != other.node.metadata and one.node.hash == other.node.hash
    for fuse in (fusion._simple_fusion, fusion._reciprocal_rerank_fusion):
        assert len(fuse({("a", 0): [one], ("b", 0): [other]})) == 1
    assert one.node.hash != retriever.retrieve("kneading dough")[0].node.hash


def test_aretrieve_leaves_the_loop_free(
    library: Retriever, beside_the_loop: Callable[..., Any]
) -> None:
    retriever = PocketColbertRetriever(library, k=1)
    found = beside_the_loop(lambda: retriever.aretrieve(QUESTION))
    assert [n.node_id for n in found] == ["paris"]


def nodes() -> list[NodeWithScore]:
    return [
        NodeWithScore(node=TextNode(id_=d.document_id, text=d.text or ""), score=0.5)
        for d in LIBRARY
    ]


def test_reranker_orders_nodes(encoder: Encoder) -> None:
    given = nodes()
    reranker = PocketColbertReranker(encoder=encoder, k=2)
    found = reranker.postprocess_nodes(given, query_str="kneading dough")
    texts = [d.text or "" for d in LIBRARY]
    expected = Retriever(encoder).rerank("kneading dough", texts, 2)
    assert [n.score for n in found] == [h.score for h in expected]
    assert found[0].node_id == "bread" and {n.score for n in given} == {0.5}
    assert "encoder" not in reranker.to_dict()


def test_reranker_reads_metadata_as_llama_index_embeds_it(encoder: Encoder) -> None:
    plain = TextNode(text="See there.")
    told = TextNode(text="See there.", metadata={"topic": "kneading bread dough"})
    hidden = TextNode(
        text="See there.", metadata=told.metadata, excluded_embed_metadata_keys=["topic"]
    )
    given = [NodeWithScore(node=node) for node in (plain, told, hidden)]
    found = PocketColbertReranker(encoder=encoder).postprocess_nodes(given, QueryBundle("bread"))
    assert found[0].node is told and (found[0].score or 0) > (found[1].score or 0) + 0.1
    assert found[1].score == pytest.approx(found[2].score, abs=1e-4)


def test_apostprocess_leaves_the_loop_free(
    encoder: Encoder, beside_the_loop: Callable[..., Any]
) -> None:
    reranker = PocketColbertReranker(encoder=encoder, k=1)
    found = beside_the_loop(
        lambda: reranker.apostprocess_nodes(nodes(), query_str="kneading dough")
    )
    assert [n.node_id for n in found] == ["bread"]
