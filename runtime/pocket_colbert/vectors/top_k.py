"""The best k of many scores, with ties in a stated order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def top_k(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Pick the positions of the k largest scores.

    Args:
        scores: (n,) float32. -inf marks what must not be picked.
        k: How many at most.

    Returns:
        Positions, best first; equal scores in the order of their positions. Fewer than k when
        fewer scores are above -inf.
    """
    if k < len(scores):
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        better = np.flatnonzero(scores > threshold)
        equal = np.flatnonzero(scores == threshold)[: k - len(better)]
        chosen = np.concatenate([better, equal])
        chosen.sort()
    else:
        chosen = np.arange(len(scores))
    chosen = chosen[scores[chosen] > -np.inf]
    order = np.argsort(-scores[chosen], kind="stable")
    return np.asarray(chosen[order], dtype=np.int64)
