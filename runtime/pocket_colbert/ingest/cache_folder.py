"""The folder in the user's cache that holds indexes of what was searched without one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pocket_colbert.errors import IndexConflictError, IndexFolderError, IndexLockedError
from pocket_colbert.index.directory import remove_index
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import discard, discard_folder, replace_file
from pocket_colbert.storage.lock import LOCK_FILE, WriterLock

VARIABLE = "POCKET_COLBERT_CACHE"
"""Environment variable that names another folder."""

INDEX_FOLDER = "index"
_STATE_FILE, _NEW_STATE_FILE = "source.json", "source.json.new"
_NAME = re.compile(r"[0-9a-f]{24}")
_STATE_BYTES = 256_000_000
_VERSION = 1

FileState = tuple[int, int]
"""When a file was last changed, in nanoseconds, and its size; -1 if it cannot be read."""


def cache_folder() -> Path:
    """Return the folder, which may not be there yet."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_cache_dir("pocket-colbert", appauthor=False))


@dataclass(frozen=True, kw_only=True)
class CachedState:
    """What an index in the cache is of.

    Attributes:
        path: The folder or file, without links.
        model: Fingerprint of the model.
        made_with: The version of this package and the readers there were.
        files: The files that were read, and how they were then.
    """

    path: str
    model: str
    made_with: str
    files: Mapping[str, FileState] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CacheEntry:
    """An index in the cache, as `cache_entries` lists it.

    Attributes:
        folder: Where it is.
        path: What it is of; None if that cannot be read.
        bytes: Its size.
        used: When it was last searched, in seconds since 1970.
    """

    folder: Path
    path: str | None
    bytes: int
    used: float


@dataclass(frozen=True, kw_only=True)
class ClearReport:
    """What `clear_cache` did.

    Attributes:
        cleared: The entries that were deleted.
        in_use: The entries that another process is writing to, which stay.
    """

    cleared: tuple[CacheEntry, ...]
    in_use: tuple[CacheEntry, ...]


def entry_of(path: Path, model: str) -> Contained:
    """Return where the index of a path is, by a model of that fingerprint; it may not be there."""
    key = hashlib.sha256(f"{os.path.realpath(path)}\0{model}".encode("utf-8", "surrogateescape"))
    return Contained(cache_folder()) / key.hexdigest()[:24]


def make_entry(entry: Contained) -> None:
    """Make the folder of an entry, which only this user can read.

    Raises:
        IndexConflictError: It cannot be made, or others could change what is in the cache.
        IndexFormatError: Something else is there.
    """
    root = entry.root
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(root)
        entry.make_folder()
    except OSError as error:
        raise IndexConflictError(
            f"the cache {root} cannot be used ({error.strerror}); name another folder in "
            f"{VARIABLE}, or make an index of your own: pocket-colbert index PATH --into DIR."
        ) from error


def _check_owner(root: Path) -> None:
    if not hasattr(os, "geteuid"):
        return
    state = root.stat()
    if state.st_uid != os.geteuid() or state.st_mode & stat.S_IWOTH:
        raise IndexConflictError(
            f"the cache {root} belongs to another user or can be written to by everybody; name "
            f"a folder of your own in {VARIABLE}."
        )


def read_state(entry: Contained) -> CachedState | None:
    """Return what an entry is of; None if that cannot be read, whatever is there."""
    try:
        values = json.loads((entry / _STATE_FILE).read_bytes(_STATE_BYTES))
        if values["version"] != _VERSION:
            return None
        texts = {name: values[name] for name in ("path", "model", "made_with")}
        files = {name: (changed, size) for name, (changed, size) in values["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    except IndexFolderError:  # a link, a folder, too large
        return None
    numbers = (number for pair in files.values() for number in pair)
    if not all(isinstance(text, str) for text in texts.values()):
        return None
    if not all(isinstance(number, int) for number in numbers):
        return None
    return CachedState(files=files, **texts)


def write_state(entry: Contained, state: CachedState) -> None:
    """Write down what an entry is of."""
    values = {
        "version": _VERSION, "path": state.path, "model": state.model,
        "made_with": state.made_with, "files": state.files,
    }  # fmt: skip
    content = json.dumps(values).encode("utf-8")
    replace_file(entry / _STATE_FILE, content, entry / _NEW_STATE_FILE)


def note_use(entry: Contained) -> None:
    """Write down that an entry was searched now, if that is possible."""
    with suppress(OSError, IndexFolderError, NotImplementedError, TypeError):
        descriptor = (entry / _STATE_FILE).descriptor(os.O_RDWR)
        try:
            os.utime(descriptor)
        finally:
            os.close(descriptor)


def cache_entries() -> list[CacheEntry]:
    """List the indexes in the cache, those searched last first."""
    found = [_entry(entry) for entry in _entries()]
    return sorted(found, key=lambda item: (-item.used, str(item.folder)))


def _entries() -> Iterator[Contained]:
    root = Contained(cache_folder())
    try:
        names = root.names()
    except NotADirectoryError as error:
        raise IndexConflictError(f"the cache {root} is not a folder; see {VARIABLE}.") from error
    for name in sorted(names):
        if _NAME.fullmatch(name):
            yield root / name


def _entry(entry: Contained) -> CacheEntry:
    state = read_state(entry)
    used = 0.0
    with suppress(OSError):
        used = os.lstat((entry / _STATE_FILE).path).st_mtime
    return CacheEntry(
        folder=entry.path,
        path=None if state is None else state.path,
        bytes=_bytes_of(entry),
        used=used,
    )


def _bytes_of(entry: Contained) -> int:
    """Add up the sizes of an entry's files, without following links."""
    total = 0
    for folder, _, names in os.walk(entry.path):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total


def clear_cache(paths: Iterable[Path] | None = None) -> ClearReport:
    """Delete indexes from the cache.

    Only what this package has put there is deleted, and links are not followed. Searches that are
    under way keep what they have open.

    Args:
        paths: The folders and files whose indexes to delete; None for all.

    Raises:
        IndexConflictError: The cache is not a folder.
    """
    wanted = None if paths is None else {os.path.realpath(path) for path in paths}
    cleared: list[CacheEntry] = []
    in_use: list[CacheEntry] = []
    for entry in _entries():
        item = _entry(entry)
        if wanted is None or item.path in wanted:
            (cleared if _clear(entry) else in_use).append(item)
    return ClearReport(cleared=tuple(cleared), in_use=tuple(in_use))


def _clear(entry: Contained) -> bool:
    """Delete an entry; return whether it is gone."""
    try:
        lock = WriterLock(entry)
    except IndexLockedError:
        return False
    except IndexFolderError:  # a link, or a folder that cannot be written to
        with suppress(OSError, IndexFolderError):
            entry.unlink()
        return not os.path.lexists(entry.path)
    try:
        drop_index(entry)
        drop_lock(entry)
    finally:
        lock.release()
    forget_empty(entry)
    return not os.path.lexists(entry.path)


def drop_lock(entry: Contained) -> None:
    """Delete the lock of an entry, which is held; who waits for it sees that it is gone."""
    discard(entry / LOCK_FILE)


def forget_empty(entry: Contained) -> None:
    """Delete the folder of an entry if nothing is in it."""
    discard_folder(entry, ())


def drop_index(entry: Contained) -> None:
    """Delete the index of an entry, and what is known about it."""
    discard(entry / _STATE_FILE)
    discard(entry / _NEW_STATE_FILE)
    discard(entry / INDEX_FOLDER)  # where it is a link
    remove_index(entry / INDEX_FOLDER)
