"""Haystack: a document store over a collection. Needs the `haystack` extra (haystack-ai alone).

Haystack asks for permission to import this module when it loads a pipeline:

    Pipeline.loads(text, allowed_modules=["pocket_colbert.integrations.haystack_store"])
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pocket_colbert.collection.collection import Collection
from pocket_colbert.errors import (
    DuplicateIdError,
    InvalidInputError,
    OptionalDependencyError,
    UnsupportedError,
)
from pocket_colbert.ingest.sources import ids_where
from pocket_colbert.integrations.haystack import to_where
from pocket_colbert.storage.filters import parse_filter
from pocket_colbert.types import Document as Stored

try:
    from haystack import Document, default_from_dict, default_to_dict
    from haystack.document_stores.errors import DuplicateDocumentError
    from haystack.document_stores.types import DuplicatePolicy
    from haystack.errors import FilterError
except ImportError as _error:
    raise OptionalDependencyError.of(
        "pocket_colbert.integrations.haystack_store", "haystack"
    ) from _error

_ORDERINGS = (">", ">=", "<", "<=")


class PocketColbertDocumentStore:
    """A collection as Haystack's document store.

        >>> store = PocketColbertDocumentStore("docs.index")
        >>> pipeline.add_component("writer", DocumentWriter(store, DuplicatePolicy.OVERWRITE))
        >>> pipeline.add_component("retriever", PocketColbertRetriever("docs.index"))

    No embedder is needed: the collection has its own model, which makes a vector a token.
    Embeddings and scores of documents are not kept. `integrations.haystack.PocketColbertRetriever`
    searches the same folder; it shows what was committed when it opened it.
    """

    def __init__(
        self, collection: str | Path | Collection, *, model: str | Path | None = None
    ) -> None:
        """Set which collection; one that is named by its folder is opened when it is first used.

        Args:
            collection: The folder, which is made when there is none, or an open collection, which
                the store does not close. One in memory cannot be saved with a pipeline.
            model: The model folder or bundled name to open the folder with, see `Collection`.
        """
        self.model: str | None = None if model is None else str(model)
        self._folder = collection.folder if isinstance(collection, Collection) else Path(collection)
        self._given = collection if isinstance(collection, Collection) else None
        self._opened: Collection | None = self._given
        self._opening = threading.Lock()

    @property
    def collection(self) -> Collection:
        """The collection, which is opened if it is not open.

        Raises:
            PocketColbertError: See `Collection`.
        """
        with self._opening:
            if self._opened is None:
                self._opened = Collection(self._folder, model=self.model)
            return self._opened

    def close(self) -> None:
        """Close the folder, so that another process may write; the next call opens it again.

        A collection that was given stays open.
        """
        with self._opening:
            if self._opened is not None and self._given is None:
                self._opened.close()
                self._opened = None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for saving a pipeline: folder and model.

        Raises:
            UnsupportedError: The collection is in memory.
        """
        if self._folder is None:
            raise UnsupportedError(
                "a collection in memory cannot be saved with a pipeline; give the store a folder."
            )
        saved: dict[str, Any] = default_to_dict(
            self, collection=str(self._folder), model=self.model
        )
        return saved

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PocketColbertDocumentStore:
        """Create a store from what `to_dict` returned."""
        made: PocketColbertDocumentStore = default_from_dict(cls, data)
        return made

    def count_documents(self) -> int:
        """Return the number of documents."""
        return len(self.collection)

    def filter_documents(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Return the documents that match, in the order in which they were written.

        Args:
            filters: Haystack filters, see `integrations.haystack.to_where`; all by default. Texts
                are ordered only if they are dates in ISO format, as Haystack asks.

        Raises:
            FilterError: `filters` breaks a rule.
        """
        where = _where(filters)
        collection = self.collection
        if where is None:
            return [_document(item) for item in collection]
        matching = set(ids_where(collection.index, where))
        return [_document(item) for item in collection if item.document_id in matching]

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Add documents, and commit.

        Args:
            documents: Documents with text; titles and other values go in `meta`.
            policy: What to do with ids that are there already: FAIL, which NONE means too, SKIP or
                OVERWRITE. Of one id in `documents` SKIP takes the first, OVERWRITE the last.

        Returns:
            How many were written.

        Raises:
            InvalidInputError: `documents` is no list of documents, or one has no text or has a
                value in `meta` that an index cannot keep. Nothing is written.
            DuplicateDocumentError: An id is there already or comes twice. Nothing is written.
        """
        if not isinstance(documents, list):
            raise InvalidInputError(
                f"documents must be a list of Haystack documents, got {type(documents).__name__}."
            )
        stored = [_stored(item, number) for number, item in enumerate(documents)]
        collection = self.collection
        if policy == DuplicatePolicy.OVERWRITE:
            return collection.upsert(list({item.document_id: item for item in stored}.values()))
        there = [item.document_id for item in stored if item.document_id in collection]
        if policy == DuplicatePolicy.SKIP:
            first = {item.document_id: item for item in reversed(stored)}
            for name in there:
                first.pop(name, None)
            return collection.add(list(reversed(first.values())))
        if there:
            raise DuplicateDocumentError(
                f"document id {there[0]!r} is there already; "
                "DuplicatePolicy.OVERWRITE replaces documents."
            )
        try:
            return collection.add(stored)
        except DuplicateIdError as error:
            raise DuplicateDocumentError(str(error)) from error

    def delete_documents(self, document_ids: Sequence[str]) -> None:
        """Delete documents by their ids; those that are not there are passed over."""
        self.collection.delete(list(document_ids))

    def delete_by_filter(self, filters: dict[str, Any]) -> int:
        """Delete the documents that match, and return how many they were.

        Raises:
            FilterError: `filters` is empty or breaks a rule.
        """
        where = _where(filters)
        if where is None:
            raise FilterError("filters must say what to delete; delete_all_documents deletes all.")
        return self.collection.delete(where=where)

    def delete_all_documents(self) -> None:
        """Delete all documents."""
        collection = self.collection
        collection.delete([item.document_id for item in collection])

    async def count_documents_async(self) -> int:
        """Count in a thread, see `count_documents`."""
        return await asyncio.to_thread(self.count_documents)

    async def filter_documents_async(self, filters: dict[str, Any] | None = None) -> list[Document]:
        """Filter in a thread, see `filter_documents`."""
        return await asyncio.to_thread(self.filter_documents, filters)

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write in a thread, see `write_documents`."""
        return await asyncio.to_thread(self.write_documents, documents, policy)

    async def delete_documents_async(self, document_ids: Sequence[str]) -> None:
        """Delete in a thread, see `delete_documents`."""
        await asyncio.to_thread(self.delete_documents, document_ids)


def _where(filters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Translate filters as Haystack's document stores read them; {} is none."""
    if filters is None or filters == {}:
        return None
    try:
        where = to_where(_ordered(filters))
        parse_filter(where)
    except InvalidInputError as error:
        raise FilterError(str(error)) from error
    return where


def _ordered(filters: Any) -> Any:
    """Return filters whose values an index takes as Haystack does: nothing is above None."""
    if not isinstance(filters, Mapping):
        return filters
    if isinstance(filters.get("conditions"), list):
        return {**filters, "conditions": [_ordered(item) for item in filters["conditions"]]}
    operator, field, value = (filters.get(key) for key in ("operator", "field", "value"))
    if operator in ("in", "not in") and not isinstance(value, list):
        raise FilterError(f"the value of {operator!r} must be a list, got {value!r:.40}.")
    if operator not in _ORDERINGS or "value" not in filters:
        return filters
    if value is None:
        nothing = [{"field": field, "operator": sign, "value": None} for sign in ("==", "!=")]
        return {"operator": "AND", "conditions": nothing}
    if isinstance(value, str) and not _is_date(value):
        raise FilterError(
            f"texts are ordered only if they are dates in ISO format, got {value!r:.40}."
        )
    return filters


def _is_date(value: str) -> bool:
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _stored(document: Document, number: int) -> Stored:
    if not isinstance(document, Document):
        raise InvalidInputError(
            f"document {number} must be a Haystack document, got {type(document).__name__}."
        )
    if document.content is None:
        raise InvalidInputError(f"document {number} must have text as its content, got None.")
    return Stored(document.id, document.content, metadata=document.meta)


def _document(found: Stored) -> Document:
    """Return a document as Haystack has it; a title goes to `meta` unless there is one."""
    meta = dict(found.metadata)
    if found.title is not None:
        meta.setdefault("title", found.title)
    return Document(id=found.document_id, content=found.text or "", meta=meta)
