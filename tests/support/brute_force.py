"""MaxSim of passages without an index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pocket_colbert import Passage

TOLERANCE = 0.02
"""A query of 3 token vectors is rounded to 8 bits."""


def brute_force(query: np.ndarray, passages: Sequence[Passage]) -> list[float]:
    """Return MaxSim of each passage in float64."""
    return [
        float((query.astype(np.float64) @ item.embedding.T.astype(np.float64)).max(axis=1).sum())
        if len(item.embedding)
        else -np.inf
        for item in passages
    ]
