"""An order in which vectors that are alike lie side by side."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 4


def topical_order(vectors: NDArray[np.float32], group: int) -> NDArray[np.int64]:
    """Order vectors so that a few neighbouring groups hold what a query is about.

    They are halved by two means, and the halves again, down to groups.

    Args:
        vectors: (n, dim) float32.
        group: Vectors of a group at most.

    Returns:
        (n,) int64, their numbers; the same for the same vectors.
    """
    done: list[NDArray[np.int64]] = []
    waiting = [np.arange(len(vectors))]
    while waiting:
        numbers = waiting.pop()
        if len(numbers) <= group:
            done.append(numbers)
        else:
            waiting += reversed(_halves(vectors, numbers))
    return np.concatenate([np.empty(0, np.int64), *done])


def _halves(
    vectors: NDArray[np.float32], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide vectors into two halves of one size by the line along which they differ most."""
    points = vectors[numbers] - vectors[numbers].mean(axis=0)
    # Power iteration from the point that is farthest out.
    line = points[np.square(points).sum(axis=1).argmax()]
    for _ in range(_ROUNDS):
        line = points.T @ (points @ line)
        line = line / max(float(np.linalg.norm(line)), 1e-20)
    ranked = numbers[np.argsort(points @ line, kind="stable")]
    middle = len(ranked) // 2
    return np.sort(ranked[:middle]), np.sort(ranked[middle:])
