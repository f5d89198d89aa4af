"""Ids, titles, texts, metadata and keywords of one segment's documents.

The only importer of `sqlite3`. Every statement is a constant of this file; values, whether they
come from a user or from a file, are parameters.
"""

from __future__ import annotations

import errno
import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.metadata import checked_json, flat
from pocket_colbert.storage.filters import ID, Condition, after_prefix, is_unicode
from pocket_colbert.types import Document, Span, Value

DOCUMENTS_VERSION = 1
_TABLES = {
    "documents": "CREATE TABLE documents (position INTEGER PRIMARY KEY, document_id TEXT NOT NULL "
    "UNIQUE, title TEXT, source TEXT, metadata TEXT, text TEXT)",
    "passages": "CREATE TABLE passages (passage INTEGER PRIMARY KEY, start INTEGER, stop INTEGER)",
    "fields": "CREATE TABLE fields (name TEXT, value, position INTEGER, "
    "PRIMARY KEY (name, value, position)) WITHOUT ROWID",
}
_TOKENIZERS = {
    "english": "porter unicode61 remove_diacritics 2",
    "words": "unicode61 remove_diacritics 2",
    "trigrams": "trigram",
}
_KEYWORDS = "CREATE VIRTUAL TABLE keywords USING fts5(text, content='', tokenize='{}')"
_COMPARISONS = {
    "$eq": "= ?", "$gt": "> ?", "$gte": ">= ?", "$lt": "< ?", "$lte": "<= ?", "$exists": "NOTNULL",
}  # fmt: skip
_BATCH = 500
_CACHED_COUNTS = 10_000


StoredDocument = tuple[Document, Sequence[Span]]
"""A document and the spans of its passages in its text."""


class DocumentStore:
    """An SQLite database with the documents of a segment, in an unchanging file or in memory.

    Any number of threads may read it, each on a connection of its own, and any number of
    processes, on read-only media too.
    """

    def __init__(self, path: Path | None, num_documents: int, num_passages: int) -> None:
        """Open what `write` made; with None, begin an empty one in memory.

        Raises:
            IndexFormatError: The file is no such database or has another number of documents.
        """
        self._path = path
        self._counts: dict[str, int] = {}
        try:
            self._first = self._connect()
        except sqlite3.Error as error:
            raise IndexFormatError(f"{path} cannot be opened: {error}.") from error
        self._first_lock = threading.Lock()
        self._others: list[sqlite3.Connection] = []
        # Connections are closed when the last search that uses the segment has let go of it.
        self._finalizer = weakref.finalize(self, _close, self._first, self._others)
        self.num_documents = num_documents
        self._num_passages = num_passages
        if path is None:
            return
        self._check_schema()
        first, last = self._select("SELECT MIN(position), MAX(position) FROM documents")[0]
        if (first, last) != ((0, num_documents - 1) if num_documents else (None, None)):
            self.close()
            raise IndexFormatError(
                f"{path} is damaged: its documents are numbered from {first} to {last}, "
                f"there must be {num_documents}."
            )

    @classmethod
    def in_memory(
        cls, documents: Iterable[StoredDocument], keywords: str
    ) -> tuple[DocumentStore, NDArray[np.int32]]:
        """Hold documents in memory; see `write` for arguments and the second result."""
        store = cls(None, 0, 0)
        passages = _fill(store._first, documents, keywords)
        store.num_documents, store._num_passages = len(passages), int(passages.sum())
        return store, passages

    @staticmethod
    def write(path: Path, documents: Iterable[StoredDocument], keywords: str) -> NDArray[np.int32]:
        """Write documents, numbered from 0 in the order given.

        Args:
            path: A file that does not exist yet.
            documents: The documents; their ids differ.
            keywords: See `IndexConfig.keywords`.

        Returns:
            The number of passages of each document, (num_documents,) int32.

        Raises:
            IndexFormatError: Documents of several segments have the same id.
            OSError: The disk is full or fails.
        """
        with _written(path) as connection:
            return _fill(connection, documents, keywords)

    @staticmethod
    def change_sources(path: Path, changed: Mapping[str, str]) -> None:
        """Put other sources in place of some in a file that nobody has open.

        Raises:
            OSError: The disk is full or fails.
        """
        with _written(path) as connection:
            # All at once: one that is new may be another's old one.
            connection.create_function("changed", 1, changed.get)
            connection.execute(
                "UPDATE documents SET source = changed(source) WHERE changed(source) NOTNULL"
            )
            connection.commit()

    def get(self, positions: Iterable[int]) -> dict[int, Document]:
        """Return documents by their positions.

        Raises:
            IndexFormatError: One is missing.
        """
        wanted = [int(position) for position in positions]
        found: dict[int, Document] = {}
        for batch in _batches(wanted):
            rows = self._select(
                "SELECT position, document_id, title, source, metadata, text FROM documents "
                f"WHERE position IN ({_marks(batch)})",
                batch,
            )
            found.update((row[0], self._document(row)) for row in rows)
        missing = [position for position in wanted if position not in found]
        if missing:
            raise IndexFormatError(f"{self._path} is damaged: it has no document {missing[0]}.")
        return found

    def find(self, document_ids: Iterable[str]) -> dict[str, int]:
        """Return the positions of those ids that are here."""
        found: dict[str, int] = {}
        for batch in _batches(item for item in document_ids if is_unicode(item)):
            rows = self._select(
                "SELECT position, document_id FROM documents "
                f"WHERE document_id IN ({_marks(batch)})",
                batch,
            )
            self._positions(rows)
            found.update((document_id, position) for position, document_id in rows)
        return found

    def spans(self, first: int, last: int) -> dict[int, Span]:
        """Return the spans of passages first to last - 1, those that are whole texts left out."""
        rows = self._select(
            "SELECT passage, start, stop FROM passages WHERE passage >= ? AND passage < ?",
            (first, last),
        )
        for _, begin, end in rows:
            if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= begin <= end:
                raise self._damaged(f"a passage from {begin!r:.20} to {end!r:.20}")
        return {passage: (begin, end) for passage, begin, end in rows}

    def sources(self) -> list[str]:
        """Return where documents were read from, each once."""
        statement = "SELECT DISTINCT source FROM documents WHERE typeof(source) = 'text'"
        return [source for (source,) in self._select(statement)]

    def from_source(self, source: str) -> NDArray[np.int64]:
        """Return the positions of documents that were read from a source, ascending."""
        return self._positions(
            self._select(
                "SELECT position FROM documents WHERE source = ? ORDER BY position", (source,)
            )
        )

    def matching(self, condition: Condition) -> NDArray[np.int64]:
        """Return the positions of the documents that a condition holds for, in any order."""
        if condition.field == ID:
            statement, names = "SELECT position FROM documents WHERE document_id ", []
        else:
            statement, names = (
                "SELECT position FROM fields WHERE name = ? AND value ",
                [condition.field],
            )
        if condition.operator == "$in":
            found = [
                self._select(f"{statement} IN ({_marks(batch)})", names + batch)
                for batch in _batches(condition.values)
            ]
            return self._positions([row for rows in found for row in rows])
        if condition.operator == "$prefix":
            (prefix,) = condition.values
            end = after_prefix(str(prefix))
            column = "document_id" if condition.field == ID else "value"
            upper = f" AND {column} < ?" if end is not None else ""
            values = [prefix] if end is None else [prefix, end]
            return self._positions(self._select(f"{statement} >= ?{upper}", names + values))
        statement += _COMPARISONS[condition.operator]
        if condition.field != ID and condition.operator in ("$gt", "$gte", "$lt", "$lte"):
            # In SQLite every number is below every text; compare within one kind only.
            text = isinstance(condition.values[0], str)
            statement += " AND value >= ''" if text else " AND value < ''"
        return self._positions(self._select(statement, names + list(condition.values)))

    def fields(self, limit: int) -> list[str]:
        """Return the first names of metadata fields, in order, by as many look-ups."""
        return self._distinct("SELECT MIN(name) FROM fields WHERE name ", [], "", limit)

    def values(self, name: str, limit: int) -> list[Value]:
        """Return the first values of a field, numbers before texts, by as many look-ups."""
        statement = "SELECT MIN(value) FROM fields WHERE name = ? AND value "
        return self._distinct(statement, [name], float("-inf"), limit)

    def greatest(self, name: str) -> Value | None:
        """Return the last value of a field, None where no document has it."""
        statement = "SELECT MAX(value) FROM fields WHERE name = ?"
        return self._value(self._select(statement, [name])[0][0])

    def with_value(self, name: str, value: Value, limit: int) -> NDArray[np.int64]:
        """Return the positions of the first documents of which a field has a value."""
        statement = "SELECT position FROM fields WHERE name = ? AND value = ? LIMIT ?"
        return self._positions(self._select(statement, [name, value, limit]))

    def has_trigrams(self) -> bool:
        """Say whether what counts as a word is any three characters."""
        statement = _KEYWORDS.format(_TOKENIZERS["trigrams"])
        return bool(self._select("SELECT 1 FROM sqlite_schema WHERE sql = ?", (statement,)))

    def keyword_count(self, word: str) -> int:
        """Return the number of passages that a word is in."""
        count = self._counts.get(word)
        if count is None:
            count = self._select(
                "SELECT COUNT(*) FROM keywords WHERE keywords MATCH ?", (_phrase(word),)
            )[0][0]
            if len(self._counts) >= _CACHED_COUNTS:
                self._counts.clear()
            self._counts[word] = count
        return int(count)

    def keyword_scores(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the passages that a word is in, and SQLite's BM25 of the word alone, negated."""
        rows = self._select(
            "SELECT rowid, -bm25(keywords) FROM keywords WHERE keywords MATCH ?", (_phrase(word),)
        )
        table = np.array(rows, dtype=np.float64).reshape(-1, 2)
        if not ((table[:, 0] >= 0) & (table[:, 0] < self._num_passages)).all():
            raise self._damaged("keywords of passages that are not there")
        return table[:, 0].astype(np.int64), table[:, 1]

    def iterate(self, first: int = 0) -> Iterator[tuple[int, Document]]:
        """Iterate over positions and documents in order."""
        for start in range(first, self.num_documents, _BATCH):
            found = self.get(range(start, min(start + _BATCH, self.num_documents)))
            yield from sorted(found.items())

    def ids(self) -> Iterator[list[tuple[int, str]]]:
        """Iterate over positions and ids in order, in batches."""
        for start in range(0, self.num_documents, _BATCH):
            yield self._select(
                "SELECT position, document_id FROM documents WHERE position >= ? AND position < ?",
                (start, start + _BATCH),
            )

    def id_bytes(self) -> int:
        """Return how many bytes the ids take, in the table and once more in its index."""
        rows = self._select("SELECT TOTAL(LENGTH(CAST(document_id AS BLOB))) FROM documents")
        return 2 * int(rows[0][0])

    def problems(self) -> list[str]:
        """Read everything and say what is wrong with it."""
        found = [str(row[0]) for row in self._select("PRAGMA integrity_check(20)")]
        count = self._select("SELECT COUNT(*) FROM documents")[0][0]
        if count != self.num_documents:
            found.append(f"it has {count} documents, not {self.num_documents}")
        return [f"{self._path}: {text}" for text in found if text != "ok"]

    def close(self) -> None:
        """Close the file; no search may be under way."""
        self._finalizer()

    def _check_schema(self) -> None:
        """Let in only the version and the tables that `write` makes."""
        version = int(self._select("PRAGMA user_version")[0][0])
        if version != DOCUMENTS_VERSION:
            self.close()
            raise IndexFormatError(
                f"{self._path} is damaged: its version must be {DOCUMENTS_VERSION}, got {version}."
            )
        keywords = {_KEYWORDS.format(name) for name in _TOKENIZERS.values()}
        for kind, name, statement in self._select("SELECT type, name, sql FROM sqlite_schema"):
            expected = (
                kind == "table" and statement == _TABLES.get(name)
                or kind == "table" and name == "keywords" and statement in keywords
                or kind == "table" and str(statement).startswith("CREATE TABLE 'keywords_")
                or kind == "index" and statement is None
            )  # fmt: skip
            if not expected:
                self.close()
                raise IndexFormatError(f"{self._path} holds {kind} {name!r}, which is foreign.")

    def _connect(self) -> sqlite3.Connection:
        if self._path is None:
            return sqlite3.connect(":memory:", check_same_thread=False)
        uri = self._path.resolve().as_uri() + "?mode=ro&immutable=1"
        connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        # A hostile file must not call functions with side effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        return connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Lend the first connection, or one of the others while it is out.

        A writer may have deleted the file since; then no other can be opened and threads wait for
        the first. In memory there is only the first.
        """
        if self._first_lock.acquire(blocking=False):
            try:
                yield self._first
            finally:
                self._first_lock.release()
            return
        other = None
        with suppress(IndexError):  # no test first: another thread may take the last one
            other = self._others.pop()
        if other is None and self._path is not None:
            with suppress(sqlite3.Error):
                other = self._connect()
        if other is None:
            with self._first_lock:
                yield self._first
            return
        try:
            yield other
        finally:
            self._others.append(other)

    def _select(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._connection() as connection:
                return connection.execute(statement, tuple(values)).fetchall()
        except (sqlite3.Error, UnicodeError) as error:
            raise IndexFormatError(f"{self._path} is damaged: {error}.") from error

    def _distinct(self, statement: str, given: list[str], least: Value, limit: int) -> list[Any]:
        """Leap through an index from each value to the next; equal ones are not read."""
        found: list[Value] = []
        value = self._value(self._select(f"{statement} >= ?", [*given, least])[0][0])
        while value is not None and len(found) < limit:
            found.append(value)
            value = self._value(self._select(f"{statement} > ?", [*given, value])[0][0])
        return found

    def _value(self, value: object) -> Value | None:
        if value is None or isinstance(value, str | int | float):
            return value
        raise self._damaged(f"what no field can be: {value!r:.40}")

    def _positions(self, rows: Sequence[tuple[Any, ...]]) -> NDArray[np.int64]:
        """Return the first column, once it is known to be positions of documents."""
        try:
            found = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        except (TypeError, ValueError, OverflowError) as error:
            raise self._damaged(f"no position: {error}") from error
        if not ((found >= 0) & (found < self.num_documents)).all():
            raise self._damaged("positions of documents that are not there")
        return found

    def _document(self, row: tuple[Any, ...]) -> Document:
        position, document_id, title, source, metadata, text = row
        try:
            values = checked_json(metadata) if metadata else {}
        except (TypeError, ValueError, RecursionError) as error:
            raise self._damaged(f"metadata that is no JSON: {error}") from error
        texts = all(item is None or isinstance(item, str) for item in (title, source, text))
        named = isinstance(document_id, str) and document_id != ""
        if not texts or not named or not isinstance(values, dict):
            raise self._damaged(f"what no document can have at position {position}")
        return Document(document_id, text, title, values, source)

    def _damaged(self, what: str) -> IndexFormatError:
        return IndexFormatError(f"{self._path} is damaged: it has {what}.")


def _fill(
    connection: sqlite3.Connection, documents: Iterable[StoredDocument], keywords: str
) -> NDArray[np.int32]:
    for statement in _TABLES.values():
        connection.execute(statement)
    if keywords != "none":
        connection.execute(_KEYWORDS.format(_TOKENIZERS[keywords]))
    counts: list[int] = []
    passage = 0
    remaining = iter(documents)
    while batch := list(islice(remaining, _BATCH)):
        rows, spans, words = [], [], []
        fields: list[tuple[str, Value, int]] = []
        for document, parts in batch:
            position = len(counts)
            counts.append(len(parts))
            metadata = document.metadata
            written = json.dumps(metadata, ensure_ascii=False) if metadata else None
            rows.append(
                (position, document.document_id, document.title, document.source, written,
                 document.text)
            )  # fmt: skip
            fields.extend({(name, value, position) for name, value in flat(metadata)})
            for start, end in parts:
                if (start, end) != (0, len(document.text or "")):
                    spans.append((passage, start, end))
                if keywords != "none":
                    text = (document.text or "")[start:end]
                    words.append((passage, f"{document.title or ''} {text}"))
                passage += 1
        connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO passages VALUES (?, ?, ?)", spans)
        connection.executemany("INSERT INTO fields VALUES (?, ?, ?)", fields)
        if words:
            connection.executemany("INSERT INTO keywords(rowid, text) VALUES (?, ?)", words)
    if keywords != "none":
        connection.execute("INSERT INTO keywords(keywords) VALUES ('optimize')")
    connection.execute(f"PRAGMA user_version = {DOCUMENTS_VERSION}")
    connection.commit()
    return np.array(counts, dtype=np.int32)


@contextmanager
def _written(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for writing, as a whole that is thrown away when an error is raised."""
    try:
        connection = sqlite3.connect(path)
        try:
            # Thrown away, it needs no journal, which would only cost time.
            connection.execute("PRAGMA journal_mode = OFF")
            connection.execute("PRAGMA synchronous = OFF")
            yield connection
        finally:
            connection.close()
    except sqlite3.IntegrityError as error:
        raise IndexFormatError(f"{path} cannot be written: {error}.") from error
    except sqlite3.Error as error:
        code = errno.ENOSPC if "full" in str(error) else errno.EIO
        raise OSError(code, str(error), str(path)) from error


def _phrase(word: str) -> str:
    """Quote a word for FTS5: within quotes nothing is syntax but a quote."""
    return '"' + word.replace('"', '""') + '"'


def _close(first: sqlite3.Connection, others: list[sqlite3.Connection]) -> None:
    first.close()
    while others:
        others.pop().close()


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
