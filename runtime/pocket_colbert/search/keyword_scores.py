"""BM25 over all segments of an index."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.normalization import for_keywords, is_vietnamese, runs_of
from pocket_colbert.storage.keyword_store import Term
from pocket_colbert.storage.segment import Segment

_LEAST = 1e-6
"""What SQLite's BM25 gives for the rarity of a word that is in half of all passages or more."""

_LEAST_START, _MOST_START = 4, 6
"""Longer words stand for those that start alike, in the first 4 to 6 characters."""


def terms(text: str, *, trigrams: bool = False, starts: bool = False) -> list[Term]:
    """List what is looked for of a query, each once; SQLite handles English endings and accents.

    Combining marks, as of decomposed accents and Indic vowels, belong to the word they are in.

    Args:
        text: The query.
        trigrams: Whether any three characters of a word are one of their own.
        starts: Whether longer words also stand for those that start alike. In languages with
            endings that is most of what a stemmer brings, whatever the language (McNamee &
            Mayfield 2004, Information Retrieval 7).
    """
    vietnamese = is_vietnamese(text)
    starts = starts and not vietnamese  # where most words are of one syllable
    # Each for itself, so that what a word becomes does not depend on those beside it.
    text = " ".join(
        for_keywords(part, runs=False, query=True, vietnamese=vietnamese, accents=trigrams)
        for part in text.split()
    )
    words = "".join(char if _in_word(char) else " " for char in text).split()
    if trigrams:
        found = [Term(word[n : n + 3]) for word in words for n in range(len(word) - 2)]
    else:
        found = [term for word in words for term in _terms_of(word, starts)]
    return list({(term.word.lower(), term.is_start): term for term in found}.values())


def _terms_of(word: str, starts: bool) -> list[Term]:
    """Return the terms of a word of a query that has been through `for_keywords`."""
    found = []
    for part, size in runs_of(word):
        if size > len(part):
            found.append(Term(part, True))
        elif size:
            found += [Term(part[n : n + size]) for n in range(len(part) - size + 1)]
        else:
            found.append(Term(part))
            if starts and len(part) > _LEAST_START and not part.isdigit():
                found.append(Term(part[: min((len(part) + 3) // 2, _MOST_START)], True))
    return found


def bm25(
    segments: Sequence[Segment], query: str, *, starts: bool = False
) -> list[NDArray[np.float32]]:
    """Score all passages by BM25, as SQLite's FTS5 computes it for a query of single words.

    FTS5 takes a word's rarity from its own segment, where a small one would be beside the point;
    here it is taken from all segments, so that scores do not depend on how documents came in. Only
    the mean length of a passage, to which lengths are related, is the segment's own. Words in
    half of the passages or more count next to nothing in FTS5 and are left out here, unless there
    are no others.

    Args:
        segments: The segments; deleted documents still count for the rarity of words.
        query: The query.
        starts: See `terms`.

    Returns:
        (num_passages,) float32 each: 0 without any of the words.
    """
    totals = [len(segment.passages) for segment in segments]
    weighed = []
    trigrams = bool(segments) and segments[0].documents.keywords.has_trigrams()
    for term in terms(query, trigrams=trigrams, starts=starts):
        counts = [segment.documents.keywords.count(term) for segment in segments]
        if sum(counts):
            weighed.append((term, counts, _rarity(sum(counts), sum(totals))))
    if any(rarity > _LEAST for _, _, rarity in weighed):
        weighed = [item for item in weighed if item[2] > _LEAST]
    by_segment = []
    for number, segment in enumerate(segments):
        scores = np.zeros(totals[number], dtype=np.float64)
        for term, counts, rarity in weighed:
            if counts[number]:
                passages, gains = segment.documents.keywords.scores(term)
                scores[passages] += gains * (rarity / _rarity(counts[number], totals[number]))
        by_segment.append(scores.astype(np.float32))
    return by_segment


def _in_word(char: str) -> bool:
    return char == "_" or char.isalnum() or unicodedata.category(char).startswith("M")


def _rarity(count: int, total: int) -> float:
    """Return the inverse document frequency as SQLite's FTS5 computes it."""
    return max(float(np.log((total - count + 0.5) / (count + 0.5))), _LEAST)
