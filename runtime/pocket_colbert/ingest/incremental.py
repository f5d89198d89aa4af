"""Bring an index up to date with documents: only new and changed ones are encoded."""

from __future__ import annotations

import posixpath
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pocket_colbert.checks import check_whole_number, is_number, require
from pocket_colbert.errors import CorpusError, InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.index.prepared_documents import PreparedDocuments
from pocket_colbert.metadata import same_json
from pocket_colbert.retriever import Retriever
from pocket_colbert.source_paths import source_path
from pocket_colbert.types import Document

_COMMIT_CHARACTERS = 16_000_000


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How much work an interruption may cost, and how soon documents can be found.

    Attributes:
        documents: Number of documents encoded at a time.
        characters: Characters of text encoded at a time, unless one document has more. What they
            are encoded to is in memory, about 20 bytes a character.
        seconds: Time between two commits: what an interruption may cost.
        tokens: Token vectors between two commits.
        first_tokens: Token vectors before the first commit; the number doubles with each commit
            until it reaches `tokens`. A smaller number makes the first documents searchable
            sooner, but they are then merged more often.
    """

    documents: int = 256
    characters: int = 120_000
    seconds: float = 10.0
    tokens: int = 400_000
    first_tokens: int = 400_000

    def __post_init__(self) -> None:
        for name in ("documents", "characters", "tokens", "first_tokens"):
            check_whole_number(name, getattr(self, name))
        require(
            is_number(self.seconds) and self.seconds > 0,
            f"seconds must be a number > 0, got {self.seconds!r}.",
        )


@dataclass(frozen=True)
class SyncReport:
    """What a run of `sync` did.

    Attributes:
        added: Number of new documents.
        changed: Number of documents whose text, title or metadata changed.
        unchanged: Number of documents left as they were.
        deleted: Number of documents that their source no longer has.
    """

    added: int
    changed: int
    unchanged: int
    deleted: int


def sync(
    retriever: Retriever,
    documents: Iterable[Document],
    sources: Sequence[str],
    *,
    keep_missing: bool = False,
    keep: Callable[[Document], bool] | None = None,
    progress: Callable[[int], None] | None = None,
    pace: Pace | None = None,
) -> SyncReport:
    """Make an index hold exactly the given documents of some sources.

    It commits as it goes: what was committed before an error or an interruption stays, and the
    next call continues from there. Memory does not grow with the number of documents. While some
    documents are stored, the next ones are encoded in another thread, which also calls `progress`.

    Other threads may add and delete documents meanwhile. A document without a source gives way to
    one with a source and the same id, in this call or the next.

    Args:
        retriever: Encoder and writable index.
        documents: The documents, each with its `source`; read once, a few at a time.
        sources: All sources that were read. Their documents that are in the index but not in
            `documents` are deleted at the end. Documents of other sources stay.
        keep_missing: Delete nothing.
        keep: Says of a document that did not come up whether it stays all the same, since its
            file could not be read.
        progress: Called with the number of documents processed.
        pace: How often to commit.

    Returns:
        The number of documents added, changed, unchanged and deleted.

    Raises:
        CorpusError: Two documents have the same id.
        InvalidInputError: The retriever has no index that can be written to.
        OSError: See `Index.commit`.
    """
    index = retriever.index
    if not isinstance(index, Index):
        raise InvalidInputError(f"sync needs an Index to write to, got {index!r}.")
    pace = pace or Pace()
    with SyncRun(retriever, index, pace, progress or _ignore) as run:
        for batch in batches(documents, pace):
            run.take(batch)
        run.store()
    deleted = 0 if keep_missing else run.delete_missing(sources, keep or _none)
    index.commit(last=True)
    return SyncReport(run.added, run.changed, run.unchanged, deleted)


def _ignore(done: int) -> None:
    pass


def _none(document: Document) -> bool:
    return False


def batches(documents: Iterable[Document], pace: Pace) -> Iterator[list[Document]]:
    """Join documents to batches of limited size, each of at least one."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        length = len(document.text or "")
        if batch and (len(batch) == pace.documents or characters + length > pace.characters):
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += length
    if batch:
        yield batch


class SyncRun:
    """One pass over the documents of some sources.

    Documents that were in the index at the start are ticked off as they come up, one byte each. A
    document that comes up twice is either ticked off already or was added by this run.
    """

    def __init__(
        self, retriever: Retriever, index: Index, pace: Pace, progress: Callable[[int], None]
    ) -> None:
        self.added = self.changed = self.unchanged = 0
        self._retriever = retriever
        self._index = index
        self._before = before = index.snapshot
        self._pace = pace
        self._commit_tokens = min(pace.first_tokens, pace.tokens)
        self._seen = [np.zeros(segment.num_documents, dtype=bool) for segment in before.segments]
        self._tokens = self._characters = 0
        self._committed = time.monotonic()
        self._progress = progress
        self._pool = ThreadPoolExecutor(1)
        self._stopped = threading.Event()
        self._encoding: tuple[list[Document], Future[PreparedDocuments]] | None = None

    def __enter__(self) -> SyncRun:
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, batch: Sequence[Document]) -> None:
        """Start to encode what is new or changed; meanwhile store the batch before."""
        addresses = self._before.addresses([document.document_id for document in batch])
        new: list[Document] = []
        for document in batch:
            address = addresses.get(document.document_id)
            if self._is_anothers(document, address, new):
                document, address = self._renamed(document, new)
            if address is None:
                self._check_new(document, new)
                self.added += 1
                new.append(document)
                continue
            known = self._before.document(address)
            segment, position = address
            if self._seen[segment][position]:
                raise _duplicate_id(document, known)
            if known.source not in (document.source, None):
                raise _other_source(document, known, self._index.folder)
            self._seen[segment][position] = True
            if _same(known, document):
                self.unchanged += 1
            else:
                self.changed += 1
                new.append(document)
        done = self.added + self.changed + self.unchanged - len(new)
        encoding = new, self._pool.submit(self._encode, new, done)
        self.store()
        self._encoding = encoding

    def _encode(self, new: Sequence[Document], done: int) -> PreparedDocuments:
        def report(count: int, _: int = 0) -> None:
            if self._stopped.is_set():
                raise CancelledError
            self._progress(done + count)

        prepared = self._retriever.prepare(new, progress=report)
        report(len(new))
        return prepared

    def store(self) -> None:
        """Wait for the batch that is being encoded, if there is one, and store it."""
        if self._encoding is None:
            return
        new, encoding = self._encoding
        prepared = encoding.result()
        self._index.add_prepared(prepared, replacing=True)
        self._tokens += prepared.num_tokens
        self._encoding = None
        self._characters += sum(len(document.text or "") for document in new)
        late = bool(new) and time.monotonic() - self._committed >= self._pace.seconds
        if late or self._tokens >= self._commit_tokens or self._characters >= _COMMIT_CHARACTERS:
            self._index.commit()
            self._committed = time.monotonic()
            self._commit_tokens = min(2 * self._commit_tokens, self._pace.tokens)
            self._tokens = self._characters = 0

    def _is_anothers(
        self, document: Document, address: tuple[int, int] | None, new: Sequence[Document]
    ) -> bool:
        """Return whether a file of another folder has a document's id, which is its path."""
        if not _is_path_id(document):
            return False
        if address is not None:
            source = self._before.document(address).source
        else:
            waiting = self._encoding[0] if self._encoding else []
            same = [x for x in (*waiting, *new) if x.document_id == document.document_id]
            if not same and document.document_id in self._index:
                same = [self._index.get(document.document_id)]
            if not same:
                return False
            source = same[0].source
        if source is None or source == document.source:
            return False
        path = source_path(source, self._index.folder or Path())
        return self._index.folder is None or path is None or path.exists()

    def _renamed(
        self, document: Document, new: Sequence[Document]
    ) -> tuple[Document, tuple[int, int] | None]:
        """Put as much of a source before a document's id as tells it from the others."""
        folders = [part for part in (document.source or "").split("/") if part not in ("..", "")]
        path = str(document.metadata["path"])
        prefix, _, rest = document.document_id.partition(path)
        for count in range(1, len(folders) + 1):
            name = posixpath.join(*folders[-count:])
            renamed = replace(document, document_id=f"{prefix}{name}/{path}{rest}")
            address = self._before.addresses([renamed.document_id]).get(renamed.document_id)
            if not self._is_anothers(renamed, address, new):
                return renamed, address
        return document, self._before.addresses([document.document_id]).get(document.document_id)

    def _check_new(self, document: Document, new: Sequence[Document]) -> None:
        waiting = self._encoding[0] if self._encoding else []
        same = [item for item in (*waiting, *new) if item.document_id == document.document_id]
        if not same and document.document_id in self._index:
            same = [self._index.get(document.document_id)]
        # One without a source was added by another thread, not by this run.
        if same and (same[0].source is not None or document.source is None):
            raise _duplicate_id(document, same[0])

    def delete_missing(self, sources: Sequence[str], keep: Callable[[Document], bool]) -> int:
        """Delete the documents of these sources that did not come up; return their number."""
        deleted = 0
        for number, segment in enumerate(self._before.segments):
            for source in sources:
                positions = segment.documents.from_source(source)
                missing = segment.alive[positions] & ~self._seen[number][positions]
                gone = segment.documents.get(positions[missing].tolist())
                lost = [document for document in gone.values() if not keep(document)]
                deleted += self._index.delete(self._still_from(source, lost))
        return deleted

    def _still_from(self, source: str, documents: Iterable[Document]) -> list[str]:
        """Leave out ids under which another thread has meanwhile put a document of its own."""
        now = self._index.snapshot
        addresses = now.addresses([document.document_id for document in documents])
        return [
            document_id
            for document_id, address in addresses.items()
            if now.document(address).source == source
        ]


def _is_path_id(document: Document) -> bool:
    path = document.metadata.get("path")
    return isinstance(path, str) and bool(path) and path in document.document_id


def _same(known: Document, document: Document) -> bool:
    """Compare documents; when a file was written does not matter if it says the same."""
    before, now = dict(known.metadata), dict(document.metadata)
    if "modified" in before and "modified" in now:
        before["modified"] = now["modified"]
    return replace(known, metadata=now) == document and same_json(before, now)


def _duplicate_id(document: Document, other: Document) -> CorpusError:
    sources = sorted({str(document.source), str(other.source)})
    return CorpusError(
        f"document ids must differ, got {document.document_id!r} twice, in "
        f"{' and '.join(sources)}; give the ids of one of them a prefix (--id-prefix)."
    )


def _other_source(document: Document, known: Document, folder: Path | None) -> CorpusError:
    path = source_path(known.source or "", folder or Path())
    if folder is None or path is None or path.exists():
        return _duplicate_id(document, known)
    return CorpusError(
        f"document {document.document_id!r} of {document.source} is in the index as one of "
        f"{known.source}, which no longer exists (paths are relative to {folder}). If the "
        f"documents or the index were moved, pass --moved-from {known.source}; if these are other "
        "documents, give their ids a prefix (--id-prefix)."
    )
