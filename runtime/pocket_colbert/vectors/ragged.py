"""Documents laid end to end in one array: blocks of them, their rows, and empty ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS = 8192
"""Token vectors multiplied at a time: codes and products stay near a 1 to 2 MB cache, and there
is little Python between the products."""


def blocks(offsets: NDArray[np.int64], size: int) -> list[tuple[int, int]]:
    """Cut documents into runs of at most `size` rows; a longer document is a run of its own."""
    parts: list[tuple[int, int]] = []
    first, num_documents = 0, len(offsets) - 1
    while first < num_documents:
        limit = int(offsets[first]) + size
        last = int(np.searchsorted(offsets, limit, side="right")) - 1
        last = min(max(last, first + 1), num_documents)
        parts.append((first, last))
        first = last
    return parts


def rows_of(documents: NDArray[np.int64], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the rows of some documents, end to end.

    Args:
        documents: Document numbers.
        offsets: (num_documents + 1,) int64, the first row of each.

    Returns:
        Row numbers, (total,) int64.
    """
    return rows_between(offsets[documents], offsets[documents + 1])


def rows_between(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """List the rows from each start to its end, end to end.

    Args:
        starts: (n,) first rows.
        ends: (n,) the rows after the last.

    Returns:
        Row numbers, (total,) int64.
    """
    lengths = ends - starts
    after = np.cumsum(lengths)
    count = int(after[-1]) if len(after) else 0
    return np.asarray(np.arange(count) + np.repeat(starts - after + lengths, lengths))


def filled(offsets: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Say which documents have rows, and where those start, from the first.

    `reduceat` gives a wrong value for an empty segment, so only filled documents take part; as
    empty ones have no rows, the starts of the others still bound their rows exactly.
    """
    filled = np.diff(offsets) > 0
    return filled, offsets[:-1][filled] - offsets[0]
