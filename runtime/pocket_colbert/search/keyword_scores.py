"""BM25 over all segments of an index."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.storage.segment import Segment

_LEAST = 1e-6
"""What SQLite's BM25 gives for the rarity of a word that is in half of all passages or more."""


def words(text: str, trigrams: bool) -> list[str]:
    """List the different words of a query; SQLite handles endings and accents.

    Combining marks, as of decomposed accents and Indic vowels, belong to the word they are in.

    Args:
        text: The query.
        trigrams: Whether any three characters of a word are one of their own.
    """
    terms = "".join(char if _in_word(char) else " " for char in text).split()
    if trigrams:
        terms = [term[n : n + 3] for term in terms for n in range(len(term) - 2)]
    return list({term.lower(): term for term in terms}.values())


def bm25(segments: Sequence[Segment], query: str) -> list[NDArray[np.float32]]:
    """Score all documents by BM25, as SQLite's FTS5 computes it for a query of single words.

    FTS5 takes a word's rarity from its own segment, where a small one would be beside the point;
    here it is taken from all segments, so that scores do not depend on how documents came in. Only
    the mean length of a passage, to which lengths are related, is the segment's own. Words in
    half of the passages or more count next to nothing in FTS5 and are left out here, unless there
    are no others.

    Args:
        segments: The segments; deleted documents still count for the rarity of words.
        query: The query.

    Returns:
        (num_documents,) float32 each: the score of the best passage, 0 without any of the words.
    """
    totals = [len(segment.passages) for segment in segments]
    weighed = []
    trigrams = bool(segments) and segments[0].documents.keywords.has_trigrams()
    for word in words(query, trigrams):
        counts = [segment.documents.keywords.count(word) for segment in segments]
        if sum(counts):
            weighed.append((word, counts, _rarity(sum(counts), sum(totals))))
    if any(rarity > _LEAST for _, _, rarity in weighed):
        weighed = [item for item in weighed if item[2] > _LEAST]
    by_segment = []
    for number, segment in enumerate(segments):
        scores = np.zeros(totals[number], dtype=np.float64)
        for word, counts, rarity in weighed:
            if counts[number]:
                passages, gains = segment.documents.keywords.scores(word)
                scores[passages] += gains * (rarity / _rarity(counts[number], totals[number]))
        by_segment.append(segment.passages.best_of_all(scores.astype(np.float32)))
    return by_segment


def _in_word(char: str) -> bool:
    return char == "_" or char.isalnum() or unicodedata.category(char).startswith("M")


def _rarity(count: int, total: int) -> float:
    """Return the inverse document frequency as SQLite's FTS5 computes it."""
    return max(float(np.log((total - count + 0.5) / (count + 0.5))), _LEAST)
