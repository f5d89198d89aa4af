"""Which passages a word is in, and SQLite's BM25 of it (FTS5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.storage.database import Database
from pocket_colbert.storage.document_schema import keywords_table

_CACHED_COUNTS = 10_000
_COUNTED = 1_000
"""Passages of a word that are counted one by one, see `KeywordStore.estimates`."""


class Term(NamedTuple):
    """What is looked for in the keywords.

    Attributes:
        word: A word as `for_keywords` writes it.
        is_start: Whether all words count that start with it.
    """

    word: str
    is_start: bool = False


class KeywordStore:
    """The keywords of a segment's passages."""

    def __init__(self, database: Database, num_passages: int) -> None:
        self._database = database
        self._num_passages = num_passages
        self._counts: dict[Term, int] = {}

    def has_trigrams(self) -> bool:
        """Say whether any three characters count as a word."""
        statement = "SELECT 1 FROM sqlite_schema WHERE sql = ?"
        return bool(self._database.select(statement, (keywords_table("trigrams"),)))

    def count(self, term: Term) -> int:
        """Return the number of passages that a term is in."""
        count = self._counts.get(term)
        if count is None:
            count = self._database.select(
                "SELECT COUNT(*) FROM keywords WHERE keywords MATCH ?", (_phrase(term),)
            )[0][0]
            if len(self._counts) >= _CACHED_COUNTS:
                self._counts.clear()
            self._counts[term] = count
        return int(count)

    def estimates(self, words: Sequence[str]) -> list[float]:
        """Estimate in how many passages each of some words is, in one statement.

        At most `_COUNTED` passages of a word are counted; of a word in more, from how far those
        reach: a frequent word takes no longer than a rare one.
        """
        if not words:
            return []
        part = (
            f"SELECT COUNT(*), MAX(rowid) FROM "
            f"(SELECT rowid FROM keywords WHERE keywords MATCH ? LIMIT {_COUNTED})"
        )
        phrases = [_phrase(Term(word)) for word in words]
        rows = self._database.select(" UNION ALL ".join([part] * len(words)), phrases)
        return [
            count if count < _COUNTED else count * self._num_passages / (last + 1)
            for count, last in rows
        ]

    def scores(self, term: Term) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the passages that a term is in, and SQLite's BM25 of the term alone, negated."""
        rows = self._database.select(
            "SELECT rowid, -bm25(keywords) FROM keywords WHERE keywords MATCH ?", (_phrase(term),)
        )
        table = np.array(rows, dtype=np.float64).reshape(-1, 2)
        if not ((table[:, 0] >= 0) & (table[:, 0] < self._num_passages)).all():
            raise self._database.damaged("keywords of passages that are not there")
        return table[:, 0].astype(np.int64), table[:, 1]


def _phrase(term: Term) -> str:
    """Quote a term for FTS5: within quotes nothing is syntax but a quote."""
    return '"' + term.word.replace('"', '""') + '"' + "*" * term.is_start
