"""What `index_files` would do, without encoding or writing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pocket_colbert.errors import IndexExistsError
from pocket_colbert.index.directory import is_index
from pocket_colbert.index.index import Index
from pocket_colbert.ingest.incremental import Pace, SyncRun, batches
from pocket_colbert.ingest.indexing import all_documents, is_unreadable
from pocket_colbert.ingest.left_out import LeftOut
from pocket_colbert.ingest.readers import Reading
from pocket_colbert.types import Document

if TYPE_CHECKING:
    from pocket_colbert.index.snapshot import Snapshot


@dataclass(frozen=True)
class IndexPreview:
    """What a call of `index_files` would do.

    Attributes:
        folder: The folder of the index.
        added: Ids of new documents.
        changed: Ids of documents whose text, title or metadata changed.
        unchanged: Number of documents that would be left as they are.
        deleted: Ids of documents that the paths no longer have.
        left_out: The files and folders that would be left out, and why.
        notes: What would be assumed about files, such as their encoding, a line each.
    """

    folder: Path
    added: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: int
    deleted: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


def preview_files(
    paths: Sequence[str | Path],
    into: str | Path,
    *,
    reading: Reading | None = None,
    documents: Iterable[Document] = (),
    id_prefix: str = "",
    keep_missing: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> IndexPreview:
    """Read files and folders, and say what indexing them would change.

    Args:
        paths: See `index_files`.
        into: See `index_files`.
        reading: How to read.
        documents: See `index_files`.
        id_prefix: See `index_files`.
        keep_missing: See `index_files`.
        overwrite: See `index_files`.
        progress: See `index_files`.

    Raises:
        CorpusError: See `index_files`.
        IndexFolderError: The index cannot be used.
    """
    files, folder, reading = [Path(path) for path in paths], Path(into), reading or Reading()
    if folder.is_file() or (folder.is_dir() and not is_index(folder) and any(folder.iterdir())):
        raise IndexExistsError(f"{folder} already exists and is not an index.")
    with Index.load(folder) if is_index(folder) and not overwrite else Index(1) as index:
        record = _Record(index, folder)
        every, sources = all_documents(files, folder, reading, documents, id_prefix=id_prefix)
        work: Any = record  # has of an index and a retriever what a run needs
        with SyncRun(work, work, Pace(), progress or _ignore) as run:
            for batch in batches(every, Pace()):
                run.take(batch)
            run.store()
        if not keep_missing:
            run.delete_missing(
                sources, lambda document: is_unreadable(document, files, reading.unreadable)
            )
    return IndexPreview(
        folder, tuple(record.added), tuple(record.changed), run.unchanged, tuple(record.deleted),
        tuple(reading.left_out), tuple(reading.notes),
    )  # fmt: skip


def _ignore(done: int) -> None:
    pass


class _Prepared(NamedTuple):
    documents: Sequence[Document]
    num_tokens: int = 0


class _Record:
    """Takes an index's and a retriever's place, and writes down what they would be told."""

    def __init__(self, index: Index, folder: Path) -> None:
        self._index = index
        self.folder = folder
        self.snapshot: Snapshot = index.snapshot
        self.added: list[str] = []
        self.changed: list[str] = []
        self.deleted: list[str] = []
        self._new: dict[str, str | None] = {}

    def prepare(
        self, documents: Sequence[Document], *, progress: Callable[..., None] | None = None
    ) -> _Prepared:
        return _Prepared(documents)

    def add_prepared(self, prepared: _Prepared, *, replacing: bool = False) -> None:
        for document in prepared.documents:
            known = document.document_id in self._index
            (self.changed if known else self.added).append(document.document_id)
            self._new[document.document_id] = document.source

    def commit(self) -> None:
        """Nothing is written."""

    def delete(self, document_ids: Iterable[str]) -> int:
        chosen = list(document_ids)
        self.deleted += chosen
        return len(chosen)

    def get(self, document_id: str) -> Document:
        if document_id in self._new:
            return Document(document_id, source=self._new[document_id])
        return self._index.get(document_id)

    def __contains__(self, document_id: str) -> bool:
        return document_id in self._new or document_id in self._index
