"""Indexes of folders that nobody has indexed, made when they are searched and kept fresh."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

from pocket_colbert.errors import (
    CorpusError,
    IndexConflictError,
    IndexFormatError,
    IndexLockedError,
    IndexNotFoundError,
)
from pocket_colbert.index.index import Index
from pocket_colbert.ingest.cache_folder import (
    INDEX_FOLDER,
    CachedState,
    FileState,
    drop_index,
    drop_lock,
    entry_of,
    forget_empty,
    make_entry,
    note_use,
    read_state,
    write_state,
)
from pocket_colbert.ingest.incremental import SyncReport
from pocket_colbert.ingest.indexing import IndexOptions, sync_files
from pocket_colbert.ingest.left_out import LeftOut
from pocket_colbert.ingest.readers import Reading, files_of
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.lock import WriterLock

_READERS = ("pypdfium2", "docx", "openpyxl", "pptx", "striprtf", "defusedxml")
_JUST_NOW = 2_000_000_000
"""Nanoseconds within which a file may change again without a new time of change."""
_WAIT = 0.1


@dataclass(frozen=True, kw_only=True)
class CachedIndex:
    """An index in the cache that is up to date, open for reading.

    Attributes:
        index: The index; close it.
        made: Whether it was made now.
        changes: What changed in it now; None if nothing had to be read.
        left_out: What was left out now.
    """

    index: Index
    made: bool = False
    changes: SyncReport | None = None
    left_out: tuple[LeftOut, ...] = ()


def open_cached(
    path: Path,
    encoder: Encoder,
    *,
    starting: Callable[[bool], None] | None = None,
    waiting: Callable[[], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> CachedIndex:
    """Open the index of a file or folder in the cache, made or brought up to date before.

    Files are read again if their time of change or their size is another than when they were
    read. Several processes may do this at once: one works, the others wait for it.

    Args:
        path: The file or folder.
        encoder: The encoder.
        starting: Called before anything is read, with whether the index is new.
        waiting: Called once if another process is at work.
        progress: Called with the number of documents processed, from another thread.

    Raises:
        CorpusError: The path has no documents.
        IndexFolderError: The cache cannot be used.
        OSError: The disk is full or fails.
    """
    entry = entry_of(path, encoder.card.fingerprint)
    said = False
    while True:
        make_entry(entry)  # again and again, as others may clear the cache
        looked = time.time_ns()
        files = _files(path)
        found = _fresh(entry, path, encoder, files)
        if found is None:
            lock = _locked(entry)
            if lock is None:
                if waiting is not None and not said:
                    waiting()
                said = True
                time.sleep(_WAIT)
                continue
            settled = {
                name: state for name, state in files.items()
                if not 0 <= looked - state[0] < _JUST_NOW
            }  # fmt: skip
            try:
                found = _fresh(entry, path, encoder, files)  # others may have finished
                if found is None:
                    found = _updated(entry, path, encoder, files, settled, starting, progress)
            finally:
                lock.release()
                forget_empty(entry)
        note_use(entry)
        return found


def _locked(entry: Contained) -> WriterLock | None:
    """Lock an entry; return None if another process has it, or has just deleted it."""
    try:
        lock = WriterLock(entry)
    except IndexLockedError:
        return None
    except IndexConflictError:
        if os.path.lexists(entry.path):
            raise
        return None
    if lock.current:
        return lock
    lock.release()
    return None


def _files(path: Path) -> dict[str, FileState]:
    """Return the files of a path and how they are now."""
    found: dict[str, FileState] = {}
    for file, name in files_of(path, Reading()):
        try:
            state = os.stat(file)
        except OSError:
            continue
        size = state.st_size if os.access(file, os.R_OK) else -1
        found[name] = state.st_mtime_ns, size
    return found


def _made_with() -> str:
    """Name what decides how files are read: the version, and the libraries there are."""
    readers = [name for name in _READERS if importlib.util.find_spec(name) is not None]
    version = ""
    with suppress(metadata.PackageNotFoundError):  # a checkout that is not installed
        version = metadata.version("pocket-colbert")
    return " ".join([version, *readers])


def _fresh_state(
    entry: Contained, path: Path, encoder: Encoder, files: Mapping[str, FileState]
) -> CachedState | None:
    state = _state_of(entry, path, encoder)
    return state if state is not None and state.files == files else None


def _state_of(entry: Contained, path: Path, encoder: Encoder) -> CachedState | None:
    """Return what an entry says it is of, if that is what is asked for."""
    state = read_state(entry)
    asked = os.path.realpath(path), encoder.card.fingerprint
    if state is None or (state.path, state.model) != asked:
        return None
    made_with = _made_with()
    # Other readers may read other things in the same files.
    return state if state.made_with == made_with else replace(state, made_with=made_with, files={})


def _fresh(
    entry: Contained, path: Path, encoder: Encoder, files: Mapping[str, FileState]
) -> CachedIndex | None:
    """Open an index that is up to date; None if there is none that can be used."""
    if _fresh_state(entry, path, encoder, files) is None:
        return None
    try:
        return CachedIndex(index=_load(entry, encoder, writable=False))
    except (IndexFormatError, IndexNotFoundError):
        return None


def _load(entry: Contained, encoder: Encoder, *, writable: bool) -> Index:
    """Open the index of an entry, whose folder must not be a link."""
    folder = entry / INDEX_FOLDER
    try:
        with folder.opened():
            pass
    except FileNotFoundError as error:
        raise IndexNotFoundError(f"there is no index at {folder}.") from error
    index = Index.load(folder.path, writable=writable, threads=encoder.threads)
    if (index.config.model, index.config.dim) == (encoder.card.fingerprint, encoder.dim):
        return index
    index.close()
    raise IndexFormatError(f"{folder} was made with another model.")


def _updated(
    entry: Contained,
    path: Path,
    encoder: Encoder,
    files: Mapping[str, FileState],
    settled: Mapping[str, FileState],
    starting: Callable[[bool], None] | None,
    progress: Callable[[int], None] | None,
) -> CachedIndex:
    """Make an index or bring it up to date, and open it.

    Args:
        entry: Where it is; locked.
        path: See `open_cached`.
        encoder: See `open_cached`.
        files: The files of the path.
        settled: Those of them whose next change will have another time.
        starting: See `open_cached`.
        progress: See `open_cached`.
    """
    state = _state_of(entry, path, encoder)
    index: Index | None = None
    if state is not None:
        try:
            index = _load(entry, encoder, writable=True)
        except (IndexFormatError, IndexNotFoundError):
            state = None
    if starting is not None and files:
        starting(index is None)
    made = index is None
    if state is None or index is None:
        drop_index(entry)
        state = CachedState(
            path=os.path.realpath(path), model=encoder.card.fingerprint, made_with=_made_with()
        )
        write_state(entry, state)  # of no file yet, so that an interruption is continued
        config = IndexOptions().config(dim=encoder.dim, model=encoder.card.fingerprint)
        index = Index.create((entry / INDEX_FOLDER).path, config, threads=encoder.threads)
    reading = Reading(
        known={name: files.get(name) == before for name, before in state.files.items()}
    )
    try:
        changes = _synchronised(index, path, encoder, reading, progress)
    except CorpusError:
        if made:  # of no documents
            drop_index(entry)
            drop_lock(entry)
        raise
    write_state(entry, replace(state, files=settled))
    return CachedIndex(
        index=_load(entry, encoder, writable=False), made=made, changes=changes,
        left_out=tuple(reading.left_out),
    )  # fmt: skip


def _synchronised(
    index: Index,
    path: Path,
    encoder: Encoder,
    reading: Reading,
    progress: Callable[[int], None] | None,
) -> SyncReport:
    """Bring an index up to date and close it; what is encoded stays after an interruption."""
    assert index.folder is not None
    with index:
        try:
            return sync_files(
                Retriever(encoder, index), [path], index.folder, reading, progress=progress
            )
        except (KeyboardInterrupt, SystemExit):
            index.commit()
            raise
