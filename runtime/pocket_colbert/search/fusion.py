"""Keyword scores and MaxSim as one score."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_RRF = 60
"""Cormack, Clarke & Büttcher 2009 (SIGIR), section 2."""


def fuse(
    maxsim: NDArray[np.float32],
    bm25_scores: NDArray[np.float32],
    method: str,
    keyword_weight: float,
) -> NDArray[np.float32]:
    """Make one score of two, for documents that either search found.

    Args:
        maxsim: (n,) float32; -inf for documents without token vectors.
        bm25_scores: (n,) float32; 0 for documents without any word of the query.
        method: "rrf" or "weighted", see `SearchParameters.hybrid`.
        keyword_weight: See `SearchParameters`.

    Returns:
        (n,) float32, larger is better.
    """
    if method == "rrf":
        by_maxsim = np.where(np.isfinite(maxsim), 1 / (_RRF + _ranks(maxsim)), 0.0)
        by_words = np.where(bm25_scores > 0, 1 / (_RRF + _ranks(bm25_scores)), 0.0)
        return (by_maxsim + by_words).astype(np.float32)
    fused = (1 - keyword_weight) * _scaled(maxsim) + keyword_weight * _scaled(bm25_scores)
    return fused.astype(np.float32)


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return ranks from 1; equal scores share the better one."""
    ordered = np.sort(-scores)
    return (np.searchsorted(ordered, -scores, side="left") + 1).astype(np.float64)


def _scaled(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Scale finite scores to 0 to 1; what has none gets 0."""
    finite = np.isfinite(scores)
    if not finite.any():
        return np.zeros(len(scores))
    low, high = float(scores[finite].min()), float(scores[finite].max())
    scaled = np.where(finite, scores, low).astype(np.float64) - low
    return scaled / (high - low) if high > low else np.where(finite, 1.0, 0.0)
