"""The part of a text that shows best why it matched."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import UNREAD
from pocket_colbert.search.explanation import MatchedPassage, similarities_of
from pocket_colbert.search.word_matches import word_weights
from pocket_colbert.text_splitting import LINE, borders
from pocket_colbert.types import Query, Span

_BEFORE = 0.8
"""What a match before a window counts, beside one inside: answers follow the words that ask for
them. Fitted, with the two below, on questions over documentation that no table reports."""

_INSIDE_A_SENTENCE = 0.98
"""What a window counts that starts inside a sentence that is too long for it."""

_FILLED = 0.6
"""Share of its length that a window must fill with whole sentences; else it ends at a word."""

_WORD = re.compile(r"\w+")


def snippet(query: Query, passage: MatchedPassage, length: int = 160) -> Span:
    """Find the part of a document that shows best why it matched.

    A heading that the passage begins with is left out: it is the last of the passage's heading
    path, which is shown above.

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
    skip = _heading_end(passage.text, passage.headings)
    start, end = best_window(passage.text, passage.spans, weights, length, skip=skip)
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
        (query tokens with a span, num_tokens) float32, >= 0. Of a query that the model cannot read,
        a row for each of its words instead, and where they are.

    Raises:
        InvalidInputError: See `explain_match`.
    """
    if query.readable < UNREAD:  # similarities would say nothing
        return word_weights(query.text, passage.text, passage.tokens)
    similarities = similarities_of(query, passage)
    similarities = similarities[[token.span is not None for token in query.tokens]]
    return np.asarray(np.maximum(similarities - similarities.mean(axis=1, keepdims=True), 0))


def best_window(
    text: str,
    spans: NDArray[np.int64],
    weights: NDArray[np.float32],
    length: int,
    *,
    skip: int = 0,
) -> Span:
    """Find the part of a text that shows best why it matched.

    Windows start where a sentence or line does, and at each word of a sentence that is longer
    than they may be. They end where the last sentence does that they hold whole, or at a word
    where that would leave much of their length empty. The best has the largest MaxSim of weights:
    of each row the largest weight inside, or a little less for one before it, summed.

    Args:
        text: The passage's text.
        spans: (num_tokens, 2) int64, where tokens are in it, ascending; negative for those that
            are not, which count as before it.
        weights: (rows, num_tokens) float32, >= 0, for example from `snippet_weights`.
        length: Characters it has at most, >= 1.
        skip: Where the first window starts.

    Returns:
        (start, end) in the text; of equally good windows the first.

    Raises:
        InvalidInputError: length is below 1.
    """
    check_whole_number("length", length)
    if len(text) - skip <= length:
        return skip, len(text)
    shown = spans[:, 0] >= 0
    outside = weights[:, ~shown].max(axis=1, initial=0)
    spans, weights = spans[shown], weights[:, shown]
    # Of the tokens before each, those that are not in the text included.
    columns = np.concatenate([outside[:, None], weights], axis=1)
    before = np.maximum.accumulate(columns, axis=1)
    places, factors = _windows(text, skip, length)
    firsts = np.searchsorted(spans[:, 0], places[:, 0])
    lasts = np.searchsorted(spans[:, 1], places[:, 1], "right")
    inside = _maxima(weights, firsts, np.maximum(lasts, firsts))
    totals = np.maximum(inside, _BEFORE * before.T[firsts]).sum(axis=1)
    best, best_score = (skip, skip + length), -1.0
    for (start, end), score in zip(places.tolist(), (factors * totals).tolist(), strict=True):
        if score > best_score + 1e-6:
            best, best_score = (start, end), score
    return best


def _maxima(
    values: NDArray[np.float32], firsts: NDArray[np.int64], lasts: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the largest value of each row within some ranges of columns, at least 0.

    Args:
        values: (rows, columns) float32.
        firsts: (ranges,) int64, the first column of each range.
        lasts: (ranges,) int64, the column after its last.

    Returns:
        (ranges, rows) float32.
    """
    # The maxima of 1, 2, 4, ... columns from each on: any range is two of them that overlap.
    widths = lasts - firsts
    maxima = np.zeros((len(firsts), len(values)), np.float32)
    run, width = values.T, 1
    while len(widths) and width <= widths.max():
        here = (widths >= width) & (widths < 2 * width)
        maxima[here] = np.maximum(run[firsts[here]], run[lasts[here] - width])
        run, width = np.maximum(run[:-width], run[width:]), 2 * width
    return np.maximum(maxima, 0)


def _windows(text: str, skip: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the parts of a text that may be shown, in order, and what each counts.

    Returns:
        (windows, 2) int64 with starts and ends, and (windows,) float64.
    """
    before, after, kinds = borders(text, skip, len(text))
    close = len(text.rstrip())
    words = np.array([skip, *after.tolist()])
    word_ends = np.array([*before.tolist(), close])
    whole = kinds >= LINE
    starts = [skip, *after[whole].tolist(), close]
    sentence_ends = np.array([*before[whole].tolist(), close])
    windows = [np.array(starts[:-1], np.int64)]
    for start, following in zip(starts, starts[1:], strict=False):
        if following - start > length:
            inner = words[(words > start) & (words < following)]
            windows.append(inner[: 1 + int(np.searchsorted(inner, following - length))])
    firsts = np.concatenate(windows)
    factors = np.where(np.arange(len(firsts)) < len(windows[0]), 1.0, _INSIDE_A_SENTENCE)
    order = np.argsort(firsts, kind="stable")
    order = order[firsts[order] < close]
    firsts, factors = firsts[order], factors[order]
    ends = _last(sentence_ends, firsts, length)
    ends = np.where(ends - firsts < _FILLED * length, _last(word_ends, firsts, length), ends)
    ends = np.where(ends > firsts, ends, np.minimum(firsts + length, close))
    return np.stack([firsts, ends], axis=1), factors


def _last(ends: NDArray[np.int64], starts: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return the last of ascending ends within a length of each start, or the start itself."""
    positions = np.searchsorted(ends, starts + length, "right")
    return np.asarray(np.maximum(starts, np.append(0, ends)[positions]))


def _heading_end(text: str, headings: Sequence[str]) -> int:
    """Return where a text goes on behind the heading it begins with; 0 if it does not."""
    first, _, rest = text.lstrip().partition("\n")
    if not headings or not rest.strip() or _WORD.findall(first) != _WORD.findall(headings[-1]):
        return 0
    return len(text) - len(rest.lstrip())
