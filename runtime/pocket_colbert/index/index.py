"""A collection of documents that can be searched by MaxSim."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pocket_colbert.checks import check_ids, check_whole_number
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import DuplicateIdError, IndexConflictError, InvalidInputError
from pocket_colbert.index.directory import IndexDirectory, is_index
from pocket_colbert.index.merger import (
    SEGMENT_TOKENS,
    merged_codec,
    merged_documents,
    merged_rows,
    run_to_bound,
    runs_to_merge,
)
from pocket_colbert.index.reader import IndexReader
from pocket_colbert.index.snapshot import Address, Snapshot
from pocket_colbert.index.stats import IndexInfo, describe
from pocket_colbert.index.write_buffer import (
    Addition,
    Embedded,
    WriteBuffer,
    checked_additions,
    copied,
)
from pocket_colbert.source_paths import mover
from pocket_colbert.storage.document_schema import StoredDocument
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.types import Document
from pocket_colbert.vectors.codec import Codec


class Index(IndexReader):
    """Holds documents as coded token vectors; finds the best by MaxSim.

    `Index(dim=...)` lives in memory until `save`. `Index.create` and
    `Index.load(..., writable=True)` live in a folder: what was added and deleted is written, in
    one step, by `commit`. One writer at a time, any number of readers, which see the index as it
    was when they opened it until `refresh`. Any number of threads may search.

        >>> index = Index(dim=encoder.dim)
        >>> index.add(["d1", "d2"], encoder.encode_document(texts), texts=texts)
        >>> index.search(encoder.encode_query(["a question"]), k=1)[0][0].document_id
        'd1'

    Attributes:
        config: The settings, fixed when the index was made.
        threads: Threads that one search may use.
    """

    def __init__(
        self, dim: int, *, config: IndexConfig | None = None, threads: int | None = None
    ) -> None:
        """Make an empty index in memory.

        Args:
            dim: Width of a token vector.
            config: Further settings; its `dim` must be the same.
            threads: Threads that one search may use, by default one a usable core.

        Raises:
            InvalidInputError: An argument is out of range.
        """
        config = config or IndexConfig(dim=dim)
        if config.dim != dim:
            raise InvalidInputError(f"config.dim must be {dim}, got {config.dim}.")
        super().__init__(config, threads)
        self._folder: IndexDirectory | None = None
        self._pending = WriteBuffer(self.config)
        self._changing = threading.RLock()

    @classmethod
    def create(
        cls, folder: str | Path, config: IndexConfig, *, threads: int | None = None
    ) -> Index:
        """Make an empty index in a new folder and open it for writing.

        Args:
            folder: A path at which nothing is, or an empty folder.
            config: The settings.
            threads: See `Index`.

        Raises:
            IndexExistsError: There is something at `folder`.
        """
        index = cls(config.dim, config=config, threads=threads)
        index._folder = IndexDirectory.create(Path(folder), config)
        return index

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        writable: bool = False,
        verify: bool | None = None,
        threads: int | None = None,
    ) -> Index:
        """Open an index folder, memory-mapped.

        Args:
            folder: The folder.
            writable: Whether documents will be added or deleted. There is one writer at a time;
                `close`, or the end of the process, lets the next one in.
            verify: Whether to verify the checksums of all files, which reads them all; None
                does for segments of up to 64 MB. Sizes, and the checksums of small files, are
                always verified.
            threads: See `Index`.

        Returns:
            The index.

        Raises:
            IndexNotFoundError: There is no index at `folder`.
            IndexFormatError: The index is damaged, incomplete or of another version.
            IndexLockedError: It is to be writable and another writer has it open.
            IndexConflictError: It is to be writable and the folder is not.
        """
        opened = IndexDirectory(Path(folder), writable=writable)
        try:
            config = opened.manifest.config
            index = cls(config.dim, config=config, threads=threads)
            index._snapshot = Snapshot(opened.segments((), verify))
        except BaseException:
            opened.close()
            raise
        index._folder = opened
        return index

    def __len__(self) -> int:
        """Return the number of documents, those not committed yet included."""
        return len(self._snapshot) - len(self._pending.deleted) + len(self._pending)

    def __contains__(self, document_id: object) -> bool:
        if not isinstance(document_id, str):
            return False
        return document_id in self._pending or bool(self._addresses([document_id]))

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents in the order in which they were added."""
        gone = set(self._pending.deleted)
        for document in self._snapshot:
            if document.document_id not in gone:
                yield document
        yield from self._pending

    def __enter__(self) -> Index:
        return self

    def __repr__(self) -> str:
        place = "in memory" if self._folder is None else str(self._folder.path)
        size = "closed" if self.closed else f"{len(self)} documents"
        return f"<Index {place}: {size}, {self.config.dim} dimensions>"

    @property
    def folder(self) -> Path | None:
        """Where the index lives; None in memory."""
        return None if self._folder is None else self._folder.path

    @property
    def generation(self) -> int:
        """Number of the commit that this index shows; 0 in memory."""
        return 0 if self._folder is None else self._folder.manifest.generation

    @property
    def uncommitted(self) -> bool:
        """Whether something was added or deleted that is not committed yet."""
        return bool(self._pending)

    def add(
        self,
        document_ids: Sequence[str],
        embeddings: Sequence[Embedded],
        *,
        texts: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        sources: Sequence[str | None] | None = None,
    ) -> None:
        """Add documents. Either all are added or, when an error is raised, none.

        An index in a folder shows them after `commit`, one in memory at once.

        Args:
            document_ids: Their ids, which no document may have yet.
            embeddings: One (num_tokens, dim) array each, unit rows, as `Encoder.encode_document`
                returns them, or a list of passages, as `Encoder.encode_passages` does. A
                document without tokens is kept but never found by MaxSim.
            texts: Their texts, to be returned with hits.
            titles: Their titles.
            metadata: A JSON object each.
            sources: Where they were read from.

        Raises:
            InvalidInputError: The lists differ in length, an item is of the wrong kind, or a token
                vector is not of length 1.
            DuplicateIdError: An id is given twice or is in the index already.
            IndexConflictError: The index was opened read-only, or changed by another writer.
        """
        columns = texts, titles, metadata, sources
        self._add(checked_additions(self.dim, document_ids, embeddings, *columns), replacing=False)

    def upsert(
        self,
        document_ids: Sequence[str],
        embeddings: Sequence[Embedded],
        *,
        texts: Sequence[str | None] | None = None,
        titles: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        sources: Sequence[str | None] | None = None,
    ) -> None:
        """Add documents, in one commit in place of those that have their ids; see `add`."""
        columns = texts, titles, metadata, sources
        self._add(checked_additions(self.dim, document_ids, embeddings, *columns), replacing=True)

    def _add(self, additions: Sequence[Addition], *, replacing: bool) -> None:
        ids = [document.document_id for document, _ in additions]
        with self._changing:
            self._check_writable()
            if len(set(ids)) < len(ids):
                ((twice, _),) = Counter(ids).most_common(1)
                raise DuplicateIdError(f"document ids must differ, got {twice!r} twice.")
            known = {*self._addresses(ids), *(item for item in ids if item in self._pending)}
            if known and not replacing:
                example = next(item for item in ids if item in known)
                raise DuplicateIdError(
                    f"document ids must be new, got {example!r}, which is in the index; use "
                    "upsert to replace it."
                )
            added = copied(additions)
            self._delete(ids)
            self._pending.add(added, [segment.rows for segment in self._snapshot.segments])

    def delete(self, document_ids: Iterable[str]) -> int:
        """Delete documents; an index in a folder shows it after `commit`, one in memory at once.

        Args:
            document_ids: Their ids. One that is not in the index is passed over.

        Returns:
            How many were deleted.

        Raises:
            InvalidInputError: document_ids is a bare string or holds something else than texts.
            IndexConflictError: The index was opened read-only.
        """
        ids = check_ids(document_ids, "document_ids")
        with self._changing:
            self._check_writable()
            return self._delete(ids)

    def _delete(self, ids: Sequence[str]) -> int:
        before = len(self)
        for document_id in ids:
            if document_id in self._pending:
                self._pending.remove(document_id)
        self._pending.deleted.update(self._addresses(ids))
        return before - len(self)

    def commit(self) -> None:
        """Make what was added and deleted part of the index; in a folder, durably, in one step.

        Every now and then it merges small segments, so that their number stays bounded.

        Raises:
            IndexConflictError: Another writer has changed the index. All stays pending.
            OSError: The disk is full or fails. The index stays as it was and all stays pending,
                but for a failure after the last step, which `generation` tells.
        """
        with self._changing:
            pending, segments = self._pending, list(self._snapshot.segments)
            if not pending:
                return
            if self._folder is not None:
                self._folder.check_current()
            generation = self.generation + 1
            try:
                if len(pending):
                    rows = pending.rows([segment.rows for segment in segments])
                    segments.append(self._write(rows.codec, [rows], pending.stored()))
                for number in {segment for segment, _ in pending.deleted.values()}:
                    places = [p for segment, p in pending.deleted.values() if segment == number]
                    segments[number] = segments[number].without(
                        np.array(places, np.int64),
                        None if self._folder is None else self._folder.path,
                        generation,
                    )
                segments = [segment for segment in segments if len(segment)]
                run = run_to_bound(segments)
                if run is not None:
                    segments[run] = [self._merged(segments[run])]
                self._install(segments, WriteBuffer(self.config))
            except BaseException:
                self._give_up(generation)
                raise

    def compact(self, segment_tokens: int = SEGMENT_TOKENS, *, only_small: int = 0) -> None:
        """Commit, then write the index anew without deleted documents and in fewer segments.

        Neighbouring segments become one as long as it has no more than `segment_tokens` token
        vectors; one that would come out as it is stays. Each step is a commit. It needs memory
        for a part of a segment and room on the disk for a second copy of it.

        Args:
            segment_tokens: See above. The fewer segments, the faster an approximate search.
            only_small: When not 0, merge nothing but the last segments, and only when at least
                that many are small (an eighth of `segment_tokens`): for those who commit often,
                8 bounds their number at little cost.

        Raises:
            InvalidInputError: segment_tokens is below 1.
            IndexConflictError, OSError: See `commit`.
        """
        check_whole_number("segment_tokens", segment_tokens)
        with self._changing:
            self.commit()
            self._check_writable()
            # From the end, so that the places of earlier runs stay right.
            for run in reversed(runs_to_merge(self._snapshot.segments, segment_tokens, only_small)):
                self._merge(run)

    def change_source(self, old: str, new: str) -> int:
        """Commit, then put another source in place of one, as when files have moved.

        Token vectors stay. The parts of the index that have such documents are written anew, one
        commit each: broken off, it goes on where it was when it is called again.

        Args:
            old: The source, as `Document.source` has it.
            new: What it becomes.

        Returns:
            How many documents have changed.

        Raises:
            IndexConflictError, OSError: See `commit`.
        """
        changed, sources = 0, {old: new}
        with self._changing:
            self.commit()
            self._check_writable()
            for number, segment in reversed(list(enumerate(self._snapshot.segments))):
                positions = segment.documents.from_source(old)
                here = int(segment.alive[positions].sum())
                if here:
                    run = slice(number, number + 1)
                    self._merge(run, lambda name: sources.get(name, name))
                    changed += here
        return changed

    def _merge(self, run: slice, moved: Callable[[str], str] = str) -> None:
        """Write some segments anew as one; see `merged_documents` for `moved`."""
        generation, segments = self.generation + 1, list(self._snapshot.segments)
        try:
            merged = self._merged(segments[run], moved)
            segments[run] = [merged] if len(merged) else []
            self._install(segments, self._pending)
        except BaseException:
            self._give_up(generation)
            raise

    def _merged(self, segments: Sequence[Segment], moved: Callable[[str], str] = str) -> Segment:
        codec = merged_codec(segments)
        return self._write(codec, merged_rows(segments, codec), merged_documents(segments, moved))

    def _write(
        self, codec: Codec, parts: Iterable[TokenVectors], documents: Iterable[StoredDocument]
    ) -> Segment:
        """Make a segment of the next commit, in the index folder or in memory."""
        if self._folder is None:
            rows = TokenVectors.concatenate(codec, list(parts))
            return Segment.in_memory(rows, documents, self.config, self.threads)
        place = self._folder.path, self.generation + 1
        return Segment.write(*place, codec, parts, documents, self.config, threads=self.threads)

    def _install(self, segments: Sequence[Segment], pending: WriteBuffer) -> None:
        snapshot, generation = Snapshot(tuple(segments)), self.generation + 1
        try:
            if self._folder is not None:
                self._folder.commit(segments)
        finally:
            # In one step, lest an interruption leaves documents both committed and pending.
            if self._folder is None or self.generation == generation:
                self._snapshot, self._pending = snapshot, pending

    def _give_up(self, generation: int) -> None:
        """Put things right after a commit that raised, which may still have come to its end."""
        if self._folder is None:
            return
        if self.generation == generation:
            self._snapshot = Snapshot(self._folder.segments(self._snapshot.segments, False))
            self._pending = WriteBuffer(self.config)
        else:
            self._folder.clean_up()

    def _check_writable(self) -> None:
        if self._folder is not None:
            self._folder.check_writable()

    def refresh(self) -> bool:
        """Show what writers have committed since; searches under way keep what they began with.

        Returns:
            Whether there was anything new.

        Raises:
            IndexFormatError: See `load`.
            IndexConflictError: The index was made anew with another model or width. What was
                shown before is still shown.
        """
        if self._folder is None or self._folder.writable:
            return False  # at once, whatever is being committed
        with self._changing:
            segments = self._folder.refreshed(self._snapshot.segments)
            if segments is not None:
                self._snapshot = Snapshot(segments)
            return segments is not None

    def get(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            InvalidInputError: There is no document of that id.
        """
        if found := self._pending.find(document_id):  # one look: another thread may commit
            return found
        return super().get(document_id)

    def save(self, folder: str | Path) -> None:
        """Write the whole index to a new folder, as one segment.

        Of an index that lives in a folder, sources that are relative to it become relative to the
        new one.

        Args:
            folder: A path at which nothing is, an empty folder, or the folder of an index, which
                is then replaced in one step.

        Raises:
            IndexExistsError: Something else is at `folder`.
            IndexConflictError: `folder` is the one this index lives in; use `commit`.
            IndexLockedError: The index at `folder` is open for writing.
        """
        path = Path(folder)
        if self._folder is not None and path.resolve() == self._folder.path.resolve():
            raise IndexConflictError(f"the index lives in {path}; use commit() to write to it.")
        with self._changing:
            if self._folder is None:
                self.commit()
            elif self._pending:
                raise IndexConflictError("commit what was added or deleted, then save a copy.")
            segments = self._snapshot.segments
        if is_index(path):
            target = IndexDirectory(path, writable=True)
        else:
            target = IndexDirectory.create(path, self.config)
        try:
            written = []
            if segments:
                codec = merged_codec(segments)
                written.append(
                    Segment.write(
                        path,
                        target.manifest.generation + 1,
                        codec,
                        merged_rows(segments, codec),
                        merged_documents(segments, mover(self.folder, path)),
                        self.config,
                        threads=self.threads,
                    )  # fmt: skip
                )
            target.commit(written, self.config)
            for segment in written:
                segment.documents.close()
        finally:
            target.clean_up()
            target.close()

    def info(self) -> IndexInfo:
        """Return what the index holds and what that takes."""
        return describe(self.config, self._snapshot.segments, self._pending)

    def close(self) -> None:
        """Release files, threads and the writer's lock; what was not committed is lost.

        No search may be under way. Afterwards whatever asks the index for documents, or changes
        it, raises InvalidInputError; closing it again does nothing.
        """
        super().close()
        self._pending = WriteBuffer(self.config)
        if self._folder is not None:
            self._folder.close()

    def _searched(self) -> Snapshot:
        if self._folder is None:
            self.commit()
        return self._snapshot

    def _addresses(self, document_ids: Sequence[str]) -> dict[str, Address]:
        """Return segment and position of those ids whose documents are committed and remain."""
        gone = self._pending.deleted
        found = super()._addresses(document_ids)
        return {item: address for item, address in found.items() if item not in gone}

    def _address_of(self, document_id: str) -> tuple[Snapshot, Address]:
        if document_id in self._pending.deleted:
            raise InvalidInputError(f"no document {document_id!r} in the index.")
        return super()._address_of(document_id)
