"""How an index writes files: hashed while written, on disk before anything refers to them.

Everything an index changes in its folder goes through these functions and classes, so that the
tests can put a failure or a power cut before each of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def __init__(self, path: Path) -> None:
        """Create the file, which must not exist."""
        self._path = path
        self._stream = path.open("xb")
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
            synchronise(self._stream.fileno(), self._path)
            self._stream.close()
        return FileEntry(self._size, self._digest.hexdigest())

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        with _naming(self._path):
            self._stream.close()


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give errors of writing to an open file, as on a full disk, the file's name."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write_file(path: Path, content: bytes | NDArray[Any]) -> FileEntry:
    """Write a new file; it is on disk when this returns."""
    with FileWriter(path) as writer:
        writer.write(content)
        return writer.finish()


def copy_file(source: Path, target: Path) -> FileEntry:
    """Write a new file with the content of another; it is on disk when this returns."""
    with source.open("rb") as stream, FileWriter(target) as writer:
        while chunk := stream.read(_CHUNK):
            writer.write(chunk)
        return writer.finish()


def sync_file(path: Path) -> FileEntry:
    """Put a file that something else wrote on disk and return its entry."""
    with path.open("r+b") as stream:
        synchronise(stream.fileno(), path)
    return hash_file(path)


def synchronise(descriptor: int, path: Path) -> None:
    """Wait until what was written to an open file is on disk (`path` names it to the tests)."""
    os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Make new and renamed entries of a folder durable, where the system can (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there; it is on disk when this returns."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync_folder(path.parent)


@contextlib.contextmanager
def atomic_file(path: Path, *, through: Path | None = None) -> Iterator[Path]:
    """Write a file as a whole, in place of what is at its path, or not at all.

    Args:
        path: The file.
        through: Where it is written first, on the same disk; by default a new name beside it.

    Yields:
        The path to write to, at which nothing is. When the block ends without an error, what is
        there is put on disk and then renamed.
    """
    work = through or _beside(path)
    remove(work)  # of a process that was killed
    try:
        yield work
        with work.open("r+b") as stream:
            synchronise(stream.fileno(), work)
        move(work, path)
    except BaseException:
        remove(work)
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
        move(work, path)
    except BaseException:
        remove(work)
        raise


def _beside(path: Path) -> Path:
    return path.with_name(f".new-{os.urandom(4).hex()}-{path.name}")


def move(source: Path, target: Path) -> None:
    """Rename a file or folder in one step, durably; a file replaces what has the new name."""
    for attempt in range(_ATTEMPTS):
        try:
            os.replace(source, target)
            break
        except PermissionError:
            # On Windows a reader that has just opened the file is in the way for a moment.
            if os.name != "nt" or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.02)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file or a folder that nothing refers to any more, if that is possible.

    Windows does not delete what a reader has mapped; a later commit tries again.
    """
    if path.is_dir():
        import shutil  # here, as it brings archives of all kinds, and only writers remove

        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def hash_file(path: Path) -> FileEntry:
    """Return size and sha256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size, digest.hexdigest())
