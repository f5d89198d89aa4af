"""Copy an index to an engine, or bring an earlier copy up to date."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pocket_colbert.backends.connect import engine_at
from pocket_colbert.backends.engine import Engine, Layout
from pocket_colbert.backends.record import DATATYPES, Record
from pocket_colbert.backends.rows import Row, digest_of, row_id, rows_of_document
from pocket_colbert.checks import check_choice
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import BackendError, InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.types import EncodedDocument

_DOCUMENTS = 256
"""Maximum number of documents to look up in one request."""


class Content(Protocol):
    """A fixed set of documents with their token vectors, such as a `Snapshot`."""

    def __len__(self) -> int:
        """Return the number of documents."""

    def encoded(self) -> Iterator[EncodedDocument]:
        """Iterate over the documents and their passages."""

    def passage_counts(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of passages of each of these documents that is here, by id."""

    def largest_passage(self) -> tuple[str, int]:
        """Return the id of a document with the most token vectors in a passage, and how many."""


class Pushable(Protocol):
    """What can be pushed: an `Index`, a `MultiIndex` or an `EncodedCorpus`."""

    config: IndexConfig

    @property
    def snapshot(self) -> Content:
        """The documents to push."""


@dataclass(frozen=True)
class PushReport:
    """What a push did.

    Attributes:
        written: Documents written because they were new or had changed.
        unchanged: Documents that were already up to date.
        deleted: Rows deleted because the index no longer has them.
        documents: Documents in the backend now.
        passages: Their passages, one row each.
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
    """Make the collection or table at an address an exact copy of an index.

    Only new and changed documents are written. A push that is interrupted leaves the copy
    incomplete, and `open_backend` refuses it; the next push resumes. Memory use does not grow with
    the number of documents. Run one push at a time: if two overlap, the one that notices raises.

    Args:
        index: An `Index` or `MultiIndex`, whose committed documents are pushed, or an
            `EncodedCorpus`.
        to: An address (see `backends.address`), or an engine, which stays open.
        datatype: How components are stored, "float32" or "float16". A new copy defaults to
            "float32", an existing one keeps what it has.
        approximate: Whether the engine indexes token vectors (LanceDB IVF_PQ, Qdrant HNSW). A new
            copy defaults to exact search.
        range_fields: Numeric fields that get an index for comparisons in a Qdrant collection;
            other fields are compared document by document.
        api_key: See `open_backend`.
        progress: Called with the number of documents processed so far and the total.

    Returns:
        What was written, left alone and deleted.

    Raises:
        ClosedError: The index is closed.
        InvalidInputError: The index has uncommitted changes, the existing copy comes from another
            model or other settings, or a passage is larger than the engine allows.
        OptionalDependencyError: The engine's package is not installed.
        BackendError: The engine cannot be reached or rejects a request, something else is at the
            address, or another push interfered.
    """
    content = index.snapshot
    if isinstance(index, Index) and index.uncommitted:
        raise InvalidInputError("the index has uncommitted changes; call commit() first.")
    if datatype is not None:
        check_choice("datatype", datatype, DATATYPES)
    engine = engine_at(to, api_key=api_key) if isinstance(to, str) else to
    try:
        return _Push(engine, index.config, content).run(
            datatype, approximate, tuple(range_fields), progress
        )
    finally:
        if isinstance(to, str):
            engine.close()


class _Push:
    """One push, from the record that marks its start to the one that marks its end."""

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
        """Run the push."""
        self._check_largest()
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
                f"{self._engine} must have {self._passages} rows, got {count}: something else is "
                "writing to it. Push again once nothing does."
            )
        self._engine.finish(layout)
        if Record.from_text(self._engine.read_record() or "", str(self._engine)) != record:
            raise BackendError(
                f"another push to {self._engine} has begun; push again when it is done."
            )
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
        """Create or check the collection or table, and record that a push has begun."""
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
        settings = {
            "model": (before.config.model[:12], self._config.model[:12]),
            "width": (before.config.dim, self._config.dim),
            "datatype": (before.datatype, datatype or before.datatype),
            "approximate": (
                before.approximate,
                before.approximate if approximate is None else approximate,
            ),
        }
        for what, (old, new) in settings.items():
            if old != new:
                raise InvalidInputError(
                    f"{self._engine} already exists with {what} {old!r}, got {new!r}; push to "
                    "another name, and delete this one when you no longer need it."
                )

    def _batches(self) -> Iterator[list[EncodedDocument]]:
        """Yield documents with their passages, in batches that fit one request."""
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
        known = self._engine.document_states([document.document_id for document, _ in batch])
        rows: list[Row] = []
        stale: list[str] = []
        for number, (document, passages) in enumerate(batch):
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
        # Delete first: a document's new digest must not appear while it has stale rows.
        if stale:
            self._engine.delete(stale)
            self._deleted += len(stale)
        for part in self._parts(rows):
            self._engine.upsert(part)

    def _parts(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Split rows into requests; one document can be larger than a batch."""
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

    def _check_largest(self) -> None:
        """Refuse, before anything is sent, a passage that the engine does not take."""
        document_id, tokens = self._content.largest_passage()
        components = tokens * self._config.dim
        if components >= self._engine.max_elements:
            raise InvalidInputError(
                f"{self._engine.name} takes passages of less than {self._engine.max_elements} "
                f"components, got {components} in {document_id!r}; index the documents "
                "again with shorter passages (--passage-tokens) or pooling (--pool-factor)."
            )

    def _delete_foreign(self) -> None:
        """Delete rows whose document or passage the index does not have."""
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
