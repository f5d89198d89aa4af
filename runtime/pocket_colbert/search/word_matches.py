"""Where a text has the words of a query, as keywords find them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.normalization import for_keywords, is_vietnamese, runs_of
from pocket_colbert.search.keyword_scores import terms
from pocket_colbert.types import Span, Token

_WORD = re.compile(
    "[\\w\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0fff"
    "\u1000-\u109f\u1780-\u17ff\u200b-\u200d]+"
)
"""Words with the marks that are part of them, which `\\w` leaves out."""

_START = 0.8
"""What a word counts that only starts as one of the query."""


def matched_words(query: str, text: str) -> list[Span]:
    """Find the words of a query in a text.

    Args:
        query: The query.
        text: The text.

    Returns:
        First character and the one after the last of each match, in order: whole words, and in
        languages without spaces the pieces that match, neighbours joined.
    """
    spans: list[Span] = []
    for start, end, _, _ in sorted(_matches(query, text)):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def word_weights(query: str, text: str, tokens: Sequence[Token]) -> NDArray[np.float32]:
    """Weigh what each token of a text shows of a query's words.

    Args:
        query: The query.
        text: The text.
        tokens: Its tokens.

    Returns:
        (terms of the query, num_tokens) float32, 0 to 1.
    """
    weights = np.zeros((len(terms(query, starts=True)), len(tokens)), np.float32)
    starts = np.array([-1 if token.span is None else token.span[0] for token in tokens], np.int64)
    for start, end, row, weight in _matches(query, text):
        inside = (starts >= start) & (starts < end)
        weights[row, inside] = np.maximum(weights[row, inside], weight)
    return weights


def _matches(query: str, text: str) -> Iterator[tuple[int, int, int, float]]:
    """Iterate over matches: start, end, number of the query's term, weight."""
    wanted = list(enumerate(terms(query, starts=True)))
    accents = is_vietnamese(query)
    for match in _WORD.finditer(text):
        word = for_keywords(match.group(), runs=False, query=True, vietnamese=accents).lower()
        for part, size, offset in _parts(word):
            for piece, first, last in _pieces(part, size, offset):
                # Where a word has got shorter or longer, it is marked whole.
                same = size and len(word) == len(match.group())
                start, end = (match.start() + first, match.start() + last) if same else match.span()
                for row, term in wanted:
                    if piece == term.word.lower():
                        yield start, end, row, 1.0
                    elif term.is_start and piece.startswith(term.word.lower()):
                        # Of a word all is shown, of a run of characters what matches.
                        yield start, start + len(term.word) if same else end, row, _START


def _parts(word: str) -> Iterator[tuple[str, int, int]]:
    offset = 0
    for part, size in runs_of(word):
        yield part, size, offset
        offset += len(part)


def _pieces(part: str, size: int, offset: int) -> Iterator[tuple[str, int, int]]:
    """Iterate over the pieces of a part of a word, and where they are in the word."""
    if not size:
        yield part, offset, offset + len(part)
        return
    for n in range(len(part)):
        piece = part[n : n + size]
        yield piece, offset + n, offset + n + len(piece)
