"""Paths that cannot lead out of a folder, whoever made what is in it.

An index folder may come from anybody, and may change while it is in use. So nothing below it is
reached by a path: every folder on the way is opened through a handle of the one above it, and no
symbolic link is followed. A link that takes the place of a folder between two steps, or between a
check and a use, is an error and never a way out. Only the folder itself, which the user names, may
be reached through links.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pocket_colbert.errors import IndexFormatError, InvalidInputError

HAS_HANDLES = {os.open, os.stat, os.mkdir, os.unlink, os.rmdir} <= os.supports_dir_fd and hasattr(
    os, "O_NOFOLLOW"
)
"""Whether the system opens files relative to an open folder (not Windows). Without it links are
looked for before each use, which does not help against links that are made at that moment."""

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FILE = (
    _NO_LINK
    | getattr(os, "O_NONBLOCK", 0)  # opening a FIFO must not wait for a writer
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_LINKS = (errno.ELOOP, getattr(errno, "EMLINK", errno.ELOOP))


class Contained:
    """A folder, or a file or folder somewhere below it.

    It is no `os.PathLike`, so that nothing opens it by its path by accident.

    Attributes:
        root: The folder that is never left. Links on the way to it are followed.
        parts: The names below it.
    """

    __slots__ = ("parts", "root")

    def __init__(self, root: Path, parts: tuple[str, ...] = ()) -> None:
        self.root: Path = root
        self.parts: tuple[str, ...] = parts

    @classmethod
    def of(cls, folder: str | Path | Contained) -> Contained:
        """Return a folder that a user names, or one that is contained already."""
        return folder if isinstance(folder, Contained) else cls(Path(folder))

    def __truediv__(self, name: str) -> Contained:
        if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
            raise InvalidInputError(f"{name!r} must be the name of a file, not a path.")
        return Contained(self.root, (*self.parts, name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Contained):
            return NotImplemented
        return (self.root, self.parts) == (other.root, other.parts)

    def __hash__(self) -> int:
        return hash((self.root, self.parts))

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"Contained({str(self)!r})"

    @property
    def path(self) -> Path:
        """The path, for messages."""
        return self.root.joinpath(*self.parts)

    @property
    def name(self) -> str:
        """The last name."""
        return self.path.name

    @property
    def parent(self) -> Contained:
        """The folder that it is in."""
        if not self.parts:
            raise InvalidInputError(f"{self} must be below the folder that is not left.")
        return Contained(self.root, self.parts[:-1])

    def open(self) -> BinaryIO:
        """Open the file for reading.

        Raises:
            IndexFormatError: It is a link, a folder, a device or a FIFO, or below a link.
            OSError: It is not there or cannot be read.
        """
        return os.fdopen(self.descriptor(os.O_RDONLY), "rb")

    def create(self) -> BinaryIO:
        """Make the file, which must not be there, and open it for writing."""
        return os.fdopen(self.descriptor(os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb")

    def descriptor(self, flags: int) -> int:
        """Open the file, which must be a regular one, and return its descriptor."""
        with self.parent._entry(self.name) as (name, at):
            try:
                descriptor = os.open(name, flags | _FILE, 0o666, **at)
            except OSError as error:
                # A socket gives ENXIO, and a folder that is to be written to EISDIR.
                if error.errno in (*_LINKS, errno.ENXIO, errno.EISDIR):
                    raise self._no_file() from error
                error.filename = str(self)
                raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._no_file()
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def read_bytes(self, limit: int) -> bytes:
        """Return the content of the file.

        Args:
            limit: Most bytes that it may have.

        Raises:
            IndexFormatError: It is larger; see `open`.
        """
        with self.open() as stream:
            # `read` allocates all that it is asked for, and the limit is far above what is usual.
            size = os.fstat(stream.fileno()).st_size
            content = stream.read(min(size, limit) + 1)
        if len(content) > limit:
            raise IndexFormatError(f"{self} is larger than {limit} bytes.")
        return content

    def names(self) -> list[str]:
        """Return the names in the folder, none when it is not there.

        Raises:
            IndexFormatError: It is a link or a file, or below one.
        """
        try:
            with self.opened() as handle:
                return os.listdir(self.path if handle is None else handle)
        except FileNotFoundError:
            return []

    def make_folder(self) -> None:
        """Make the folder unless it is there; those above it must be."""
        with contextlib.suppress(FileExistsError), self.parent._entry(self.name) as (name, at):
            os.mkdir(name, 0o777, **at)
        with self.opened():  # raises where something else has that name
            pass

    def unlink(self) -> None:
        """Delete the file, or the link."""
        with self.parent._entry(self.name) as (name, at):
            os.unlink(name, **at)

    def remove_folder(self) -> None:
        """Delete the folder, which must be empty."""
        if not self.parts:
            os.rmdir(self.root)
            return
        with self.parent._entry(self.name) as (name, at):
            os.rmdir(name, **at)

    def replace(self, target: Contained) -> None:
        """Rename the file or folder, in one step; a file replaces one of the new name."""
        with self.parent._entry(self.name) as (source, at):
            with target.parent._entry(target.name) as (name, to):
                if not at:
                    os.replace(source, name)
                else:
                    os.replace(source, name, src_dir_fd=at["dir_fd"], dst_dir_fd=to["dir_fd"])

    def is_same(self, descriptor: int) -> bool:
        """Say whether the file is the one that is open."""
        with self.parent._entry(self.name) as (name, at):
            return os.path.samestat(
                os.stat(name, follow_symlinks=False, **at), os.fstat(descriptor)
            )

    @contextlib.contextmanager
    def opened(self) -> Iterator[int | None]:
        """Hold the folder open; its handle is None where the system has none.

        Raises:
            IndexFormatError: It is a link or a file, or below one.
            OSError: It is not there or cannot be read.
        """
        if not HAS_HANDLES:
            self._check_links()
            yield None
            return
        handle = os.open(self.root, _FOLDER)
        try:
            for number, name in enumerate(self.parts):
                try:
                    inner = os.open(name, _FOLDER | _NO_LINK, dir_fd=handle)
                except OSError as error:
                    here = Contained(self.root, self.parts[: number + 1])
                    if error.errno in (*_LINKS, errno.ENOTDIR):
                        raise here._no_folder() from error
                    error.filename = str(here)
                    raise
                handle, outer = inner, handle
                os.close(outer)
            yield handle
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _entry(self, name: str) -> Iterator[tuple[str | Path, dict[str, Any]]]:
        """Lend what the functions of `os` need to reach a name in the folder."""
        with self.opened() as handle:
            if handle is not None:
                yield name, {"dir_fd": handle}
                return
            path = self.path / name
            if _is_link(path):
                raise (self / name)._no_file()
            yield path, {}

    def _check_links(self) -> None:
        path = self.root
        for number, name in enumerate(self.parts):
            path = path / name
            if _is_link(path) or (os.path.lexists(path) and not path.is_dir()):
                raise Contained(self.root, self.parts[: number + 1])._no_folder()

    def _no_file(self) -> IndexFormatError:
        return IndexFormatError(
            f"{self} must be a regular file, not a link, a folder or a device; it was not used."
        )

    def _no_folder(self) -> IndexFormatError:
        return IndexFormatError(
            f"{self} must be a folder, not a link or a file; nothing in it was used."
        )


def _is_link(path: Path) -> bool:
    """Say whether a path is a symbolic link or, on Windows, a junction."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    # Junctions are reparse points that `is_symlink` does not report.
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_reparse_tag", 0))
