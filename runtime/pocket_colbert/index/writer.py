"""The writing side of an index: pending changes, and commits in one step."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_ids, checked_document
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import DuplicateIdError, IndexConflictError, InvalidInputError
from pocket_colbert.index.directory import IndexDirectory, is_index
from pocket_colbert.index.encoded_documents import checked
from pocket_colbert.index.merge_policy import MergePolicy
from pocket_colbert.index.merger import SegmentMaker
from pocket_colbert.index.prepared_documents import PassageCoder, PreparedDocuments
from pocket_colbert.index.snapshot import Address, Snapshot
from pocket_colbert.index.write_buffer import WriteBuffer
from pocket_colbert.source_paths import mover
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.types import EncodedDocument
from pocket_colbert.vectors.codec import Codec


@dataclass(frozen=True, eq=False)
class State:
    """What an index holds. One assignment replaces both, so nothing is ever in both or in neither.

    Attributes:
        snapshot: What is committed.
        pending: What was added and deleted since.
    """

    snapshot: Snapshot
    pending: WriteBuffer

    def addresses(self, document_ids: Sequence[str]) -> dict[str, Address]:
        """Return the addresses of those ids whose documents are committed and not deleted since."""
        gone = self.pending.deleted
        addresses = self.snapshot.addresses(document_ids)
        return {name: address for name, address in addresses.items() if name not in gone}

    def __len__(self) -> int:
        """Return the number of documents, those not committed yet included."""
        return len(self.snapshot) - len(self.pending.deleted) + len(self.pending)

    def __contains__(self, document_id: object) -> bool:
        if not isinstance(document_id, str):
            return False
        return document_id in self.pending or bool(self.addresses([document_id]))


class IndexWriter:
    """Changes an index; any thread may call it, and they take turns.

    Attributes:
        config: The settings of the index.
        directory: The index folder, None in memory.
        state: What the index holds now.
        turn: Held by the thread that changes the index.
    """

    def __init__(
        self,
        config: IndexConfig,
        threads: int,
        directory: IndexDirectory | None = None,
        snapshot: Snapshot | None = None,
    ) -> None:
        """Begin with what is committed.

        Args:
            config: The settings of the index.
            threads: Threads that build inverted files.
            directory: The index folder, None in memory.
            snapshot: What is committed; nothing by default.
        """
        self.config: IndexConfig = config
        self.directory = directory
        self.state: State = State(snapshot or Snapshot(), WriteBuffer(config))
        self._turn = threading.RLock()
        self._threads = threads

    @property
    def generation(self) -> int:
        """Number of the last commit; 0 in memory."""
        return 0 if self.directory is None else self.directory.manifest.generation

    @property
    def pending_changes(self) -> str:
        """What is pending, for people."""
        pending = self.state.pending
        return f"documents added: {len(pending)}, deleted or replaced: {len(pending.deleted)}"

    def add(self, documents: Iterable[EncodedDocument], *, replacing: bool) -> None:
        """Add documents, all or, when an error is raised, none; see `Index.add_documents`."""
        encoded = checked(documents, self.config.dim)
        with self._turn:
            self._make_room([item.document.document_id for item in encoded], replacing)
            self.state.pending.add(encoded, self._rows())

    def coder(self) -> PassageCoder:
        """Return what makes codes of token vectors; see `Index.coder`."""

        def choose(vectors: Sequence[NDArray[np.float32]]) -> Codec | None:
            with self._turn:
                return self.state.pending.codec_for(self._rows(), vectors)

        return PassageCoder(self.config.dim, choose)

    def add_prepared(self, prepared: PreparedDocuments, *, replacing: bool) -> None:
        """Add documents, all or none; see `Index.add_prepared`."""
        documents = []
        for item in prepared.documents:
            check_ids([item.document.document_id], "document_ids")
            documents.append(replace(item, document=checked_document(item.document)))
        with self._turn:
            self._make_room([item.document.document_id for item in documents], replacing)
            self.state.pending.add_prepared(replace(prepared, documents=documents), self._rows())

    def _rows(self) -> list[TokenVectors]:
        return [segment.rows for segment in self.state.snapshot.segments]

    def _make_room(self, ids: Sequence[str], replacing: bool) -> None:
        """Delete documents that are to be replaced, or check that the ids are new."""
        self._check_writable()
        if len(set(ids)) < len(ids):
            ((twice, _),) = Counter(ids).most_common(1)
            raise DuplicateIdError(f"document ids must differ, got {twice!r} twice.")
        if replacing:
            self._delete(ids)
        else:
            self._check_new(ids)

    def delete(self, document_ids: Sequence[str]) -> int:
        """Delete documents and return how many were there; see `Index.delete`."""
        with self._turn:
            self._check_writable()
            return self._delete(document_ids)

    def learn_model(self, fingerprint: str) -> None:
        """Take the model down of an index that does not know it; see `Index.learn_model`."""
        with self._turn:
            if self.config.model == fingerprint:
                return
            if self.config.model:
                raise InvalidInputError(
                    f"the index was made with another model: it has {self.config.model[:12]}, got "
                    f"{fingerprint[:12]}; use the model it was made with, or index again."
                )
            self._check_writable()
            self.config = replace(self.config, model=fingerprint)

    def commit(self, *, last: bool = False) -> None:
        """Make what is pending part of the index, in one step; see `Index.commit`."""
        with self._turn:
            pending, segments = self.state.pending, list(self.state.snapshot.segments)
            if last and not pending:
                self._check_writable()
                run = MergePolicy().at_commit(segments, last=True)
                if run is not None:
                    self._merge(run)
            if not pending:
                return
            if self.directory is not None:
                self.directory.check_current()
            generation, maker = self.generation + 1, self._maker()
            try:
                if len(pending):
                    rows = pending.rows([segment.rows for segment in segments])
                    segments.append(maker.make(rows.codec, [rows], pending.stored()))
                segments = self._without_deleted(segments, pending, generation)
                run = MergePolicy().at_commit(segments, last=last)
                if run is not None:
                    segments[run] = [maker.merge(segments[run])]
                self._install(segments, WriteBuffer(self.config))
            except BaseException:
                self._give_up(generation)
                raise

    def compact(self, policy: MergePolicy) -> None:
        """Commit, then merge what a policy says, one commit a run; see `Index.compact`."""
        with self._turn:
            self.commit()
            self._check_writable()
            # From the end, so that the numbers of earlier segments stay right.
            for run in reversed(policy.compacting(self.state.snapshot.segments)):
                self._merge(run)

    def change_source(self, old: str, new: str) -> int:
        """Commit, then give the documents of a source another one; see `Index.change_source`."""
        changed = 0
        with self._turn:
            self.commit()
            self._check_writable()
            for number, segment in reversed(list(enumerate(self.state.snapshot.segments))):
                here = int(segment.alive[segment.documents.from_source(old)].sum())
                if here:
                    run = slice(number, number + 1)
                    self._merge(run, lambda source: new if source == old else source)
                    changed += here
        return changed

    def refresh(self) -> bool:
        """Show what another writer has committed since; see `Index.refresh`."""
        if self.directory is None or self.directory.writable:
            return False  # at once, whatever is being committed
        with self._turn:
            segments = self.directory.refreshed(self.state.snapshot.segments)
            if segments is not None:
                self.state = State(Snapshot(segments), self.state.pending)
                self.config = self.directory.manifest.config
            return segments is not None

    def save(self, path: Path) -> None:
        """Write the whole index to another folder, as one segment; see `Index.save`."""
        own = None if self.directory is None else self.directory.path
        if own is not None and path.resolve() == own.resolve():
            raise IndexConflictError(f"the index lives in {path}; use commit() to write to it.")
        with self._turn:
            if self.directory is None:
                self.commit()
            elif self.state.pending:
                raise IndexConflictError("commit what was added or deleted, then save a copy.")
            segments = self.state.snapshot.segments
        if is_index(path):
            target = IndexDirectory(path, writable=True)
        else:
            target = IndexDirectory.create(path, self.config)
        try:
            maker = SegmentMaker(
                folder=target.contained,
                generation=target.manifest.generation + 1,
                config=self.config,
                threads=self._threads,
            )
            written = [maker.merge(segments, mover(own, path))] if segments else []
            target.commit(written, self.config)
            for segment in written:
                segment.documents.close()
        finally:
            target.clean_up()
            target.close()

    def close(self) -> None:
        """Forget what is pending and let another writer in."""
        self.state = State(self.state.snapshot, WriteBuffer(self.config))
        if self.directory is not None:
            self.directory.close()

    def _check_writable(self) -> None:
        if self.directory is not None:
            self.directory.check_writable()

    def _check_new(self, ids: Sequence[str]) -> None:
        committed = self.state.addresses(ids)
        for document_id in ids:
            if document_id in committed or document_id in self.state.pending:
                raise DuplicateIdError(
                    f"document ids must be new, got {document_id!r}, which is in the index; use "
                    "upsert to replace it."
                )

    def _delete(self, ids: Sequence[str]) -> int:
        before, pending = len(self.state), self.state.pending
        for document_id in ids:
            if document_id in pending:
                pending.remove(document_id)
        pending.deleted.update(self.state.addresses(ids))
        return before - len(self.state)

    def _without_deleted(
        self, segments: list[Segment], pending: WriteBuffer, generation: int
    ) -> list[Segment]:
        """Mark deleted documents, and leave out segments of which none is left."""
        folder = None if self.directory is None else self.directory.contained
        for number in {segment for segment, _ in pending.deleted.values()}:
            positions = [p for segment, p in pending.deleted.values() if segment == number]
            segments[number] = segments[number].without(
                np.array(positions, np.int64), folder, generation
            )
        return [segment for segment in segments if len(segment)]

    def _maker(self) -> SegmentMaker:
        """Return what makes segments of the next commit."""
        return SegmentMaker(
            folder=None if self.directory is None else self.directory.contained,
            generation=self.generation + 1,
            config=self.config,
            threads=self._threads,
        )

    def _merge(self, run: slice, new_source: Callable[[str], str] | None = None) -> None:
        """Make one segment of some, as a commit of its own."""
        generation, segments = self.generation + 1, list(self.state.snapshot.segments)
        try:
            merged = self._maker().merge(segments[run], new_source)
            segments[run] = [merged] if len(merged) else []
            self._install(segments, self.state.pending)
        except BaseException:
            self._give_up(generation)
            raise

    def _install(self, segments: Sequence[Segment], pending: WriteBuffer) -> None:
        state, generation = State(Snapshot(tuple(segments)), pending), self.generation + 1
        try:
            if self.directory is not None:
                self.directory.commit(segments, self.config)
        finally:
            if self.directory is None or self.generation == generation:
                self.state = state

    def _give_up(self, generation: int) -> None:
        """Put things right after a commit that raised, which may still have come to its end."""
        if self.directory is None:
            return
        if self.generation == generation:
            segments = self.directory.segments(self.state.snapshot.segments, False)
            self.state = State(Snapshot(segments), WriteBuffer(self.config))
        else:
            self.directory.clean_up()
