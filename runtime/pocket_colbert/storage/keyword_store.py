"""Which passages a word is in, and SQLite's BM25 of it (FTS5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.storage.database import Database
from pocket_colbert.storage.document_schema import keywords_table

_CACHED_COUNTS = 10_000


class KeywordStore:
    """The keywords of a segment's passages."""

    def __init__(self, database: Database, num_passages: int) -> None:
        self._database = database
        self._num_passages = num_passages
        self._counts: dict[str, int] = {}

    def has_trigrams(self) -> bool:
        """Say whether any three characters count as a word."""
        statement = "SELECT 1 FROM sqlite_schema WHERE sql = ?"
        return bool(self._database.select(statement, (keywords_table("trigrams"),)))

    def count(self, word: str) -> int:
        """Return the number of passages that a word is in."""
        count = self._counts.get(word)
        if count is None:
            count = self._database.select(
                "SELECT COUNT(*) FROM keywords WHERE keywords MATCH ?", (_phrase(word),)
            )[0][0]
            if len(self._counts) >= _CACHED_COUNTS:
                self._counts.clear()
            self._counts[word] = count
        return int(count)

    def scores(self, word: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the passages that a word is in, and SQLite's BM25 of the word alone, negated."""
        rows = self._database.select(
            "SELECT rowid, -bm25(keywords) FROM keywords WHERE keywords MATCH ?", (_phrase(word),)
        )
        table = np.array(rows, dtype=np.float64).reshape(-1, 2)
        if not ((table[:, 0] >= 0) & (table[:, 0] < self._num_passages)).all():
            raise self._database.damaged("keywords of passages that are not there")
        return table[:, 0].astype(np.int64), table[:, 1]


def _phrase(word: str) -> str:
    """Quote a word for FTS5: within quotes nothing is syntax but a quote."""
    return '"' + word.replace('"', '""') + '"'
