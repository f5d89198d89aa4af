"""Documents from files and folders. `READERS` has one reader for each format."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from pocket_colbert.errors import CorpusError
from pocket_colbert.ingest.json_lines import read_json_lines
from pocket_colbert.ingest.rows import Fields, document_from_row
from pocket_colbert.source_paths import source_name
from pocket_colbert.text_splitting import with_title
from pocket_colbert.types import Document

Reader = Callable[[Path, str, Fields], Iterator[Document]]
"""Takes a file, the name its documents go by, and the names of the keys of rows."""


def read_documents(paths: Iterable[Path], fields: Fields | None = None) -> Iterator[Document]:
    """Read documents, one after the other.

    Args:
        paths: Files, or folders, which are searched for files of the formats in `READERS`, in the
            order of their names, hidden ones left out. Links are followed; each folder is read
            once, by its own name rather than that of a link.
        fields: Names of the keys of rows.

    Yields:
        The documents. The id of a text file is its path below the given folder, with slashes, or
        its name if the file itself was given. Its title is that of the HTML page, or else the words
        of its name. In JSON lines all keys that `fields` does not name become metadata.

    Raises:
        CorpusError: A path does not exist, a folder has no documents, a file cannot be read, is not
            UTF-8 or is of an unknown format, a link is broken, or a line is not what `fields` says.
            The message names the file and the line.
    """
    fields = fields or Fields()
    for path in paths:
        if path.is_dir():
            count = 0
            for file in files_below(path):
                reader = reader_of(file)
                if reader is not None:
                    for document in reader(file, file.relative_to(path).as_posix(), fields):
                        count += 1
                        yield document
            if not count:
                raise CorpusError(f"{path} has no documents; {_known_formats()} are read.")
        elif path.is_file():
            reader = reader_of(path)
            if reader is None:
                raise CorpusError(f"{path} is of an unknown format; {_known_formats()} are read.")
            yield from reader(path, path.name, fields)
        else:
            raise CorpusError(f"there is no file or folder {path}.")


def read_sources(
    paths: Iterable[Path],
    index_folder: Path,
    fields: Fields | None = None,
    *,
    id_prefix: str = "",
) -> Iterator[Document]:
    """Read documents for an index that is kept up to date with them; see `incremental.sync`.

    Args:
        paths: See `read_documents`.
        index_folder: The folder of the index.
        fields: See `read_documents`.
        id_prefix: Goes in front of every id.

    Yields:
        Documents; their source is the `source_name` of the path they were read from.

    Raises:
        CorpusError: See `read_documents`, or a path has no documents.
    """
    for path in paths:
        source, document = source_name(path, index_folder), None
        for document in read_documents([path], fields):
            document_id = id_prefix + document.document_id
            yield replace(document, document_id=document_id, source=source)
        if document is None:  # an error, or all documents of that path would be deleted
            raise CorpusError(f"there are no documents in {path}.")


def text_to_encode(document: Document) -> str:
    """Return what the encoder gets for a document: title, a space, text, as in BEIR."""
    return with_title(document.text or "", document.title)


def reader_of(path: Path) -> Reader | None:
    """Return the reader for a file by its name, None for an unknown format."""
    name = path.name.lower()
    return next((read for suffix, read in READERS.items() if name.endswith(suffix)), None)


def _read_text(path: Path, name: str, fields: Fields) -> Iterator[Document]:
    yield Document(name, _content(path).strip(), _title_from_name(path))


def _read_html(path: Path, name: str, fields: Fields) -> Iterator[Document]:
    from pocket_colbert.ingest.html_reader import read_html

    title, text = read_html(_content(path))
    yield Document(name, text.strip(), title or _title_from_name(path))


def _read_rows(path: Path, name: str, fields: Fields) -> Iterator[Document]:
    for number, row in read_json_lines(path):
        yield document_from_row(row, fields, f"{path}, line {number}", f"{name}:{number}")


READERS: Mapping[str, Reader] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".markdown": _read_text,
    ".rst": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".jsonl": _read_rows,
    ".jsonl.gz": _read_rows,
}
"""The reader of each format, by the end of the file's name in lower case."""


def _known_formats() -> str:
    *suffixes, last = READERS
    return f"files of {', '.join(suffixes)} and {last}"


def _content(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start}).") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror}.") from error


def _title_from_name(path: Path) -> str | None:
    # A passage says what it is about, but often not which document it is from; the name does.
    return " ".join(re.split(r"[\W_]+", path.stem)).strip() or None


def files_below(folder: Path) -> Iterator[Path]:
    """Iterate over the files in a folder and its subfolders, leaving out hidden ones.

    Links are followed; linked folders come last. Each folder is read once, so links may form
    circles.

    Raises:
        CorpusError: A folder cannot be read, or a link is broken.
    """
    visited: set[Path] = set()
    waiting = deque([folder])
    while waiting:
        yield from _walk(waiting.popleft(), visited, waiting)


def _walk(folder: Path, visited: set[Path], linked: deque[Path]) -> Iterator[Path]:
    """Iterate over the files below a folder; note folders visited, and those links lead to."""
    real_folder = folder.resolve()
    if real_folder in visited:
        return
    visited.add(real_folder)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise CorpusError(f"{folder} cannot be read: {error.strerror}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        path = Path(entry.path)
        if entry.is_symlink() and not os.path.exists(path):
            raise CorpusError(f"{path} is a broken link; repair or remove it.")
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, visited, linked)
        elif entry.is_dir():
            linked.append(path)
        elif entry.is_file():
            yield path
