"""What is served: an index, several joined, or a store; what the server asks beside searching."""

from __future__ import annotations

import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pocket_colbert.backend import Backend
from pocket_colbert.backends.remote import RemoteBackend
from pocket_colbert.errors import DuplicateIdError, UnsupportedError
from pocket_colbert.index.facets import FieldValues, field_values
from pocket_colbert.index.multi_index import MultiIndex
from pocket_colbert.index.reader import IndexReader
from pocket_colbert.index.snapshot import Snapshot
from pocket_colbert.index.stats import IndexInfo, describe
from pocket_colbert.index.write_buffer import WriteBuffer
from pocket_colbert.server.problems import RequestError
from pocket_colbert.types import Document

REFRESH_SECONDS = 2.0
"""A store is asked so often for what is new, at most: that takes some requests over the network."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Held:
    """What can be found, and how it is kept.

    Attributes:
        documents: Number of documents.
        passages: Number of passages, those of documents that are deleted but still take room
            included.
        tokens: Number of token vectors, likewise.
        codes: How token vectors are stored.
        keywords: What counts as a word in keyword search, "none" where there is none.
        fields: Whether `Source.fields` can say what there is to filter by.
        complete: Whether no document may be missing because a push is under way or broke off.
        bytes: Size on disk; None where that is not known.
    """

    documents: int
    passages: int
    tokens: int
    codes: str
    keywords: str
    fields: bool
    complete: bool
    bytes: int | None


class Source(ABC):
    """What is served. Methods may be called from any thread.

    Attributes:
        store: What is searched.
        read_only: Why nothing can be written through the server, and what to do instead.
    """

    store: Backend
    read_only: str

    @property
    @abstractmethod
    def generation(self) -> int | None:
        """Number of the commit that is shown; None where there are no commits."""

    @abstractmethod
    def refresh(self) -> None:
        """Show what others have written since.

        Raises:
            PocketColbertError: It cannot be read; what was shown before is still shown.
        """

    @abstractmethod
    def held(self) -> Held:
        """Say what is shown."""

    @abstractmethod
    def fields(self) -> list[FieldValues]:
        """Return the fields of the metadata and their values.

        Raises:
            UnsupportedError: They cannot be listed.
        """

    @abstractmethod
    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Return those of the documents that are there."""


class IndexSource(Source):
    """An index in this process."""

    read_only = "the index is served read-only; start without --read-only."

    def __init__(self, index: IndexReader) -> None:
        """Take an index, of which what is committed is shown."""
        self.store = self._index = index
        self._described = _OfSnapshot(self._describe)
        self._fields = _OfSnapshot(field_values)

    @property
    def generation(self) -> int:
        """See `Source.generation`."""
        return self._index.generation

    def refresh(self) -> None:
        """See `Source.refresh`."""
        self._index.refresh()

    def held(self) -> Held:
        """See `Source.held`."""
        snapshot = self._index.snapshot
        found = self._described.get(snapshot)
        return Held(
            documents=found.documents,
            passages=found.passages,
            tokens=found.tokens,
            codes=found.codes,
            keywords=self._index.config.keywords,
            fields=True,
            complete=True,
            bytes=sum(found.bytes.values()),
        )

    def fields(self) -> list[FieldValues]:
        """See `Source.fields`."""
        return self._fields.get(self._index.snapshot)

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """See `Source.documents`."""
        snapshot = self._index.snapshot
        addresses = snapshot.addresses(document_ids)
        return {name: snapshot.document(address) for name, address in addresses.items()}

    def _describe(self, snapshot: Snapshot) -> IndexInfo:
        config = self._index.config
        return describe(config, snapshot.segments, WriteBuffer(config))


class JoinedSource(IndexSource):
    """Indexes that were built apart."""

    read_only = (
        "indexes that are served together are read-only; change one of them, and that is seen."
    )

    def __init__(self, index: MultiIndex) -> None:
        """Take joined indexes."""
        super().__init__(index)

    def refresh(self) -> None:
        """See `Source.refresh`."""
        try:
            super().refresh()
        except DuplicateIdError as error:  # which is no fault of who asks
            raise RequestError(500, "index_conflict", str(error)) from error


class StoreSource(Source):
    """A store on another engine."""

    read_only = "a store is served read-only; change the index it was pushed from and push again."

    def __init__(self, store: RemoteBackend) -> None:
        """Take a store."""
        self.store = self._remote = store
        self._refreshing = threading.Lock()
        self._due = time.monotonic() + REFRESH_SECONDS

    @property
    def generation(self) -> None:
        """See `Source.generation`."""
        return

    def refresh(self) -> None:
        """See `Source.refresh`; one thread does it, and the others go on with what there is."""
        if time.monotonic() < self._due or not self._refreshing.acquire(blocking=False):
            return
        try:
            self._remote.refresh()
            self._due = time.monotonic() + REFRESH_SECONDS
        finally:
            self._refreshing.release()

    def held(self) -> Held:
        """See `Source.held`."""
        record = self._remote.record
        return Held(
            documents=record.documents,
            passages=record.passages,
            tokens=record.tokens,
            codes=record.datatype,
            keywords="none",
            fields=False,
            complete=record.complete,
            bytes=None,
        )

    def fields(self) -> list[FieldValues]:
        """See `Source.fields`."""
        raise UnsupportedError(
            f"the fields of a store cannot be listed, got {self._remote.address}; filter (where) "
            "by those you know, or serve the index it was pushed from."
        )

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """See `Source.documents`."""
        return self._remote.find(document_ids)


class _OfSnapshot(Generic[_Result]):
    """Remembers what was made of a snapshot, for as long as that is the last one asked about."""

    def __init__(self, make: Callable[[Snapshot], _Result]) -> None:
        self._make = make
        # Weak, lest segments that have been merged away stay open.
        self._known: tuple[weakref.ref[Snapshot], _Result] | None = None

    def get(self, snapshot: Snapshot) -> _Result:
        """Return what was made of it, made now if need be."""
        known = self._known
        if known is not None and known[0]() is snapshot:
            return known[1]
        made = self._make(snapshot)
        self._known = weakref.ref(snapshot), made
        return made
