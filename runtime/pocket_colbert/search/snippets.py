"""The part of a text that shows best why it matched."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert.search.explanation import MatchedPassage, similarities_of
from pocket_colbert.text_splitting import SENTENCE, borders
from pocket_colbert.types import Query, Span


def snippet(query: Query, passage: MatchedPassage, length: int = 160) -> Span:
    """Find the part of a document that shows best why it matched.

    Args:
        query: The query.
        passage: What it matched.
        length: Characters of a snippet at most, >= 1.

    Returns:
        First character and the one after the last, in the document's text.

    Raises:
        InvalidInputError: length is below 1, or see `explain_match`.
    """
    weights = snippet_weights(query, passage)
    spans = [token.span or (-1, -1) for token in passage.tokens]
    start, end = best_window(passage.text, np.array(spans).reshape(-1, 2), weights, length)
    return passage.start + start, passage.start + end


def snippet_weights(query: Query, passage: MatchedPassage) -> NDArray[np.float32]:
    """Weigh what a window of a passage would show of each query token.

    Only query tokens that are part of the query's text count, and by how far a similarity lies
    above the token's mean one: what is near to all of the passage is no reason to show one part
    of it.

    Args:
        query: The query.
        passage: What it matched.

    Returns:
        (query tokens with a span, num_tokens) float32, >= 0.

    Raises:
        InvalidInputError: See `explain_match`.
    """
    similarities = similarities_of(query, passage)
    similarities = similarities[[token.span is not None for token in query.tokens]]
    return np.asarray(np.maximum(similarities - similarities.mean(axis=1, keepdims=True), 0))


def best_window(
    text: str, spans: NDArray[np.int64], weights: NDArray[np.float32], length: int
) -> Span:
    """Find the part of a text that shows best why it matched.

    That is the window with the largest MaxSim of weights: of each row the largest weight inside,
    summed. It starts at a sentence if it still holds these tokens then, else at a word, and ends
    at a word.

    Args:
        text: The passage's text.
        spans: (num_tokens, 2) int64, where tokens are in it; negative for those that are not.
        weights: (rows, num_tokens) float32, >= 0, for example from `snippet_weights`.
        length: Characters it has at most, >= 1.

    Returns:
        (start, end) in the text; of equally good windows the first.

    Raises:
        InvalidInputError: length is below 1.
    """
    check_whole_number("length", length)
    if len(text) <= length:
        return 0, len(text)
    low, high = _best_tokens(spans, weights, length)
    before, after, kinds = borders(text, 0, len(text))
    slack = length - (high - low)
    # The last sentence that will do, so that as much as possible follows, or the word that puts
    # the tokens in the middle; earlier where the text ends before the window would.
    sentences, tail = [0, *after[kinds >= SENTENCE].tolist()], len(text) - length
    start = low
    for starts, wanted in (
        (sentences, tail),
        ([0, *after.tolist()], min(low - slack // 2, tail)),
    ):
        inside = starts[bisect_left(starts, low - slack) : bisect_right(starts, low)]
        if inside:
            start = inside[min(bisect_left(inside, wanted), len(inside) - 1)]
            break
    ends = [*before.tolist(), len(text)]
    end = ends[bisect_right(ends, start + length) - 1] if ends[0] <= start + length else 0
    return start, max(end, high) if end > start else start + length


def _best_tokens(spans: NDArray[np.int64], weights: NDArray[np.float32], length: int) -> Span:
    """Return where the tokens to show start and end, which `length` has room for."""
    shown = np.flatnonzero(spans[:, 0] >= 0)
    spans, weights = spans[shown], weights[:, shown]
    best, shown_span = 0.0, (0, 0)
    for first, start in enumerate(spans[:, 0]):
        last = int(np.searchsorted(spans[:, 1], start + length, side="right"))
        if last > first:
            window = weights[:, first:last]
            total = float(window.max(axis=1).sum())
            if total > best:
                best = total
                used = first + window.argmax(axis=1)[window.max(axis=1) > 0]
                shown_span = int(spans[used.min(), 0]), int(spans[used.max(), 1])
    return shown_span
