"""Files and folders, here or in object storage. One of the importers of `pyarrow`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pocket_colbert.errors import BackendError, OptionalDependencyError
from pocket_colbert.ingest.readers import files_below
from pocket_colbert.storage import files

try:
    import pyarrow as pa
    from pyarrow.fs import FileSelector, FileSystem, FileType, LocalFileSystem
except ImportError as error:
    raise OptionalDependencyError.of("encoding on many machines", "ray") from error


@dataclass(frozen=True)
class FoundFile:
    """A file.

    Attributes:
        uri: Its address, or its absolute path.
        bytes: Its size.
        changed: When it was changed last, in nanoseconds since 1970, in object storage to the
            second; None where that is not known.
    """

    uri: str
    bytes: int
    changed: int | None


class Place:
    """A path or the address of a file or folder: s3://, gs://, abfs://, hdfs:// or file://.

    Credentials come from where the clients of object storage look for them. Workers on other
    machines make their own from `uri`.
    """

    def __init__(self, uri: str | Path) -> None:
        """Find the file system.

        Raises:
            BackendError: There is none for such addresses, or it cannot be reached.
        """
        scheme, separator, rest = str(uri).partition("://")
        self._remote = bool(separator)
        if self._remote:
            self.uri = f"{scheme}://{rest.rstrip('/')}"
            with self._errors():
                self._system, self._path = FileSystem.from_uri(self.uri)
        else:
            self.uri = os.path.abspath(uri)
            self._system = LocalFileSystem()
            self._path = self._system.normalize_path(self.uri)

    def __str__(self) -> str:
        return self.uri.partition("?")[0] if self._remote else self.uri

    def __truediv__(self, name: str) -> Place:
        if not self._remote:
            return Place(Path(self.uri) / name)
        place, question, options = self.uri.partition("?")
        return Place(f"{place}/{quote(name)}{question}{options}")

    @property
    def name(self) -> str:
        """The last part of the path."""
        return str(self._path).rpartition("/")[2]

    def kind(self) -> str | None:
        """Return "file" or "folder"; None where nothing is."""
        with self._errors():
            found = self._system.get_file_info(self._path).type
        return {FileType.File: "file", FileType.Directory: "folder"}.get(found)

    def find(self) -> FoundFile:
        """Return what is known of this file.

        Raises:
            BackendError: It is not there, or cannot be reached.
        """
        with self._errors():
            info = self._system.get_file_info(self._path)
        if info.type is not FileType.File:
            raise BackendError(f"there is no file {self}.")
        return self._found(info)

    def all_files(self) -> Iterator[FoundFile]:
        """Iterate over the files in this folder and below, in the order of their names.

        Names that begin with a dot or an underscore, and what is below folders of such names,
        are left out.

        Raises:
            CorpusError: See `corpus.files_below`.
            BackendError: The folder cannot be reached.
        """
        below = self._listed() if self._remote else self._walked()
        for name in sorted(below):
            if not any(part.startswith((".", "_")) for part in name.split("/")):
                yield below[name]

    def _listed(self) -> dict[str, FoundFile]:
        with self._errors():
            infos = self._system.get_file_info(FileSelector(self._path, recursive=True))
        root = self._path.rstrip("/") + "/"
        below = {str(i.path).removeprefix(root): i for i in infos if i.type is FileType.File}
        return {name: (self / name)._found(info) for name, info in below.items()}

    def _walked(self) -> dict[str, FoundFile]:
        root = Path(self.uri)
        paths = files_below(root)  # by the same rules as everywhere, for links too
        return {path.relative_to(root).as_posix(): Place(path).find() for path in paths}

    def _found(self, info: Any) -> FoundFile:
        changed = info.mtime_ns
        if changed is not None and self._remote:
            # Some object storage may tell finer times of files that it lists than of one.
            changed -= changed % 1_000_000_000
        return FoundFile(self.uri, int(info.size), changed)

    def sizes(self) -> dict[str, int]:
        """Return the sizes in bytes of the files right in this folder; none where it is not."""
        with self._errors():
            found = self._system.get_file_info(FileSelector(self._path, allow_not_found=True))
        return {str(i.base_name): int(i.size) for i in found if i.type is FileType.File}

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open this file for reading, from any position; it is a file of `pyarrow`."""
        with self._errors():
            stream = self._system.open_input_file(self._path)
        with stream:
            yield stream

    def read(self) -> bytes:
        """Return what is in this file."""
        with self._errors(), self._system.open_input_stream(self._path, compression=None) as file:
            return bytes(file.read())

    def write(self, content: bytes) -> None:
        """Write this file in one step and durably, in place of what has its name."""
        with self._errors():
            if isinstance(self._system, LocalFileSystem):
                path = Path(self._path)
                files.make_folder(path.parent)
                with files.atomic_file(path) as work:
                    work.write_bytes(content)
                return
            with self._system.open_output_stream(self._path, compression=None) as file:
                file.write(content)  # object storage shows it when it is closed, not before

    def delete(self) -> None:
        """Delete this file, or this folder with all that is in it, if it is there."""
        kind = self.kind()
        with self._errors():
            if kind == "file":
                self._system.delete_file(self._path)
            elif kind == "folder":
                self._system.delete_dir(self._path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what file systems raise into one error that names the place."""
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise BackendError(f"{self} cannot be used: {reason}.") from error
