"""The retriever and the reranker in LlamaIndex itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pocket_colbert import Encoder, InvalidInputError, Retriever, SearchParameters
from tests.support.library import LIBRARY

pytest.importorskip("llama_index.core", reason="needs the llama-index extra")

from llama_index.core.schema import (  # noqa: E402
    MetadataMode,
    NodeRelationship,
    NodeWithScore,
    QueryBundle,
    TextNode,
)

from pocket_colbert.integrations.llama_index import (  # noqa: E402
    PocketColbertReranker,
    PocketColbertRetriever,
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
