"""How files are written: hashed while written, on disk before anything refers to them.

Everything an index changes in its folder goes through these functions and classes, so that the
tests can put a failure or a power cut before each of them. They reach files of an index through
`Contained`, which does not leave its folder; those that take a `Path` are for files that the user
names.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.storage.contained import Contained

_CHUNK = 1 << 20
_ATTEMPTS = 20
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EROFS)
"""What network file systems say that synchronise folders by themselves."""


@dataclass(frozen=True)
class FileEntry:
    """Size and sha256 of a file."""

    bytes: int
    sha256: str


class FileWriter:
    """Writes a new file and hashes it on the way; use it in a `with` block."""

    def __init__(self, path: Contained) -> None:
        """Create the file, which must not exist."""
        self._path = path
        self._stream = path.create()
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, data: bytes | NDArray[Any]) -> None:
        """Append bytes or the bytes of an array."""
        view = memoryview(data) if isinstance(data, bytes) else np.ravel(data).data
        with _naming(self._path):
            self._stream.write(view)
        self._digest.update(view)
        self._size += view.nbytes

    def finish(self) -> FileEntry:
        """Wait until the file is on disk and return its entry."""
        with _naming(self._path):
            self._stream.flush()
            synchronise(self._stream.fileno(), self._path.path)
            self._stream.close()
        return FileEntry(self._size, self._digest.hexdigest())

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with _naming(self._path):
            self._stream.close()


@contextlib.contextmanager
def _naming(path: Contained) -> Iterator[None]:
    """Give errors of writing to an open file, as on a full disk, the file's name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_file(path: Contained, content: bytes | NDArray[Any]) -> FileEntry:
    """Write a new file; it is on disk when this returns."""
    with FileWriter(path) as writer:
        writer.write(content)
        return writer.finish()


def copy_file(source: Contained, target: Contained) -> FileEntry:
    """Write a new file with the content of another; it is on disk when this returns."""
    with source.open() as stream, FileWriter(target) as writer:
        while chunk := stream.read(_CHUNK):
            writer.write(chunk)
        return writer.finish()


def replace_file(path: Contained, content: bytes, through: Contained) -> None:
    """Put a file in place of what is at a path, in one step, durably.

    Args:
        path: The file.
        content: What it is to hold.
        through: Where it is written first. What is there, as of a process that was killed, is
            deleted.
    """
    discard(through)
    try:
        write_file(through, content)
        move(through, path)
    except BaseException:
        discard(through)
        raise


def sync_file(path: Contained) -> FileEntry:
    """Put a file that something else wrote on disk and return its entry."""
    with os.fdopen(path.descriptor(os.O_RDWR), "r+b") as stream:
        synchronise(stream.fileno(), path.path)
        return hash_stream(stream)


def synchronise(descriptor: int, path: Path) -> None:
    """Wait until what was written to an open file is on disk (`path` names it to the tests)."""
    os.fsync(descriptor)


def sync_folder(folder: Contained) -> None:
    """Make new and renamed entries of a folder durable, where the system can (not on Windows)."""
    with folder.opened() as handle:
        if handle is not None:
            _synchronise_folder(handle)


def _sync_path(folder: Path) -> None:
    """Do what `sync_folder` does for a folder that the user names."""
    sync_folder(Contained(folder))


def _synchronise_folder(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise


def make_root(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there; it is on disk when this returns."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        _sync_path(path.parent)


def make_folder(folder: Contained) -> None:
    """Make a folder, and those above it; it is on disk when this returns."""
    if not folder.parts:
        make_root(folder.root)
        return
    make_folder(folder.parent)
    if folder.name not in folder.parent.names():
        folder.make_folder()
        sync_folder(folder.parent)


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Write a file that the user names as a whole, in place of what is there, or not at all.

    Yields:
        The path to write to, a new name beside it. When the block ends without an error, what is
        there is put on disk and then renamed.
    """
    work = _beside(path)
    try:
        yield work
        with work.open("r+b") as stream:
            synchronise(stream.fileno(), work)
        _move_path(work, path)
    except BaseException:
        _remove_path(work)
        raise


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Write a folder as a whole, where nothing or an empty folder is, or not at all.

    Args:
        path: The folder.

    Yields:
        The path of a folder to make and fill. When the block ends without an error it is renamed;
        its files are to be on disk and closed by then.
    """
    work = _beside(path)
    try:
        yield work
        if path.exists():
            path.rmdir()
        _move_path(work, path)
    except BaseException:
        _remove_path(work)
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".new-{os.urandom(4).hex()}-{path.name}")


def move(source: Contained, target: Contained) -> None:
    """Rename a file or folder in one step, durably; a file replaces what has the new name."""
    _insist(lambda: source.replace(target))
    sync_folder(target.parent)


def _move_path(source: Path, target: Path) -> None:
    _insist(lambda: os.replace(source, target))
    _sync_path(target.parent)


def _insist(rename: Callable[[], None]) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            rename()
            return
        except PermissionError:
            # On Windows a reader that has just opened the file is in the way for a moment.
            if os.name != "nt" or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.02)


def discard(path: Contained) -> None:
    """Delete a file that nothing refers to any more, if that is possible.

    Windows does not delete what a reader has mapped; a later commit tries again.
    """
    with contextlib.suppress(OSError, IndexFormatError):
        path.unlink()


def discard_folder(folder: Contained, names: Iterable[str]) -> None:
    """Delete some files of a folder, then the folder if it is empty, as far as that is possible.

    Args:
        folder: The folder.
        names: The files. Others, which somebody put there, stay, and the folder with them.
    """
    with contextlib.suppress(OSError, IndexFormatError):
        there = set(folder.names())
        for name in names:
            if name in there:
                discard(folder / name)
        folder.remove_folder()


def _remove_path(path: Path) -> None:
    """Delete a file or a folder that this process has made beside one that the user names."""
    if path.is_dir() and not path.is_symlink():
        import shutil  # here, as it brings archives of all kinds

        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def hash_file(path: Path) -> FileEntry:
    """Return size and sha256 of a file that the user names."""
    with path.open("rb") as stream:
        return hash_stream(stream)


def hash_stream(stream: BinaryIO) -> FileEntry:
    """Return size and sha256 of what can be read from a stream."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return FileEntry(size, digest.hexdigest())
