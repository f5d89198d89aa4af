"""What is read: JSON lines and Parquet files, in parts that are the same each time."""

from __future__ import annotations

import datetime
import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pocket_colbert.checks import check_whole_number
from pocket_colbert.distributed.object_storage import FoundFile, Place
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
        name: Its path below the folder that was given, with slashes, or its name.
        file: The file.
    """

    name: str
    file: FoundFile


@dataclass(frozen=True)
class PartSize:
    """When a part of a file is full; a document is never cut.

    Attributes:
        documents: Documents at most.
        characters: Characters of their texts at most, unless a single document has more.
    """

    documents: int
    characters: int

    def __post_init__(self) -> None:
        for name in ("documents", "characters"):
            check_whole_number(f"{name} of a part", getattr(self, name))


def find_files(paths: Sequence[str]) -> list[NamedFile]:
    """List the files of documents among paths and addresses, and below folders.

    Raises:
        CorpusError: Nothing is at a path, no file of documents is in a folder, a file is of
            another kind, or a file comes up twice.
        BackendError: See `Place`.
    """
    found: dict[str, NamedFile] = {}
    for path in paths:
        place = Place(path)
        kind = place.kind()
        if kind is None:
            raise CorpusError(f"there is no file or folder {place}.")
        files = [place.find()] if kind == "file" else [*filter(_is_read, place.all_files())]
        if not files or not _is_read(files[0]):
            raise CorpusError(f"{place} must be {', '.join(_SUFFIXES)} or a folder of such files.")
        for file in files:
            if file.uri in found:
                raise CorpusError(f"{Place(file.uri)} is given twice.")
            below = str(Place(file.uri)).removeprefix(str(place)).strip("/")
            found[file.uri] = NamedFile(below or place.name, file)
    return list(found.values())


def read_file(source: NamedFile, fields: Fields) -> Iterator[Document]:
    """Read the documents of a file, each with the file as `source`.

    All other keys of a JSON line and columns of a table become metadata; empty cells, and NaN,
    which pandas writes for them, do not, and dates and times become texts of ISO 8601.

    Raises:
        CorpusError: The file cannot be read or has changed, or a line or row is not as `fields`
            says; the message names file and line.
    """
    place = Place(source.file.uri)
    if place.find() != source.file:
        raise CorpusError(f"{place} has changed since encoding began; encode to another place.")
    is_table = place.name.lower().endswith(".parquet")
    rows = _table_rows(place) if is_table else _lines(place)
    for number, what, row in rows:
        document = document_from_row(
            row, fields, f"{place}, {what} {number}", f"{source.name}:{number}"
        )
        metadata = document.metadata
        if is_table:
            metadata = {key: value for key, value in metadata.items() if value is not None}
        yield replace(document, metadata=metadata, source=str(place))


def in_parts(documents: Iterable[Document], size: PartSize) -> Iterator[list[Document]]:
    """Cut a file's documents into parts; see `PartSize`."""
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
    """What a file holds.

    Attributes:
        parts: Number of documents of each part.
        digests: 16 bytes for each document, which are those of its id.
    """

    parts: tuple[int, ...]
    digests: bytes


def survey_file(source: NamedFile, fields: Fields, size: PartSize) -> Survey:
    """Read a file to its end, before anything is encoded; see `read_file`."""
    parts, digests = [], bytearray()
    for part in in_parts(read_file(source, fields), size):
        parts.append(len(part))
        for document in part:
            digests += digest_of_id(document.document_id)
    return Survey(tuple(parts), bytes(digests))


def digest_of_id(document_id: str) -> bytes:
    """Return 16 bytes that stand for an id: no two ids of any corpus have the same."""
    return hashlib.blake2b(document_id.encode(), digest_size=16).digest()


def _is_read(file: FoundFile) -> bool:
    return Place(file.uri).name.lower().endswith(_SUFFIXES)


def _lines(place: Place) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    with place.open() as stream, io.BufferedReader(stream, _BUFFER) as lines:
        for number, row in json_lines(lines, str(place)):
            yield number, "line", row


def _table_rows(place: Place) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    number = 0
    with place.open() as stream:
        try:
            file = pq.ParquetFile(stream)
            names = file.schema_arrow.names
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise CorpusError(f"{place} has two columns {twice[0]!r}; name or drop one.")
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, "row", _json_value(row, f"{place}, row {number}")
        except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
            raise CorpusError(f"{place} cannot be read after row {number}: {error}.") from error


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
        f"{type(value).__name__}; convert or leave out that column."
    )
