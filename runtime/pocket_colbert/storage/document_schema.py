"""The tables of a segment's database: the statements that make and fill them, and their check.

Every statement is a constant; docs/format.md has them too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.metadata import flat
from pocket_colbert.normalization import for_keywords
from pocket_colbert.sections import context_of, headings_of
from pocket_colbert.storage.database import Database, batches
from pocket_colbert.types import Document, Span, Value

SCHEMA_VERSION = 1
_TABLES = {
    "documents": "CREATE TABLE documents (position INTEGER PRIMARY KEY, document_id TEXT NOT NULL "
    "UNIQUE, title TEXT, source TEXT, metadata TEXT, text TEXT)",
    "passages": "CREATE TABLE passages (passage INTEGER PRIMARY KEY, start INTEGER, stop INTEGER, "
    "readable INTEGER)",
    "sections": "CREATE TABLE sections (position INTEGER, start INTEGER, headings TEXT, "
    "PRIMARY KEY (position, start)) WITHOUT ROWID",
    "fields": "CREATE TABLE fields (name TEXT, value, position INTEGER, "
    "PRIMARY KEY (name, value, position)) WITHOUT ROWID",
}
_LETTERS = "unicode61 remove_diacritics 2 categories ''L* M* N* Co''"
_TOKENIZERS = {"english": f"porter {_LETTERS}", "words": _LETTERS, "trigrams": "trigram"}
_KEYWORDS = "CREATE VIRTUAL TABLE keywords USING fts5(text, content='', tokenize='{}')"

READABLE = 255
"""How a passage is marked that the model can read all of; 0 stands for nothing."""


class StoredPassage(NamedTuple):
    """What is kept of a passage beside its token vectors.

    Attributes:
        start: Where it starts in the document's text, in characters.
        stop: Where it ends.
        readable: How much of it the model can read, from 0 to `READABLE`.
    """

    start: int
    stop: int
    readable: int = READABLE

    @classmethod
    def of(cls, span: Span, share: float) -> StoredPassage:
        """Return a passage of which the model can read a share, 0 to 1."""
        return cls(*span, round(share * READABLE))


StoredDocument = tuple[Document, Sequence[StoredPassage]]
"""A document and its passages."""


def keywords_table(keywords: str) -> str:
    """Return the statement that makes the table of keywords, see `IndexConfig.keywords`."""
    return _KEYWORDS.format(_TOKENIZERS[keywords])


def check_schema(database: Database) -> None:
    """Raise IndexFormatError unless a database has the version and only the tables of `fill`."""
    version = int(database.select("PRAGMA user_version")[0][0])
    if version != SCHEMA_VERSION:
        raise IndexFormatError(
            f"{database.path} is damaged: its version must be {SCHEMA_VERSION}, got {version}."
        )
    keywords = {keywords_table(name) for name in _TOKENIZERS}
    for kind, name, statement in database.select("SELECT type, name, sql FROM sqlite_schema"):
        expected = (
            kind == "table" and statement == _TABLES.get(name)
            or kind == "table" and name == "keywords" and statement in keywords
            or kind == "table" and str(statement).startswith("CREATE TABLE 'keywords_")
            or kind == "index" and statement is None
        )  # fmt: skip
        if not expected:
            raise IndexFormatError(f"{database.path} holds {kind} {name!r}, which is foreign.")


def fill(
    connection: sqlite3.Connection, documents: Iterable[StoredDocument], keywords: str
) -> NDArray[np.int32]:
    """Make the tables of an empty database and fill them.

    Args:
        connection: To the database.
        documents: The documents, to be numbered from 0 in this order; their ids differ.
        keywords: See `IndexConfig.keywords`.

    Returns:
        The number of passages of each document, (num_documents,) int32.
    """
    for statement in _TABLES.values():
        connection.execute(statement)
    if keywords != "none":
        connection.execute(keywords_table(keywords))
    counts: list[int] = []
    passage = 0
    for batch in batches(documents):
        rows, spans, sections, words = [], [], [], []
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
            # In an order of its own, so that equal documents give equal files.
            fields.extend(sorted({(*item, position) for item in flat(metadata)}, key=repr))
            for start, headings in document.sections:
                sections.append((position, start, json.dumps(headings, ensure_ascii=False)))
            for start, end, readable in parts:
                if (start, end, readable) != (0, len(document.text or ""), READABLE):
                    spans.append((passage, start, end, readable))
                if keywords != "none":
                    text = (document.text or "")[start:end]
                    headings = headings_of(document.sections, start, end)
                    text = f"{context_of(document.title, headings)} {text}"
                    trigrams = keywords == "trigrams"
                    words.append((passage, for_keywords(text, runs=not trigrams, accents=trigrams)))
                passage += 1
        connection.executemany("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO passages VALUES (?, ?, ?, ?)", spans)
        connection.executemany("INSERT INTO sections VALUES (?, ?, ?)", sections)
        connection.executemany("INSERT INTO fields VALUES (?, ?, ?)", fields)
        if words:
            connection.executemany("INSERT INTO keywords(rowid, text) VALUES (?, ?)", words)
    if keywords != "none":
        connection.execute("INSERT INTO keywords(keywords) VALUES ('optimize')")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.commit()
    return np.array(counts, dtype=np.int32)
