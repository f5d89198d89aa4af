"""Ids, titles, texts and metadata of one segment's documents. The only importer of `sqlite3`."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pocket_colbert.errors import IndexFormatError

_SCHEMA = """
CREATE TABLE documents (
    position INTEGER PRIMARY KEY,
    document_id TEXT NOT NULL UNIQUE,
    title TEXT,
    text TEXT,
    metadata TEXT
)
"""
_COLUMNS = "position, document_id, title, text, metadata"
_BATCH = 500


@dataclass(frozen=True)
class Document:
    """What an index keeps of a document beside its token vectors.

    Attributes:
        document_id: The id it was added under.
        text: Its text, None when it was added without.
        title: Its title, None when it has none.
        metadata: A JSON object.
    """

    document_id: str
    text: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


class DocumentSource(Protocol):
    """Where a segment's documents are: in a file or in memory."""

    def get(self, positions: Iterable[int]) -> dict[int, Document]:
        """Return documents by their positions."""
        ...

    def find(self, document_ids: Iterable[str]) -> dict[str, int]:
        """Return the positions of those ids that are here."""
        ...

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents in the order of their positions."""
        ...

    def id_bytes(self) -> int:
        """Return about how many bytes the ids take."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class DocumentList:
    """Documents in memory."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = list(documents)
        self._positions = {item.document_id: n for n, item in enumerate(self._documents)}

    def get(self, positions: Iterable[int]) -> dict[int, Document]:
        """Return documents by their positions."""
        return {int(position): self._documents[int(position)] for position in positions}

    def find(self, document_ids: Iterable[str]) -> dict[str, int]:
        """Return the positions of those ids that are here."""
        return {i: self._positions[i] for i in document_ids if i in self._positions}

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents)

    def id_bytes(self) -> int:
        """Return how many bytes the ids take as UTF-8."""
        return sum(len(document_id.encode("utf-8")) for document_id in self._positions)

    def close(self) -> None:
        """Do nothing: memory needs no closing."""


class DocumentStore:
    """A read-only SQLite file with one row a document; `write` makes one.

    The file never changes once it is written, so any number of threads and processes may read
    it, on read-only media too.
    """

    def __init__(self, path: Path, num_documents: int) -> None:
        """Open the file.

        Args:
            path: A file that `write` made.
            num_documents: How many rows it must have.

        Raises:
            IndexFormatError: It is no such file or has another number of rows.
        """
        self._path = path
        self._lock = threading.Lock()
        uri = path.resolve().as_uri() + "?mode=ro&immutable=1"
        try:
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            # Views and triggers of a hostile file must not call functions with side effects.
            self._connection.execute("PRAGMA trusted_schema = OFF")
        except sqlite3.Error as error:
            raise IndexFormatError(f"{path} cannot be opened: {error}.") from error
        rows = self._select("SELECT COUNT(*), MIN(position), MAX(position) FROM documents")
        expected = (num_documents, 0 if num_documents else None, num_documents - 1)
        if tuple(rows[0])[:2] != expected[:2] or (num_documents and rows[0][2] != expected[2]):
            self.close()
            raise IndexFormatError(
                f"{path} is damaged: its rows are {tuple(rows[0])}, not {expected}."
            )

    @staticmethod
    def write(path: Path, documents: Sequence[Document]) -> None:
        """Write documents, numbered from 0 in the order given.

        Args:
            path: A file that does not exist yet.
            documents: The documents; their ids differ.
        """
        connection = sqlite3.connect(path)
        try:
            # The file is made whole or thrown away, so a journal would only cost time.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute(_SCHEMA)
            connection.executemany(
                f"INSERT INTO documents ({_COLUMNS}) VALUES (?, ?, ?, ?, ?)",
                (
                    (
                        position,
                        document.document_id,
                        document.title,
                        document.text,
                        json.dumps(document.metadata, ensure_ascii=False)
                        if document.metadata
                        else None,
                    )
                    for position, document in enumerate(documents)
                ),
            )
            connection.commit()
        finally:
            connection.close()

    def get(self, positions: Iterable[int]) -> dict[int, Document]:
        """Return documents by their positions."""
        found: dict[int, Document] = {}
        for batch in _batches([int(position) for position in positions]):
            marks = ", ".join("?" * len(batch))
            rows = self._select(
                f"SELECT {_COLUMNS} FROM documents WHERE position IN ({marks})", batch
            )
            found.update((row[0], self._document(row)) for row in rows)
        return found

    def find(self, document_ids: Iterable[str]) -> dict[str, int]:
        """Return the positions of those ids that are here."""
        found: dict[str, int] = {}
        for batch in _batches(list(document_ids)):
            marks = ", ".join("?" * len(batch))
            rows = self._select(
                f"SELECT document_id, position FROM documents WHERE document_id IN ({marks})",
                batch,
            )
            found.update((row[0], row[1]) for row in rows)
        return found

    def __iter__(self) -> Iterator[Document]:
        position = 0
        while rows := self._select(
            f"SELECT {_COLUMNS} FROM documents WHERE position >= ? ORDER BY position LIMIT ?",
            (position, _BATCH),
        ):
            yield from (self._document(row) for row in rows)
            position = rows[-1][0] + 1

    def id_bytes(self) -> int:
        """Return how many bytes the ids take, in the table and once more in its index."""
        rows = self._select("SELECT TOTAL(LENGTH(CAST(document_id AS BLOB))) FROM documents")
        return 2 * int(rows[0][0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, tuple(values)).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise IndexFormatError(f"{self._path} is damaged: {error}.") from error

    def _document(self, row: tuple[Any, ...]) -> Document:
        _, document_id, title, text, metadata = row
        try:
            values = json.loads(metadata) if metadata else {}
        except ValueError as error:
            raise IndexFormatError(f"{self._path} is damaged: {error}.") from error
        return Document(document_id, text, title, values)


def _batches(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
