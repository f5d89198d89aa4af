"""What a server serves: an index, several joined, or a backend, and what it asks of them."""

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
from pocket_colbert.server.examples import example_questions
from pocket_colbert.server.problems import RequestError
from pocket_colbert.types import Document

REFRESH_SECONDS = 2.0
"""Least time between two looks for changes in a backend: each takes requests over the network."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Contents:
    """What is served, in numbers.

    Attributes:
        documents: Number of documents.
        passages: Number of passages, including those of deleted documents that still take space.
        tokens: Number of token vectors, likewise.
        codes: How token vectors are stored.
        keywords: What keyword search treats as a word, "none" without keyword search.
        fields: Whether `Served.fields` can list the fields to filter by.
        complete: False if documents may be missing because a push is running or failed.
        bytes: Size on disk, None if unknown.
    """

    documents: int
    passages: int
    tokens: int
    codes: str
    keywords: str
    fields: bool
    complete: bool
    bytes: int | None


class Served(ABC):
    """Something to serve. Methods may be called from any thread.

    Attributes:
        backend: What is searched.
        read_only: Why the server cannot write to it, and what to do instead.
    """

    backend: Backend
    read_only: str

    @property
    @abstractmethod
    def generation(self) -> int | None:
        """Number of the commit that is served; None without commits."""

    @property
    def version(self) -> object | None:
        """The same object as long as what is served stays as it is; None where that is unknown."""
        return None

    @abstractmethod
    def refresh(self) -> None:
        """Serve what others have written since.

        Raises:
            PocketColbertError: It cannot be read; the state from before is still served.
        """

    @abstractmethod
    def contents(self) -> Contents:
        """Return what is served, in numbers."""

    @abstractmethod
    def fields(self) -> list[FieldValues]:
        """List the fields of the metadata and their values.

        Raises:
            UnsupportedError: They cannot be listed.
        """

    def examples(self) -> list[str]:
        """Return a few things to ask, none where the documents cannot be looked through."""
        return []

    @abstractmethod
    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents that exist, by id."""


class ServedIndex(Served):
    """An index in this process."""

    read_only = "the index is served read-only; start without --read-only."

    def __init__(self, index: IndexReader) -> None:
        """Serve what is committed to an index."""
        self.backend = self._index = index
        self._described = _SnapshotCache(self._describe)
        self._fields = _SnapshotCache(field_values)
        self._examples = _SnapshotCache(example_questions)

    @property
    def generation(self) -> int:
        """See `Served.generation`."""
        return self._index.generation

    @property
    def version(self) -> Snapshot:
        """See `Served.version`."""
        return self._index.snapshot

    def refresh(self) -> None:
        """See `Served.refresh`."""
        self._index.refresh()

    def contents(self) -> Contents:
        """See `Served.contents`."""
        snapshot = self._index.snapshot
        info = self._described.get(snapshot)
        return Contents(
            documents=info.documents,
            passages=info.passages,
            tokens=info.tokens,
            codes=info.codes,
            keywords=self._index.config.keywords,
            fields=True,
            complete=True,
            bytes=sum(info.bytes.values()),
        )

    def fields(self) -> list[FieldValues]:
        """See `Served.fields`."""
        return self._fields.get(self._index.snapshot)

    def examples(self) -> list[str]:
        """See `Served.examples`."""
        return self._examples.get(self._index.snapshot)

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """See `Served.documents`."""
        snapshot = self._index.snapshot
        addresses = snapshot.addresses(document_ids)
        return {name: snapshot.document(address) for name, address in addresses.items()}

    def _describe(self, snapshot: Snapshot) -> IndexInfo:
        config = self._index.config
        return describe(config, snapshot.segments, WriteBuffer(config))


class ServedMultiIndex(ServedIndex):
    """Several indexes, joined."""

    read_only = (
        "joined indexes are served read-only; change one of them, and the server picks it up."
    )

    def __init__(self, index: MultiIndex) -> None:
        """Serve joined indexes."""
        super().__init__(index)

    def refresh(self) -> None:
        """See `Served.refresh`."""
        try:
            super().refresh()
        except DuplicateIdError as error:  # which is not the fault of the request
            raise RequestError(500, "index_conflict", str(error)) from error


class ServedBackend(Served):
    """A backend on another engine."""

    read_only = "a backend is served read-only; change the index it was pushed from and push again."

    def __init__(self, backend: RemoteBackend) -> None:
        """Serve a backend."""
        self.backend = self._remote = backend
        self._refreshing = threading.Lock()
        self._due = time.monotonic() + REFRESH_SECONDS

    @property
    def generation(self) -> None:
        """See `Served.generation`."""
        return

    def refresh(self) -> None:
        """See `Served.refresh`; while one thread does it, others use the state from before."""
        if time.monotonic() < self._due or not self._refreshing.acquire(blocking=False):
            return
        try:
            self._remote.refresh()
            self._due = time.monotonic() + REFRESH_SECONDS
        finally:
            self._refreshing.release()

    def contents(self) -> Contents:
        """See `Served.contents`."""
        record = self._remote.record
        return Contents(
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
        """See `Served.fields`."""
        raise UnsupportedError(
            f"the fields of a backend cannot be listed, got {self._remote.address}; filter (where) "
            "by fields you know, or serve the index it was pushed from."
        )

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """See `Served.documents`."""
        return self._remote.find(document_ids)


class _SnapshotCache(Generic[_Result]):
    """Caches what a function returns for the latest snapshot."""

    def __init__(self, compute: Callable[[Snapshot], _Result]) -> None:
        self._compute = compute
        # Weak, so that segments that were merged away can be closed.
        self._cached: tuple[weakref.ref[Snapshot], _Result] | None = None

    def get(self, snapshot: Snapshot) -> _Result:
        """Return the value for a snapshot, computing it if it is not cached."""
        cached = self._cached
        if cached is not None and cached[0]() is snapshot:
            return cached[1]
        value = self._compute(snapshot)
        self._cached = weakref.ref(snapshot), value
        return value
