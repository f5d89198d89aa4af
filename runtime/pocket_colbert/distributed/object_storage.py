"""Files and folders on this machine or in object storage, through `pyarrow`'s file systems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pocket_colbert.distributed.arrow import fs, pa
from pocket_colbert.errors import BackendError, IndexFormatError
from pocket_colbert.ingest.folder_walk import files_below
from pocket_colbert.storage import files
from pocket_colbert.storage.contained import Contained


@dataclass(frozen=True)
class FileInfo:
    """A file's address and state.

    Attributes:
        uri: Its address or absolute path.
        bytes: Its size.
        changed: Time of the last change in nanoseconds since 1970, to the second in object
            storage; None if unknown.
    """

    uri: str
    bytes: int
    changed: int | None


class Location:
    """A file or folder: a local path, or an address with s3://, gs://, abfs://, hdfs:// or file://.

    Credentials come from the usual environment and files of the object storage. Workers on other
    machines open their own from `uri`.

    What is below a local folder, as `/` gives it, is never reached through links: whoever may write
    to the folder must not choose what is read, written and deleted elsewhere. Links on the way to
    the folder itself, which the user names, are followed.
    """

    def __init__(self, uri: str | Path, *, inside: Contained | None = None) -> None:
        """Select the file system.

        Args:
            uri: The path or address.
            inside: What it is below a local folder.

        Raises:
            BackendError: No file system handles the address, or it cannot be reached.
        """
        scheme, separator, rest = str(uri).partition("://")
        self._remote = bool(separator)
        if self._remote:
            self.uri: str = f"{scheme}://{rest.rstrip('/')}"
            with self._errors():
                self._system, self._path = fs.FileSystem.from_uri(self.uri)
            if isinstance(self._system, fs.LocalFileSystem):
                uri, self._remote = self._path, False
        if not self._remote:
            self.uri = os.path.abspath(uri)
            self._inside = inside or Contained(Path(self.uri))
            self._system = fs.LocalFileSystem()
            self._path = self._system.normalize_path(self.uri)

    def __str__(self) -> str:
        return self.uri.partition("?")[0] if self._remote else self.uri

    def __truediv__(self, name: str) -> Location:
        if not self._remote:
            return Location(Path(self.uri) / name, inside=self._inside / name)
        address, question, options = self.uri.partition("?")
        return Location(f"{address}/{quote(name)}{question}{options}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self._path).rpartition("/")[2]

    def kind(self) -> str | None:
        """Return "file" or "folder", or None if nothing is there.

        Raises:
            BackendError: A link or a device is there, or it cannot be reached.
        """
        if self._is_below:
            return self._kind_below()
        with self._errors():
            kind = self._system.get_file_info(self._path).type
        return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(kind)

    @property
    def _is_below(self) -> bool:
        """Whether this is below a local folder that the user named."""
        return not self._remote and bool(self._inside.parts)

    def _kind_below(self) -> str | None:
        with self._errors():
            if self._inside.name not in self._inside.parent.names():
                return None
            try:
                with self._inside.opened():
                    return "folder"
            except IndexFormatError:  # no folder
                with self._inside.open():
                    return "file"

    def info(self) -> FileInfo:
        """Return the state of this file.

        Raises:
            BackendError: The file does not exist or cannot be reached.
        """
        with self._errors():
            info = self._system.get_file_info(self._path)
        if info.type is not fs.FileType.File:
            raise BackendError(f"there is no file {self}.")
        return self._file_info(info)

    def all_files(self) -> Iterator[FileInfo]:
        """Iterate over the files in and below this folder, sorted by name.

        Files and folders whose names begin with a dot or an underscore are skipped.

        Raises:
            CorpusError: See `folder_walk.files_below`.
            BackendError: The folder cannot be reached.
        """
        below = self._listed() if self._remote else self._walked()
        for name in sorted(below):
            if not any(part.startswith((".", "_")) for part in name.split("/")):
                yield below[name]

    def _listed(self) -> dict[str, FileInfo]:
        with self._errors():
            infos = self._system.get_file_info(fs.FileSelector(self._path, recursive=True))
        root = self._path.rstrip("/") + "/"
        below = {str(i.path).removeprefix(root): i for i in infos if i.type is fs.FileType.File}
        return {name: (self / name)._file_info(info) for name, info in below.items()}

    def _walked(self) -> dict[str, FileInfo]:
        root = Path(self.uri)
        paths = files_below(root)  # follows links by the same rules as `pocket-colbert index`
        return {path.relative_to(root).as_posix(): Location(path).info() for path in paths}

    def _file_info(self, info: Any) -> FileInfo:
        changed = info.mtime_ns
        if changed is not None and self._remote:
            # Object storage may give finer times in a listing than for a single file.
            changed -= changed % 1_000_000_000
        return FileInfo(self.uri, int(info.size), changed)

    def sizes(self) -> dict[str, int]:
        """Return the size in bytes of each file directly in this folder; empty if it is missing."""
        if not self._remote:
            return self._sizes_below()
        with self._errors():
            infos = self._system.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return {str(i.base_name): int(i.size) for i in infos if i.type is fs.FileType.File}

    def _sizes_below(self) -> dict[str, int]:
        sizes = {}
        with self._errors():
            for name in self._inside.names():
                with suppress(IndexFormatError, FileNotFoundError):  # a link, or gone since
                    with (self._inside / name).open() as file:
                        sizes[name] = os.fstat(file.fileno()).st_size
        return sizes

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open this file for reading at any position, as a `pyarrow` file."""
        with self._errors():
            if self._is_below:
                stream = pa.PythonFile(self._inside.open(), mode="r")
            else:
                stream = self._system.open_input_file(self._path)
        with stream:
            yield stream

    def read(self) -> bytes:
        """Return the contents of this file."""
        if self._is_below:
            with self._errors(), self._inside.open() as file:
                return file.read()
        with self._errors(), self._system.open_input_stream(self._path, compression=None) as file:
            return bytes(file.read())

    def write(self, content: bytes) -> None:
        """Write or replace this file atomically and durably."""
        with self._errors():
            if self._is_below:
                files.make_folder(self._inside.parent)
                new = self._inside.parent / f".new-{os.urandom(4).hex()}-{self._inside.name}"
                files.replace_file(self._inside, content, new)
                return
            if isinstance(self._system, fs.LocalFileSystem):
                path = Path(self._path)
                files.make_root(path.parent)
                with files.atomic_file(path) as work:
                    work.write_bytes(content)
                return
            with self._system.open_output_stream(self._path, compression=None) as file:
                file.write(content)  # object storage publishes the file when it is closed

    def delete(self) -> None:
        """Delete this file, or this folder and everything in it, if it exists."""
        if self._is_below:
            with self._errors():
                _delete(self._inside)
            return
        kind = self.kind()
        with self._errors():
            if kind == "file":
                self._system.delete_file(self._path)
            elif kind == "folder":
                self._system.delete_dir(self._path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn file system exceptions into a BackendError that names this location."""
        try:
            yield
        except (OSError, pa.ArrowException, IndexFormatError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise BackendError(f"{self} cannot be used: {reason}.") from error


def _delete(path: Contained) -> None:
    """Delete a file, a link or a folder with everything in it; nothing behind a link."""
    if path.name not in path.parent.names():
        return
    try:
        names = path.names()
    except IndexFormatError:  # no folder
        path.unlink()
        return
    for name in names:
        _delete(path / name)
    path.remove_folder()
