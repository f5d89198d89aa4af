"""A collection of documents that can be searched by MaxSim."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pocket_colbert.checks import check_ids
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import DocumentNotFoundError, InvalidInputError
from pocket_colbert.index.directory import IndexDirectory
from pocket_colbert.index.encoded_documents import Embedded, from_columns
from pocket_colbert.index.merge_policy import SEGMENT_TOKENS, MergePolicy
from pocket_colbert.index.prepared_documents import PassageCoder, PreparedDocuments
from pocket_colbert.index.reader import IndexReader
from pocket_colbert.index.snapshot import Address, Snapshot
from pocket_colbert.index.stats import IndexInfo, describe
from pocket_colbert.index.usage import in_use
from pocket_colbert.index.writer import IndexWriter, State
from pocket_colbert.storage.contained import Contained
from pocket_colbert.types import Document, EncodedDocument


class Index(IndexReader):
    """Holds documents as coded token vectors; finds the best by MaxSim.

    `Index(dim=...)` lives in memory until `save`. `Index.create` and
    `Index.load(..., writable=True)` live in a folder: `commit` writes what was added and deleted,
    in one step, and so does the end of a `with` block that no error ends. One writer at a time,
    any number of readers, which see the index as it was when they opened it until `refresh`. Any
    number of threads may search.

    Examples:
        >>> from pocket_colbert import Encoder, Index
        >>> encoder, texts = Encoder.load("tiny"), ["Bees swarm in May.", "Dough needs time."]
        >>> index = Index(dim=encoder.dim)
        >>> index.add(["d1", "d2"], encoder.encode_document(texts), texts=texts)
        >>> index.search(encoder.encode_query(["When do bees swarm?"]), k=1)[0][0].document_id
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
        self._writer = IndexWriter(config, self.threads)

    @classmethod
    def create(
        cls, folder: str | Path | Contained, config: IndexConfig, *, threads: int | None = None
    ) -> Index:
        """Make an empty index in a new folder and open it for writing.

        Args:
            folder: A path at which nothing is, or an empty folder; or what `replacement` lends.
            config: The settings.
            threads: See `Index`.

        Raises:
            IndexExistsError: There is something at `folder`.
        """
        index = cls(config.dim, config=config, threads=threads)
        directory = IndexDirectory.create(folder, config)
        index._writer = IndexWriter(config, index.threads, directory)
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
        directory = IndexDirectory(folder, writable=writable)
        try:
            config = directory.manifest.config
            index = cls(config.dim, config=config, threads=threads)
            snapshot = Snapshot(directory.segments((), verify))
        except BaseException:
            directory.close()
            raise
        index._writer = IndexWriter(config, index.threads, directory, snapshot)
        return index

    @in_use
    def __len__(self) -> int:
        """Return the number of documents, those not committed yet included."""
        return len(self._state)

    @in_use
    def __contains__(self, document_id: object) -> bool:
        return document_id in self._state

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents in the order in which they were added."""
        state = self._state
        gone, added = set(state.pending.deleted), list(state.pending)
        for document in state.snapshot:
            if document.document_id not in gone:
                yield document
        yield from added

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exception: object) -> None:
        """Commit what was added and deleted, unless an error ends the block, and close."""
        error = exception[1] if len(exception) > 1 else None
        try:
            if not self.closed and self.folder is not None and self.uncommitted:
                if not isinstance(error, BaseException):
                    self.commit()
                else:
                    _add_note(
                        error,
                        f"{self._writer.pending_changes}, which this error kept from "
                        f"being committed to {self.folder}; commit() before it keeps them.",
                    )
        finally:
            self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle or copy an index in a folder by its path: it is opened again, for reading.

        Raises:
            InvalidInputError: The index is in memory, or has changes that are not committed.
        """
        if self.folder is None:
            raise InvalidInputError(
                "an index in memory cannot be pickled or copied; save it to a folder and load it."
            )
        if not self.closed and self.uncommitted:
            raise InvalidInputError(
                "an index with changes that are not committed cannot be pickled or copied; "
                "commit them first."
            )
        return _opened, (str(self.folder.absolute()), self.threads)

    def __repr__(self) -> str:
        where = "in memory" if self.folder is None else str(self.folder)
        size = "closed" if self.closed else f"{len(self)} documents"
        return f"<Index {where}: {size}, {self.config.dim} dimensions>"

    @property
    def folder(self) -> Path | None:
        """Where the index lives; None in memory."""
        directory = self._writer.directory
        return None if directory is None else directory.path

    @property
    def generation(self) -> int:
        """Number of the commit that this index shows; 0 in memory."""
        return self._writer.generation

    @property
    def uncommitted(self) -> bool:
        """Whether something was added or deleted that is not committed yet."""
        return bool(self._writer.state.pending)

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
        self.add_documents(from_columns(document_ids, embeddings, *columns))

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
        """Add documents and delete those that have their ids, in one commit; see `add`."""
        columns = texts, titles, metadata, sources
        self.upsert_documents(from_columns(document_ids, embeddings, *columns))

    @in_use
    def add_documents(self, documents: Iterable[EncodedDocument]) -> None:
        """Add documents that are put together already, as `Retriever.encode` returns them.

        Args:
            documents: The documents, whose ids no document may have yet.

        Raises:
            InvalidInputError: See `add`.
            DuplicateIdError: See `add`.
            IndexConflictError: See `add`.
        """
        self._writer.add(documents, replacing=False)

    @in_use
    def upsert_documents(self, documents: Iterable[EncodedDocument]) -> None:
        """Add documents and delete those that have their ids; see `add_documents`."""
        self._writer.add(documents, replacing=True)

    @in_use
    def coder(self) -> PassageCoder:
        """Return what makes this index's codes of token vectors while documents are encoded."""
        return self._writer.coder()

    @in_use
    def add_prepared(self, prepared: PreparedDocuments, *, replacing: bool = False) -> None:
        """Add documents whose token vectors are codes already, as `Retriever.prepare` returns them.

        Args:
            prepared: The documents.
            replacing: Delete those that have their ids, in place of an error.

        Raises:
            InvalidInputError: See `add`.
            DuplicateIdError: See `add`.
            IndexConflictError: See `add`.
        """
        self._writer.add_prepared(prepared, replacing=replacing)

    @in_use
    def learn_model(self, fingerprint: str) -> None:
        """Say which model encodes the documents of an index that does not know it.

        From then on the index refuses every other. `Retriever` does this before it adds
        documents; who adds arrays may do it, or give the fingerprint in `IndexConfig`. In a folder
        it is kept by the next `commit` of a change.

        Args:
            fingerprint: `Encoder.card.fingerprint`.

        Raises:
            InvalidInputError: The index was made with another model.
            IndexConflictError: The index does not know its model and was opened read-only.
        """
        self._writer.learn_model(fingerprint)
        self.config: IndexConfig = self._writer.config

    @in_use
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
        return self._writer.delete(check_ids(document_ids, "document_ids"))

    @in_use
    def commit(self, *, last: bool = False) -> None:
        """Make what was added and deleted part of the index; in a folder, durably, in one step.

        Now and then it merges small segments, so that their number stays bounded.

        Args:
            last: Whether no other commit is to follow soon: small segments then become one now,
                for the sake of searches, even where nothing was changed.

        Raises:
            IndexConflictError: Another writer has changed the index. All stays pending.
            OSError: The disk is full or fails. The index stays as it was and all stays pending,
                but for a failure after the last step, which `generation` tells.
        """
        self._writer.commit(last=last)

    @in_use
    def compact(self, segment_tokens: int = SEGMENT_TOKENS) -> None:
        """Commit, then write the index again without deleted documents and in fewer segments.

        Neighbouring segments become one as long as it has no more than `segment_tokens` token
        vectors; one that would come out as it is stays. Each step is a commit. It needs memory
        for a part of a segment and room on the disk for a second copy of it.

        Args:
            segment_tokens: See above. The fewer segments, the faster an approximate search.

        Raises:
            InvalidInputError: segment_tokens is below 1.
            IndexConflictError, OSError: See `commit`.
        """
        self._writer.compact(MergePolicy(segment_tokens=segment_tokens))

    @in_use
    def change_source(self, old: str, new: str) -> int:
        """Commit, then give the documents of a source another one, as when files have moved.

        Token vectors stay. The segments that have such documents are written again, one commit
        each: when it is interrupted, the next call continues.

        Args:
            old: The source, as `Document.source` has it.
            new: The source from now on.

        Returns:
            How many documents have changed.

        Raises:
            IndexConflictError, OSError: See `commit`.
        """
        return self._writer.change_source(old, new)

    @in_use
    def refresh(self) -> bool:
        """Show what writers have committed since; searches under way keep what they began with.

        Returns:
            Whether there was anything new.

        Raises:
            IndexFormatError: See `load`.
            IndexConflictError: The index was made again with another model or width. What was
                shown before is still shown.
        """
        changed = self._writer.refresh()
        self.config = self._writer.config  # the model may be known by now
        return changed

    @in_use
    def get(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            DocumentNotFoundError: There is no document of that id.
        """
        if added := self._state.pending.find(document_id):  # before another thread commits
            return added
        return super().get(document_id)

    @in_use
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
        self._writer.save(Path(folder))

    @in_use
    def info(self) -> IndexInfo:
        """Return what the index holds and what that takes."""
        state = self._state
        return describe(self.config, state.snapshot.segments, state.pending)

    def close(self) -> None:
        """Release files, threads and the writer's lock; what was not committed is lost.

        Calls under way in other threads come to their end first, and later ones raise ClosedError;
        see `IndexReader.close`. Leaving a `with` block commits before it closes.
        """
        super().close()

    def _release(self) -> None:
        super()._release()
        self._writer.close()

    @property
    def _shown(self) -> Snapshot:
        return self._writer.state.snapshot

    @property
    def _state(self) -> State:
        self._check_open()
        return self._writer.state

    def _searched(self) -> Snapshot:
        if self.folder is None:
            self.commit()
        return self._snapshot

    def _address_of(self, document_id: str) -> tuple[Snapshot, Address]:
        if document_id in self._state.pending.deleted:
            raise DocumentNotFoundError(f"no document {document_id!r} in the index.")
        return super()._address_of(document_id)


def _add_note(error: BaseException, note: str) -> None:
    """Have a traceback say more."""
    if sys.version_info >= (3, 11):
        error.add_note(note)
    else:
        warnings.warn(note, stacklevel=3)


def _opened(folder: str, threads: int) -> Index:
    """Open an index that was pickled."""
    return Index.load(folder, threads=threads)
