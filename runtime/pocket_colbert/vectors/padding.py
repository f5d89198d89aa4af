"""Rows of different lengths in one array, with as little padding as can be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_LENGTH = 0.5
"""Share of a batch's longest part that its others have at least: a few more runs, less padding."""


def batches_of_like_length(
    lengths: NDArray[np.int64], size: int, tokens: int, least: float = 0.0
) -> list[NDArray[np.int64]]:
    """Put parts of like length into batches.

    Args:
        lengths: (num_parts,) int64, tokens of each part.
        size: Parts of a batch at most.
        tokens: Tokens of a batch at most, padding included.
        least: Share of a batch's longest part that its others have at least.

    Returns:
        Numbers of the parts, a batch an array, the longest first.
    """
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    batches, first = [], 0
    while first < len(order):
        longest = int(falling[first])
        count = max(min(size, tokens // max(longest, 1)), 1)
        alike = np.searchsorted(-falling, -least * longest, side="right") if least else len(order)
        last = min(first + count, int(alike))
        batches.append(order[first:last])
        first = last
    return batches


def pad(rows: Sequence[NDArray[np.int64]], value: int) -> NDArray[np.int64]:
    """Put rows of different lengths into one (len(rows), longest) int64 array."""
    padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return padded
