"""LlamaIndex: a vector store over a collection. Needs the `llama-index` extra: its core alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pocket_colbert.collection.collection import Collection
from pocket_colbert.config import Hybrid
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError, UnsupportedError
from pocket_colbert.ingest.sources import ids_where
from pocket_colbert.integrations.common import combine_filters
from pocket_colbert.integrations.llama_index import to_where
from pocket_colbert.types import Document as Stored
from pocket_colbert.types import Hit

try:
    from llama_index.core.bridge.pydantic import ConfigDict, Field
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import BaseNode, MetadataMode, NodeWithScore, QueryBundle, TextNode
    from llama_index.core.vector_stores import MetadataFilters
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
except ImportError as _error:
    raise OptionalDependencyError.of(
        "pocket_colbert.integrations.llama_index_store", "llama-index"
    ) from _error

_MODES: dict[Any, Hybrid] = {
    VectorStoreQueryMode.DEFAULT: "auto", VectorStoreQueryMode.HYBRID: "rrf",
    VectorStoreQueryMode.TEXT_SEARCH: "keywords",
}  # fmt: skip
_UNUSED = (
    "query_embedding", "output_fields", "embedding_field", "alpha", "mmr_threshold", "sparse_top_k",
    "hybrid_top_k",
)  # fmt: skip
_NODE = "_node_content"
_SOURCE_KEYS = ("document_id", "doc_id", "ref_doc_id")


class PocketColbertVectorStore(BasePydanticVectorStore):
    """A collection as LlamaIndex's vector store.

        >>> store = PocketColbertVectorStore(Collection("notes.index"))
        >>> store.add([TextNode(text="Rent is due on the first.", metadata={"kind": "rule"})])
        >>> engine = RetrieverQueryEngine.from_args(store.as_retriever(similarity_top_k=4))

    No embedding model is needed: the collection has its own, which makes a vector a token of the
    node's text. LlamaIndex's `VectorStoreIndex` and the `vector_store` of its `IngestionPipeline`
    add only nodes that another model has embedded, so add nodes here, as in
    `store.add(pipeline.run(...))`. Nodes come back as they were added, without embeddings. The
    asynchronous methods run in a thread.

    Attributes:
        collection: The collection, which the store does not close.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    stores_text: bool = True
    is_embedding_query: bool = False
    collection: Collection = Field(exclude=True)

    def __init__(self, collection: Collection) -> None:
        """Hold a collection."""
        super().__init__(collection=collection)

    @classmethod
    def class_name(cls) -> str:
        """Return the name LlamaIndex knows the class by."""
        return "PocketColbertVectorStore"

    @property
    def client(self) -> Collection:
        """The collection, under LlamaIndex's name."""
        return self.collection

    def add(self, nodes: Sequence[BaseNode]) -> list[str]:
        """Add nodes, in place of those that have their ids, and commit.

        Returns:
            Their ids.

        Raises:
            InvalidInputError: A node has no text, or metadata that an index cannot keep.
        """
        stored = {node.node_id: _stored(node) for node in nodes}
        if stored:
            self.collection.upsert(list(stored.values()))
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str) -> None:
        """Delete the nodes that were made from a document; none is no error."""
        self.collection.delete(where={"ref_doc_id": ref_doc_id})

    def delete_nodes(
        self, node_ids: Sequence[str] | None = None, filters: MetadataFilters | None = None
    ) -> None:
        """Delete the nodes that have one of the ids and match the filters.

        Raises:
            InvalidInputError: Neither is given, or a filter is wrong; see `clear`.
        """
        where = _where(node_ids, filters)
        if not where:
            raise InvalidInputError(
                "delete_nodes needs node_ids or filters, got neither; clear deletes all nodes."
            )
        self.collection.delete(where=where)

    def clear(self) -> None:
        """Delete all nodes."""
        self.collection.delete([item.document_id for item in self.collection])

    def get_nodes(
        self, node_ids: Sequence[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return the nodes that have one of the ids and match the filters, by default all.

        Returns:
            The nodes, in the order in which they were added.
        """
        where = _where(node_ids, filters)
        if not where:
            return [_node(item) for item in self.collection]
        matching = set(ids_where(self.collection.index, where))
        return [_node(item) for item in self.collection if item.document_id in matching]

    def query(self, query: VectorStoreQuery) -> VectorStoreQueryResult:
        """Find the best nodes.

        Args:
            query: Its `query_str`, `similarity_top_k`, `filters`, `node_ids` and `doc_ids`, which
                must all match, and its mode: default, hybrid or text_search.

        Raises:
            InvalidInputError: There is no text to search for, or a filter is wrong.
            UnsupportedError: The query has another mode or setting.
        """
        if query.mode not in _MODES:
            known = ", ".join(mode.value for mode in _MODES)
            raise UnsupportedError(f"mode must be one of {known}, got {query.mode.value!r}.")
        for name in _UNUSED:
            if getattr(query, name) is not None:
                raise UnsupportedError(f"a query must leave out {name}, which is not used here.")
        if query.query_str is None:
            raise InvalidInputError("a query needs its text as query_str, got None.")
        sources = None if query.doc_ids is None else {"ref_doc_id": {"$in": list(query.doc_ids)}}
        hits = self.collection.search(
            query.query_str, query.similarity_top_k, hybrid=_MODES[query.mode],
            where=combine_filters(_where(query.node_ids, query.filters), sources),
        )  # fmt: skip
        return VectorStoreQueryResult(
            nodes=[_node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.document_id for hit in hits],
        )

    async def async_add(self, nodes: Sequence[BaseNode]) -> list[str]:
        """Add in a thread, see `add`."""
        return await asyncio.to_thread(self.add, nodes)

    async def adelete(self, ref_doc_id: str) -> None:
        """Delete in a thread, see `delete`."""
        await asyncio.to_thread(self.delete, ref_doc_id)

    async def adelete_nodes(
        self, node_ids: Sequence[str] | None = None, filters: MetadataFilters | None = None
    ) -> None:
        """Delete in a thread, see `delete_nodes`."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters)

    async def aquery(self, query: VectorStoreQuery) -> VectorStoreQueryResult:
        """Search in a thread, see `query`."""
        return await asyncio.to_thread(self.query, query)

    def as_retriever(
        self,
        *,
        similarity_top_k: int = 10,
        filters: MetadataFilters | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        min_relevance: float | None = None,
    ) -> CollectionRetriever:
        """Return a retriever.

        Args:
            similarity_top_k: How many nodes at most.
            filters: What the metadata must be.
            where: The same as `Collection.search` has it; if both are given, both must match.
            hybrid: Whether keywords count too.
            min_relevance: Relevance that nodes have at least, from 0 to 1.
        """
        translated = combine_filters(_where(None, filters), where)
        return CollectionRetriever(
            self.collection, similarity_top_k, translated, hybrid, min_relevance
        )


class CollectionRetriever(BaseRetriever):
    """Retrieves the nodes of a collection; `PocketColbertVectorStore.as_retriever` makes it."""

    def __init__(
        self,
        collection: Collection,
        k: int,
        where: Mapping[str, Any] | None,
        hybrid: bool | Hybrid,
        min_relevance: float | None,
    ) -> None:
        """Set what to search and how; see `Collection.search`."""
        self._collection, self._k, self._where = collection, k, where
        self._hybrid, self._min_relevance = hybrid, min_relevance
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self._collection.search(
            query_bundle.query_str, self._k, where=self._where, hybrid=self._hybrid,
            min_relevance=self._min_relevance,
        )  # fmt: skip
        return [NodeWithScore(node=_node(hit), score=hit.score) for hit in hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # LlamaIndex's default would block the event loop.
        return await asyncio.to_thread(self._retrieve, query_bundle)


def _where(
    node_ids: Sequence[str] | None, filters: MetadataFilters | None
) -> dict[str, Any] | None:
    ids = None if node_ids is None else {"$id": {"$in": list(node_ids)}}
    translated = None if filters is None else to_where(filters) or None
    return combine_filters(ids, translated)


def _stored(node: BaseNode) -> Stored:
    """Return a node as a document whose metadata also holds it, as LlamaIndex's stores have it."""
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    if not text:
        raise InvalidInputError(f"node {node.node_id!r} must have text, got none.")
    metadata = node_to_metadata_dict(node, remove_text=True)
    if node.ref_doc_id is None:  # for which LlamaIndex has the text "None"
        for key in _SOURCE_KEYS:
            del metadata[key]
    return Stored(node.node_id, text, metadata=metadata)


def _node(found: Stored | Hit) -> BaseNode:
    """Return the node that a document holds; one added in another way becomes a text node."""
    if _NODE in found.metadata:
        node: BaseNode = metadata_dict_to_node(dict(found.metadata), text=found.text)
        return node
    metadata = dict(found.metadata)
    if found.title is not None:
        metadata.setdefault("title", found.title)
    return TextNode(id_=found.document_id, text=found.text or "", metadata=metadata)
