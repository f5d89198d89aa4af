"""Read JSON lines and Parquet files in parts that are the same every time."""

from __future__ import annotations

import datetime
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pocket_colbert.checks import check_whole_number
from pocket_colbert.distributed.arrow import pa, pq
from pocket_colbert.distributed.object_storage import FileInfo, Location
from pocket_colbert.errors import CorpusError
from pocket_colbert.ingest.json_lines import json_lines
from pocket_colbert.ingest.rows import Fields, document_from_row
from pocket_colbert.types import Document

_SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet")
_ROWS = 256
_BUFFER = 1 << 23


@dataclass(frozen=True)
class NamedFile:
    """A file of documents.

    Attributes:
        name: Its path relative to the given folder, with slashes, or its own name.
        file: The file.
    """

    name: str
    file: FileInfo


@dataclass(frozen=True)
class PartSize:
    """The size limit of a part of a file; documents are never split.

    Attributes:
        documents: Maximum number of documents.
        characters: Maximum number of characters of text, unless a single document has more.
    """

    documents: int
    characters: int

    def __post_init__(self) -> None:
        for name in ("documents", "characters"):
            check_whole_number(f"{name} of a part", getattr(self, name))


def find_files(paths: Sequence[str]) -> list[NamedFile]:
    """List the document files at paths and addresses, including those below folders.

    Raises:
        CorpusError: A path does not exist, a folder has no document files, a file is of another
            kind, or a file is listed twice.
        BackendError: See `Location`.
    """
    named: dict[str, NamedFile] = {}
    for path in paths:
        location = Location(path)
        kind = location.kind()
        if kind is None:
            raise CorpusError(f"there is no file or folder {location}.")
        files = [location.info()] if kind == "file" else [*filter(_is_read, location.all_files())]
        if not files or not _is_read(files[0]):
            raise CorpusError(
                f"{location} must be {', '.join(_SUFFIXES)} or a folder of such files."
            )
        for file in files:
            if file.uri in named:
                raise CorpusError(f"{Location(file.uri)} is given twice.")
            below = str(Location(file.uri)).removeprefix(str(location)).strip("/")
            named[file.uri] = NamedFile(below or location.name, file)
    return list(named.values())


def read_file(source: NamedFile, fields: Fields) -> Iterator[Document]:
    """Read the documents of a file, each with the file as its `source`.

    Keys of a JSON line and columns of a table that `fields` does not name become metadata. Empty
    cells, and NaN, which pandas writes for them, are left out; dates and times become ISO 8601
    texts.

    Raises:
        CorpusError: The file cannot be read or has changed, or a line or row does not fit
            `fields`; the message names file and line.
    """
    location = Location(source.file.uri)
    if location.info() != source.file:
        raise CorpusError(
            f"{location} has changed since encoding began; encode into another folder."
        )
    is_table = location.name.lower().endswith(".parquet")
    rows = _table_rows(location) if is_table else _lines(location)
    for number, what, row in rows:
        where = f"{location}, {what} {number}"
        document = document_from_row(row, fields, where, f"{source.name}:{number}")
        metadata = document.metadata
        if is_table:
            metadata = {key: value for key, value in metadata.items() if value is not None}
        yield replace(document, metadata=metadata, source=str(location))


def in_parts(documents: Iterable[Document], size: PartSize) -> Iterator[list[Document]]:
    """Split a file's documents into parts; see `PartSize`."""
    part: list[Document] = []
    characters = 0
    for document in documents:
        length = len(document.text or "") + len(document.title or "")
        if part and (len(part) == size.documents or characters + length > size.characters):
            yield part
            part, characters = [], 0
        part.append(document)
        characters += length
    if part:
        yield part


@dataclass(frozen=True)
class Survey:
    """What a file contains.

    Attributes:
        parts: Number of documents in each part.
        digests: 16 bytes per document, the digest of its id.
    """

    parts: tuple[int, ...]
    digests: bytes


def survey_file(source: NamedFile, fields: Fields, size: PartSize) -> Survey:
    """Read a whole file before anything is encoded; see `read_file`."""
    parts, digests = [], bytearray()
    for part in in_parts(read_file(source, fields), size):
        parts.append(len(part))
        for document in part:
            digests += digest_of_id(document.document_id)
    return Survey(tuple(parts), bytes(digests))


def digest_of_id(document_id: str) -> bytes:
    """Return a 16-byte digest of an id, long enough that no two ids of a corpus collide."""
    return hashlib.blake2b(document_id.encode(), digest_size=16).digest()


def _is_read(file: FileInfo) -> bool:
    return Location(file.uri).name.lower().endswith(_SUFFIXES)


def _lines(location: Location) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    with location.open() as stream, io.BufferedReader(stream, _BUFFER) as lines:
        for number, row in json_lines(lines, str(location)):
            yield number, "line", row


def _table_rows(location: Location) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    number = 0
    with location.open() as stream:
        try:
            file = pq.ParquetFile(stream)
            names = file.schema_arrow.names
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise CorpusError(
                    f"{location} has two columns named {twice[0]!r}; rename or drop one."
                )
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, "row", _json_value(row, f"{location}, row {number}")
        except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
            raise CorpusError(f"{location} cannot be read after row {number}: {error}.") from error


def _json_value(value: Any, where: str) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _json_value(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_value(item, where) for item in value]
    if isinstance(value, datetime.date | datetime.time):  # a datetime is a date
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise CorpusError(
        f"{where}: values must be texts, numbers, booleans, dates, lists or structs, got "
        f"{type(value).__name__}; convert or drop that column."
    )
