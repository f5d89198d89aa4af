"""Ids, titles, texts and metadata of one segment's documents.

Every statement is made of constants of this file; values, whether they come from a user or from a
file, are parameters.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.metadata import checked_json
from pocket_colbert.sections import sections_from_json
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.database import BATCH, Database, batches, marks, writing
from pocket_colbert.storage.document_schema import (
    READABLE,
    StoredDocument,
    StoredPassage,
    check_schema,
    fill,
)
from pocket_colbert.storage.filters import ID, Condition, after_prefix, is_unicode
from pocket_colbert.storage.keyword_store import KeywordStore
from pocket_colbert.types import Document, Section, Value

_COMPARISONS = {
    "$eq": "= ?", "$gt": "> ?", "$gte": ">= ?", "$lt": "< ?", "$lte": "<= ?", "$exists": "NOTNULL",
}  # fmt: skip


class DocumentStore:
    """The documents of a segment, by position.

    Attributes:
        num_documents: Number of documents.
        keywords: The keywords of their passages.
    """

    def __init__(self, database: Database, num_documents: int, num_passages: int) -> None:
        self._database = database
        self.num_documents = num_documents
        self.keywords: KeywordStore = KeywordStore(database, num_passages)
        self._less_readable: dict[float, int] = {}
        self._has_sections = bool(database.select("SELECT 1 FROM sections LIMIT 1"))

    @classmethod
    def open(cls, path: Contained, num_documents: int, num_passages: int) -> DocumentStore:
        """Open what `write` made.

        Raises:
            IndexFormatError: The file is no such database or has another number of documents.
        """
        database = Database(path)
        try:
            check_schema(database)
            ends = database.select("SELECT MIN(position), MAX(position) FROM documents")[0]
            if ends != ((0, num_documents - 1) if num_documents else (None, None)):
                raise IndexFormatError(
                    f"{path} is damaged: its documents are numbered from {ends[0]} to {ends[1]}, "
                    f"there must be {num_documents}."
                )
        except BaseException:
            database.close()
            raise
        return cls(database, num_documents, num_passages)

    @classmethod
    def in_memory(
        cls, documents: Iterable[StoredDocument], keywords: str
    ) -> tuple[DocumentStore, NDArray[np.int32]]:
        """Hold documents in memory; see `fill` for arguments and the second result."""
        database = Database(None)
        passages = fill(database.connection, documents, keywords)
        return cls(database, len(passages), int(passages.sum())), passages

    @staticmethod
    def write(
        path: Contained, documents: Iterable[StoredDocument], keywords: str
    ) -> NDArray[np.int32]:
        """Write documents to a file that does not exist yet; see `fill`.

        Raises:
            IndexFormatError: Documents of several segments have the same id.
            OSError: The disk is full or fails.
        """
        with writing(path) as connection:
            return fill(connection, documents, keywords)

    @staticmethod
    def change_sources(path: Contained, changed: Mapping[str, str]) -> None:
        """Give documents other sources, in a file that nobody has open.

        Args:
            path: The file.
            changed: The new source by the old one.

        Raises:
            OSError: The disk is full or fails.
        """
        with writing(path) as connection:
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
        documents: dict[int, Document] = {}
        for batch in batches(wanted):
            rows = self._database.select(
                "SELECT position, document_id, title, source, metadata, text FROM documents "
                f"WHERE position IN ({marks(batch)})",
                batch,
            )
            sections = self._sections(batch) if self._has_sections else {}
            documents.update(
                (row[0], self._document(row, sections.get(row[0], ()))) for row in rows
            )
        self._check_found(wanted, documents)
        return documents

    def text_lengths(self, positions: Iterable[int]) -> dict[int, int]:
        """Return how many characters the texts of some documents have; 0 for one without.

        Raises:
            IndexFormatError: One is missing.
        """
        wanted = [int(position) for position in positions]
        lengths: dict[int, int] = {}
        for batch in batches(wanted):
            rows = self._database.select(
                f"SELECT position, text FROM documents WHERE position IN ({marks(batch)})", batch
            )
            for position, text in rows:
                if not isinstance(text, str | None):
                    raise self._database.damaged(f"a text {text!r:.20}")
                lengths[position] = len(text or "")
        self._check_found(wanted, lengths)
        return lengths

    def _check_found(self, wanted: Iterable[int], found: Container[int]) -> None:
        missing = next((position for position in wanted if position not in found), None)
        if missing is not None:
            raise IndexFormatError(
                f"{self._database.path} is damaged: it has no document {missing}."
            )

    def find(self, document_ids: Iterable[str]) -> dict[str, int]:
        """Return the positions of those ids that are here."""
        positions: dict[str, int] = {}
        for batch in batches(item for item in document_ids if is_unicode(item)):
            rows = self._database.select(
                "SELECT position, document_id FROM documents "
                f"WHERE document_id IN ({marks(batch)})",
                batch,
            )
            self._positions(rows)
            positions.update((document_id, position) for position, document_id in rows)
        return positions

    def passages(self, ranges: Iterable[tuple[int, int]]) -> dict[int, StoredPassage]:
        """Return passages, those left out that are whole texts which the model can read.

        Args:
            ranges: The first passage of each range, and the one after its last.
        """
        rows = []
        for batch in batches(ranges):
            condition = " OR ".join(["passage >= ? AND passage < ?"] * len(batch))
            rows += self._database.select(
                f"SELECT passage, start, stop, readable FROM passages WHERE {condition}",
                [bound for bounds in batch for bound in bounds],
            )
        for _, begin, end, readable in rows:
            if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= begin <= end:
                raise self._database.damaged(f"a passage from {begin!r:.20} to {end!r:.20}")
            if not isinstance(readable, int) or not 0 <= readable <= READABLE:
                raise self._database.damaged(f"a passage readable to {readable!r:.20}")
        return {passage: StoredPassage(*values) for passage, *values in rows}

    def count_readable_below(self, share: float) -> int:
        """Return how many passages the model can read less of than a share."""
        count = self._less_readable.get(share)
        if count is None:
            statement = "SELECT COUNT(*) FROM passages WHERE readable < ?"
            count = self._database.select(statement, (share * READABLE,))[0][0]
            self._less_readable[share] = count
        return count

    def sources(self) -> list[str]:
        """Return where documents were read from, each once."""
        statement = "SELECT DISTINCT source FROM documents WHERE typeof(source) = 'text'"
        return [source for (source,) in self._database.select(statement)]

    def from_source(self, source: str) -> NDArray[np.int64]:
        """Return the positions of documents that were read from a source, ascending."""
        return self._positions(
            self._database.select(
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
            mask = np.zeros(self.num_documents, dtype=bool)
            for batch in batches(condition.values):
                mask[self._matching(f"{statement} IN ({marks(batch)})", names + batch)] = True
            return np.flatnonzero(mask)
        if condition.operator == "$prefix":
            (prefix,) = condition.values
            end = after_prefix(str(prefix))
            column = "document_id" if condition.field == ID else "value"
            upper = f" AND {column} < ?" if end is not None else ""
            values = [prefix] if end is None else [prefix, end]
            return self._matching(f"{statement} >= ?{upper}", names + values)
        statement += _COMPARISONS[condition.operator]
        if condition.field != ID and condition.operator in ("$gt", "$gte", "$lt", "$lte"):
            # In SQLite every number is below every text; compare within one kind only.
            text = isinstance(condition.values[0], str)
            statement += " AND value >= ''" if text else " AND value < ''"
        return self._matching(statement, names + list(condition.values))

    def _matching(self, statement: str, values: list[Any]) -> NDArray[np.int64]:
        """Return the positions that a statement selects, each once.

        A row takes ten times the memory of a position, and there can be several rows a document.
        """
        mask = np.zeros(self.num_documents, dtype=bool)
        with closing(self._database.select_in_parts(statement, values)) as parts:
            for rows in parts:
                mask[self._positions(rows)] = True
        return np.flatnonzero(mask)

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
        return self._value(self._database.select(statement, [name])[0][0])

    def with_value(self, name: str, value: Value, limit: int) -> NDArray[np.int64]:
        """Return the positions of the first documents of which a field has a value."""
        statement = "SELECT position FROM fields WHERE name = ? AND value = ? LIMIT ?"
        return self._positions(self._database.select(statement, [name, value, limit]))

    def iterate(self, first: int = 0) -> Iterator[tuple[int, Document]]:
        """Iterate over positions and documents in order."""
        for start in range(first, self.num_documents, BATCH):
            documents = self.get(range(start, min(start + BATCH, self.num_documents)))
            yield from sorted(documents.items())

    def ids(self) -> Iterator[list[tuple[int, str]]]:
        """Iterate over positions and ids in order, in batches."""
        for start in range(0, self.num_documents, BATCH):
            yield self._database.select(
                "SELECT position, document_id FROM documents WHERE position >= ? AND position < ?",
                (start, start + BATCH),
            )

    def id_bytes(self) -> int:
        """Return how many bytes the ids take, in the table and once more in its index."""
        rows = self._database.select(
            "SELECT TOTAL(LENGTH(CAST(document_id AS BLOB))) FROM documents"
        )
        return 2 * int(rows[0][0])

    def problems(self) -> list[str]:
        """Read everything and say what is wrong with it."""
        problems = [str(row[0]) for row in self._database.select("PRAGMA integrity_check(20)")]
        count = self._database.select("SELECT COUNT(*) FROM documents")[0][0]
        if count != self.num_documents:
            problems.append(f"it has {count} documents, not {self.num_documents}")
        return [f"{self._database.path}: {text}" for text in problems if text != "ok"]

    def close(self) -> None:
        """Close the file; no search may be under way."""
        self._database.close()

    def _distinct(self, statement: str, given: list[str], least: Value, limit: int) -> list[Any]:
        """Leap through an index from each value to the next; equal ones are not read."""
        values: list[Value] = []
        value = self._value(self._database.select(f"{statement} >= ?", [*given, least])[0][0])
        while value is not None and len(values) < limit:
            values.append(value)
            value = self._value(self._database.select(f"{statement} > ?", [*given, value])[0][0])
        return values

    def _value(self, value: object) -> Value | None:
        if value is None or isinstance(value, str | int | float):
            return value
        raise self._database.damaged(f"what no field can be: {value!r:.40}")

    def _positions(self, rows: Sequence[tuple[Any, ...]]) -> NDArray[np.int64]:
        """Return the first column, checked to be positions of documents."""
        try:
            positions = np.fromiter((row[0] for row in rows), np.int64, len(rows))
        except (TypeError, ValueError, OverflowError) as error:
            raise self._database.damaged(f"no position: {error}") from error
        if not ((positions >= 0) & (positions < self.num_documents)).all():
            raise self._database.damaged("positions of documents that are not there")
        return positions

    def _sections(self, positions: Sequence[int]) -> dict[int, tuple[Section, ...]]:
        """Return the sections of documents, for those that have any."""
        rows = self._database.select(
            "SELECT position, start, headings FROM sections "
            f"WHERE position IN ({marks(positions)}) ORDER BY position, start",
            positions,
        )
        sections: dict[int, list[Section]] = {}
        for position, start, written in rows:
            try:
                section = sections_from_json([[start, checked_json(written)]])
            except (TypeError, ValueError, RecursionError) as error:
                raise self._database.damaged(f"what is no section: {error}") from error
            sections.setdefault(position, []).extend(section)
        return {position: tuple(items) for position, items in sections.items()}

    def _document(self, row: tuple[Any, ...], sections: tuple[Section, ...]) -> Document:
        position, document_id, title, source, metadata, text = row
        try:
            values = checked_json(metadata) if metadata else {}
        except (TypeError, ValueError, RecursionError) as error:
            raise self._database.damaged(f"metadata that is no JSON: {error}") from error
        texts = all(item is None or isinstance(item, str) for item in (title, source, text))
        named = isinstance(document_id, str) and document_id != ""
        if not texts or not named or not isinstance(values, dict):
            raise self._database.damaged(f"what no document can have at position {position}")
        return Document(document_id, text, title, values, source, sections)
