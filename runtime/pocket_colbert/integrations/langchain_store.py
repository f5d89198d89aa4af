"""LangChain: a vector store that adds, deletes and searches. Needs the `langchain` extra."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from pocket_colbert.collection.collection import Collection
from pocket_colbert.config import Hybrid
from pocket_colbert.errors import (
    DocumentNotFoundError,
    InvalidInputError,
    OptionalDependencyError,
    UnsupportedError,
)
from pocket_colbert.integrations.common import combine_filters
from pocket_colbert.types import Document as Stored
from pocket_colbert.types import Hit

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
except ImportError as _error:
    raise OptionalDependencyError.of(
        "pocket_colbert.integrations.langchain_store", "langchain"
    ) from _error


class PocketColbertVectorStore(VectorStore):
    """A collection as LangChain's vector store.

        >>> store = PocketColbertVectorStore(Collection("notes.index"))
        >>> store.add_documents([Document("Rent is due on the first.", metadata={"kind": "rule"})])
        >>> store.similarity_search("when must I pay?", k=1, filter={"kind": "rule"})
        >>> retriever = store.as_retriever(search_kwargs={"k": 4, "score_threshold": 0.5})

    No embedding model is needed: the collection has its own, which makes a vector a token. The
    asynchronous methods are LangChain's own and run in a thread. Settings that are not known are
    errors.

    Attributes:
        collection: The collection, which the store does not close.
    """

    def __init__(self, collection: Collection) -> None:
        """Hold a collection."""
        self.collection = collection

    @classmethod
    def from_texts(
        cls,
        texts: Iterable[str],
        embedding: Embeddings | None = None,
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        collection: Collection | None = None,
    ) -> PocketColbertVectorStore:
        """Make a store of texts.

        Args:
            texts: The texts.
            embedding: Must be None: the collection makes its own vectors.
            metadatas: A dictionary each.
            ids: An id each.
            collection: Where to add them; by default a new collection in memory.

        Raises:
            InvalidInputError: An embedding model is given, or an argument breaks its rule.
        """
        if embedding is not None:
            raise InvalidInputError(
                "embedding must be None, since the collection makes its own vectors; give "
                "Collection(model=...) for another model."
            )
        store = cls(Collection() if collection is None else collection)
        store.add_texts(texts, metadatas, ids=ids)
        return store

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
    ) -> list[str]:
        """Add texts, in place of those that have their ids.

        Args:
            texts: The texts.
            metadatas: A dictionary each.
            ids: An id each; without one, or with None, an id is made.

        Returns:
            The ids.
        """
        texts = list(texts)
        if ids is not None and len(ids) != len(texts):
            raise InvalidInputError(f"ids must be {len(texts)}, one a text, got {len(ids)}.")
        names = [name or str(uuid4()) for name in (ids or [None] * len(texts))]
        if texts:
            self.collection.upsert(texts, ids=names, metadata=metadatas)
        return names

    def delete(
        self, ids: Sequence[str] | None = None, *, filter: Mapping[str, Any] | None = None
    ) -> bool:
        """Delete documents by their ids, or those that match a filter.

        Returns:
            True. Ids that are not there are passed over.

        Raises:
            InvalidInputError: Neither or both are given.
        """
        self.collection.delete(ids, where=filter)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the documents of some ids; those that are not there are left out."""
        found = []
        for name in ids:
            try:
                found.append(_document(self.collection.get(name)))
            except DocumentNotFoundError:
                continue
        return found

    def similarity_search(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, Any] | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
    ) -> list[Document]:
        """Find the best documents.

        Args:
            query: The query.
            k: How many documents at most.
            filter: What the metadata must be, see `Collection.search`.
            where: The same; if both are given, both must match.
            hybrid: Whether keywords count too.
        """
        hits = self._hits(query, k, filter, where, hybrid)
        return [_document(hit) for hit in hits]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, Any] | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
    ) -> list[tuple[Document, float]]:
        """Find the best documents and their scores, larger being better."""
        hits = self._hits(query, k, filter, where, hybrid)
        return [(_document(hit), hit.score) for hit in hits]

    def _similarity_search_with_relevance_scores(
        self,
        query: str,
        k: int = 4,
        *,
        filter: Mapping[str, Any] | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
    ) -> list[tuple[Document, float]]:
        """Find the best documents and their relevance, from 0 to 1.

        Raises:
            UnsupportedError: The collection's model has no relevance curve.
        """
        hits = self._hits(query, k, filter, where, hybrid, min_relevance=0.0)
        return [(_document(hit), _relevance_of(hit)) for hit in hits]

    def _hits(
        self,
        query: str,
        k: int,
        filter: Mapping[str, Any] | None,
        where: Mapping[str, Any] | None,
        hybrid: bool | Hybrid,
        min_relevance: float | None = None,
    ) -> Sequence[Hit]:
        return self.collection.search(
            query, k, where=combine_filters(filter, where), hybrid=hybrid,
            min_relevance=min_relevance,
        )  # fmt: skip


def _document(found: Stored | Hit) -> Document:
    """Return a document as LangChain has it; a title becomes metadata unless there is one."""
    metadata = dict(found.metadata)
    if found.title is not None:
        metadata.setdefault("title", found.title)
    return Document(page_content=found.text or "", id=found.document_id, metadata=metadata)


def _relevance_of(hit: Hit) -> float:
    if hit.relevance is None:
        raise UnsupportedError(
            "this search says no relevance; use similarity_search_with_score instead."
        )
    return hit.relevance
