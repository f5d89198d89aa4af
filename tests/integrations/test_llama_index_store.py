"""The vector store in LlamaIndex itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pocket_colbert import Collection, Encoder, InvalidInputError, UnsupportedError

pytest.importorskip("llama_index.core", reason="needs the llama-index extra")

from llama_index.core.schema import (  # noqa: E402
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores import (  # noqa: E402
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
)
from llama_index.core.vector_stores.types import VectorStoreQueryMode  # noqa: E402

from pocket_colbert.integrations.llama_index_store import PocketColbertVectorStore  # noqa: E402


def node(name: str, text: str, source: str, kind: str) -> TextNode:
    """Return a node of a document."""
    return TextNode(
        id_=name, text=text, metadata={"kind": kind}, start_char_idx=3, end_char_idx=9,
        excluded_embed_metadata_keys=["kind"],
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=source)},
    )  # fmt: skip


ROOF = node("roof", "The landlord repairs the roof.", "lease", "rule")
RENT = node("rent", "Rent is due on the first.", "lease", "rule")
BEES = node("bees", "Bees live in the garden.", "garden", "fact")
RULES = MetadataFilters(filters=[MetadataFilter(key="kind", value="rule")])


@pytest.fixture
def store(encoder: Encoder) -> PocketColbertVectorStore:
    """A store of three nodes."""
    store = PocketColbertVectorStore(Collection(model=encoder))
    assert store.add([ROOF, RENT, BEES]) == ["roof", "rent", "bees"]
    return store


def test_nodes_come_back_as_they_were_added(store: PocketColbertVectorStore) -> None:
    found = store.query(VectorStoreQuery(query_str="who mends the roof?", similarity_top_k=1))
    assert (found.nodes, found.ids) == ([ROOF], ["roof"])
    assert found.similarities is not None and found.similarities[0] > 1
    assert store.get_nodes() == [ROOF, RENT, BEES]
    assert store.get_nodes(["bees", "none"]) == [BEES]
    assert store.get_nodes(["bees", "rent"], RULES) == [RENT]
    assert store.get_nodes([]) == []
    store.add([BEES, node("bees", "Wasps.", "garden", "fact")])
    assert [item.get_content() for item in store.get_nodes(["bees"])] == ["Wasps."]


def test_filters_and_modes(store: PocketColbertVectorStore) -> None:
    def ids(**settings: object) -> list[str]:
        return store.query(VectorStoreQuery(similarity_top_k=9, **settings)).ids or []

    assert set(ids(query_str="bees", filters=RULES)) == {"roof", "rent"}
    assert ids(query_str="bees", filters=RULES, node_ids=["rent", "bees"]) == ["rent"]
    assert ids(query_str="roof", doc_ids=["garden"]) == ["bees"]
    assert ids(query_str="garden", mode=VectorStoreQueryMode.TEXT_SEARCH) == ["bees"]
    assert ids(query_str="the garden", mode=VectorStoreQueryMode.HYBRID)[0] == "bees"
    with pytest.raises(InvalidInputError, match="query_str"):
        ids()
    for unused in ({"query_embedding": [0.5]}, {"alpha": 0.5}, {"mode": VectorStoreQueryMode.MMR}):
        with pytest.raises(UnsupportedError):
            ids(query_str="bees", **unused)


def test_unknown_arguments_are_errors(store: PocketColbertVectorStore) -> None:
    asked = VectorStoreQuery(query_str="bees")
    calls: list[tuple[Callable[..., object], list[object], dict[str, object]]] = [
        (store.add, [[ROOF]], {"batch": 3}), (store.query, [asked], {"where": {}}),
        (store.delete, ["lease"], {"wher": {}}), (store.as_retriever, [], {"top_k": 3}),
    ]  # fmt: skip
    for call, given, unknown in calls:
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            call(*given, **unknown)
    assert len(store.get_nodes()) == 3
    with pytest.raises(InvalidInputError, match="must have text"):
        store.add([TextNode(id_="x", text="")])


def test_deleting(store: PocketColbertVectorStore) -> None:
    with pytest.raises(InvalidInputError, match="clear deletes all"):
        store.delete_nodes()
    with pytest.raises(InvalidInputError, match="clear deletes all"):
        store.delete_nodes(filters=MetadataFilters(filters=[]))
    store.delete_nodes(["roof", "bees", "none"], RULES)
    assert store.get_nodes() == [RENT, BEES]
    alone = TextNode(id_="alone", text="A node of no document.")
    store.add([alone])
    store.delete("lease")
    store.delete("None")
    assert store.get_nodes() == [BEES, alone]
    store.clear()
    assert len(store.client) == 0


def test_retriever(store: PocketColbertVectorStore) -> None:
    retriever = store.as_retriever(similarity_top_k=2, filters=RULES, where={"ref_doc_id": "lease"})
    assert [item.node for item in retriever.retrieve("when to pay rent")] == [RENT, ROOF]
    found = asyncio.run(store.as_retriever(similarity_top_k=1).aretrieve("bees"))
    assert [item.node for item in found] == [BEES]
    assert store.as_retriever(min_relevance=1.0).retrieve("bees") == []
    assert asyncio.run(store.async_add([ROOF])) == ["roof"]
    asyncio.run(store.adelete("lease"))
    assert (asyncio.run(store.aquery(VectorStoreQuery(query_str="roof")))).nodes == [BEES]


def test_documents_of_a_collection_become_nodes(tmp_path: Path, encoder: Encoder) -> None:
    with Collection(tmp_path / "c", model=encoder) as collection:
        collection.add(["a roof"], ids=["r"], titles=["Roofs"], metadata=[{"n": 1}])
    with Collection(tmp_path / "c", model=encoder) as collection:
        (found,) = PocketColbertVectorStore(collection).get_nodes()
        assert (found.node_id, found.get_content()) == ("r", "a roof")
        assert found.metadata == {"n": 1, "title": "Roofs"}
