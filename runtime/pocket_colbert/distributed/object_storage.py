"""Files and folders on this machine or in object storage, through `pyarrow`'s file systems."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pocket_colbert.distributed.arrow import fs, pa
from pocket_colbert.errors import BackendError
from pocket_colbert.ingest.folder_walk import files_below
from pocket_colbert.storage import files


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
    """

    def __init__(self, uri: str | Path) -> None:
        """Select the file system.

        Raises:
            BackendError: No file system handles the address, or it cannot be reached.
        """
        scheme, separator, rest = str(uri).partition("://")
        self._remote = bool(separator)
        if self._remote:
            self.uri = f"{scheme}://{rest.rstrip('/')}"
            with self._errors():
                self._system, self._path = fs.FileSystem.from_uri(self.uri)
        else:
            self.uri = os.path.abspath(uri)
            self._system = fs.LocalFileSystem()
            self._path = self._system.normalize_path(self.uri)

    def __str__(self) -> str:
        return self.uri.partition("?")[0] if self._remote else self.uri

    def __truediv__(self, name: str) -> Location:
        if not self._remote:
            return Location(Path(self.uri) / name)
        address, question, options = self.uri.partition("?")
        return Location(f"{address}/{quote(name)}{question}{options}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self._path).rpartition("/")[2]

    def kind(self) -> str | None:
        """Return "file" or "folder", or None if nothing is there."""
        with self._errors():
            kind = self._system.get_file_info(self._path).type
        return {fs.FileType.File: "file", fs.FileType.Directory: "folder"}.get(kind)

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
        with self._errors():
            infos = self._system.get_file_info(fs.FileSelector(self._path, allow_not_found=True))
        return {str(i.base_name): int(i.size) for i in infos if i.type is fs.FileType.File}

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open this file for reading at any position, as a `pyarrow` file."""
        with self._errors():
            stream = self._system.open_input_file(self._path)
        with stream:
            yield stream

    def read(self) -> bytes:
        """Return the contents of this file."""
        with self._errors(), self._system.open_input_stream(self._path, compression=None) as file:
            return bytes(file.read())

    def write(self, content: bytes) -> None:
        """Write or replace this file atomically and durably."""
        with self._errors():
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
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise BackendError(f"{self} cannot be used: {reason}.") from error
