"""Write an index to an engine, or bring what is there up to date with it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pocket_colbert.backends.engine import Engine, Layout
from pocket_colbert.backends.open_backend import engine_at
from pocket_colbert.backends.record import DATATYPES, Record
from pocket_colbert.backends.rows import Row, digest_of, row_id, rows_of_document
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import BackendError, InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.types import Document, EncodedDocument, Passage

_DOCUMENTS = 256
"""Documents that are looked up at once, at most."""


class Content(Protocol):
    """Documents with their token vectors, which stay as they are: those of a `Snapshot`."""

    def __len__(self) -> int:
        """Return the number of documents."""

    def encoded(self) -> Iterator[EncodedDocument]:
        """Iterate over documents and their passages."""

    def passage_counts(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of passages of those of these documents that are here."""


class Pushable(Protocol):
    """What can be pushed: an `Index`, a `MultiIndex` or an `EncodedCorpus`."""

    config: IndexConfig

    @property
    def snapshot(self) -> Content:
        """What is to be pushed."""


@dataclass(frozen=True)
class PushReport:
    """What a push has done.

    Attributes:
        written: Documents that were new or had changed.
        unchanged: Documents that were left as they are.
        deleted: Rows that were there and are not part of the index any more.
        documents: Documents that are there now.
        passages: Their passages, each of which is a row.
        tokens: Their token vectors.
    """

    written: int
    unchanged: int
    deleted: int
    documents: int
    passages: int
    tokens: int


def push(
    index: Pushable,
    to: str | Engine,
    *,
    datatype: str | None = None,
    approximate: bool | None = None,
    range_fields: Sequence[str] = (),
    api_key: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PushReport:
    """Make a store on an engine what an index is.

    Only documents that are new or have changed are written. A push that breaks off leaves the
    store incomplete, which `open_store` refuses; the next push goes on where it was. Memory does
    not grow with the number of documents. One push at a time: when another one begins, the first
    to find out raises.

    Args:
        index: An `Index` or a `MultiIndex`, of which what is committed is written, or an
            `EncodedCorpus`.
        to: An address, see `stores.address`, or an engine, which stays open.
        datatype: How components are stored, "float32" or "float16"; a new store has "float32".
        approximate: Whether the engine is to index token vectors (LanceDB IVF_PQ, Qdrant HNSW);
            a new store is searched exactly.
        range_fields: Fields of numbers that get an index for comparisons in a Qdrant collection;
            others are compared document by document.
        api_key: See `open_store`.
        progress: Called with the number of documents that have been dealt with, and of all.

    Returns:
        What has been done.

    Raises:
        InvalidInputError: The index has changes that are not committed, the store was made from
            another model or with other settings, or a passage is larger than the engine allows.
        OptionalDependencyError: The engine's package is not installed.
        BackendError: The engine cannot be reached or refuses, something else is there, or another
            push came in between.
    """
    content = index.snapshot
    if isinstance(index, Index) and index.uncommitted:
        raise InvalidInputError("the index has changes that are not committed; commit() first.")
    if datatype is not None and datatype not in DATATYPES:
        raise InvalidInputError(f"datatype must be one of {DATATYPES}, got {datatype!r}.")
    engine = engine_at(to, api_key=api_key) if isinstance(to, str) else to
    try:
        return _Push(engine, index.config, content).run(
            datatype, approximate, tuple(range_fields), progress
        )
    finally:
        if isinstance(to, str):
            engine.close()


class _Push:
    """One push, from the record that says it has begun to the one that says it is done."""

    def __init__(self, engine: Engine, config: IndexConfig, content: Content) -> None:
        self._engine = engine
        self._config = config
        self._content = content
        self._written = self._unchanged = self._deleted = self._passages = self._tokens = 0

    def run(
        self,
        datatype: str | None,
        approximate: bool | None,
        range_fields: tuple[str, ...],
        progress: Callable[[int, int], None],
    ) -> PushReport:
        """Do it."""
        record, layout = self._begin(datatype, approximate, range_fields)
        total, done = len(self._content), 0
        for batch in self._batches():
            self._write(batch, record.first_position + done)
            done += len(batch)
            progress(done, total)
        self._delete_foreign()
        count = self._engine.count()
        if count != self._passages:
            raise BackendError(
                f"{self._engine} has {count} rows, there must be {self._passages}; "
                "something else writes to it. Push again when nothing does."
            )
        self._engine.finish(layout)
        if Record.from_text(self._engine.read_record() or "", str(self._engine)) != record:
            raise BackendError(f"another push to {self._engine} began; push again when it is done.")
        record = replace(
            record, complete=True, documents=done, passages=self._passages, tokens=self._tokens,
            first_position=record.first_position + done,
        )  # fmt: skip
        self._engine.write_record(record.to_text())
        return PushReport(
            self._written, self._unchanged, self._deleted, done, self._passages, self._tokens
        )

    def _begin(
        self, datatype: str | None, approximate: bool | None, range_fields: tuple[str, ...]
    ) -> tuple[Record, Layout]:
        """Make or check the store, and say in it that a push has begun."""
        text = self._engine.read_record()
        name = uuid.uuid4().hex
        if text is None:
            record = Record(
                config=self._config, complete=False, push=name, documents=0, passages=0, tokens=0,
                first_position=0, datatype=datatype or "float32", approximate=bool(approximate),
            )  # fmt: skip
        else:
            before = Record.from_text(text, str(self._engine))
            self._check_same(before, datatype, approximate)
            record = replace(before, config=self._config, complete=False, push=name)
        layout = Layout(self._config.dim, record.datatype, record.approximate, range_fields)
        if text is None:
            self._engine.create(layout, record.to_text())
        else:
            self._engine.write_record(record.to_text())
            self._engine.prepare(layout)
        return record, layout

    def _check_same(
        self,
        before: Record,
        datatype: str | None,
        approximate: bool | None,
    ) -> None:
        found = {
            "model": (before.config.model[:12], self._config.model[:12]),
            "width": (before.config.dim, self._config.dim),
            "datatype": (before.datatype, datatype or before.datatype),
            "approximate": (
                before.approximate,
                before.approximate if approximate is None else approximate,
            ),
        }
        for what, (is_, would_be) in found.items():
            if is_ != would_be:
                raise InvalidInputError(
                    f"{self._engine} is there already, with {what} {is_!r}, got {would_be!r}; "
                    "push to another name, and delete this one when it is not needed any more."
                )

    def _batches(self) -> Iterator[list[EncodedDocument]]:
        """Yield documents with their passages, as many as may be held at once."""
        batch: list[EncodedDocument] = []
        elements = 0
        for encoded in self._content.encoded():
            size = sum(item.embedding.size for item in encoded.passages)
            if batch and (
                len(batch) == _DOCUMENTS or elements + size > self._engine.batch_elements
            ):
                yield batch
                batch, elements = [], 0
            batch.append(encoded)
            elements += size
        if batch:
            yield batch

    def _write(self, batch: Sequence[EncodedDocument], position: int) -> None:
        known = self._engine.known([document.document_id for document, _ in batch])
        rows: list[Row] = []
        stale: list[str] = []
        for number, (document, passages) in enumerate(batch):
            self._check_size(document, passages)
            self._passages += len(passages)
            self._tokens += sum(len(item.embedding) for item in passages)
            digest = digest_of(document, passages)
            before = known.get(document.document_id)
            if before is not None and before.digest == digest:
                self._unchanged += 1
                continue
            self._written += 1
            rows.extend(rows_of_document(document, passages, digest, position + number))
            if before is not None:
                gone = range(len(passages), before.passages)
                stale.extend(row_id(document.document_id, passage) for passage in gone)
        # Before the rows, whose digests say that all is done for their documents.
        if stale:
            self._engine.delete(stale)
            self._deleted += len(stale)
        for part in self._parts(rows):
            self._engine.upsert(part)

    def _parts(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Cut the rows of one document that is larger than a batch."""
        part: list[Row] = []
        elements = 0
        for row in rows:
            if part and elements + row.embedding.size > self._engine.batch_elements:
                yield part
                part, elements = [], 0
            part.append(row)
            elements += row.embedding.size
        if part:
            yield part

    def _check_size(self, document: Document, passages: Sequence[Passage]) -> None:
        largest = max((item.embedding.size for item in passages), default=0)
        if largest >= self._engine.max_elements:
            raise InvalidInputError(
                f"{self._engine.name} takes passages of less than {self._engine.max_elements} "
                f"components, got {largest} in {document.document_id!r}; index the documents "
                "again in shorter passages (--passage-tokens) or pooled (--pool-factor)."
            )

    def _delete_foreign(self) -> None:
        """Delete rows of documents, or of passages, that the index does not have."""
        for batch in self._engine.rows():
            counts = self._content.passage_counts([document_id for document_id, _ in batch])
            foreign = [
                row_id(document_id, passage)
                for document_id, passage in batch
                if passage >= counts.get(document_id, 0)
            ]
            if foreign:
                self._engine.delete(foreign)
                self._deleted += len(foreign)
