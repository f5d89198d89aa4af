"""Token vectors that are alike become one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.ward import cut_tree, ward_merges


def pool_tokens(
    embedding: NDArray[np.float32], pool_factor: float, num_protected_tokens: int = 1
) -> NDArray[np.float32]:
    """Merge similar token vectors until one in `pool_factor` is left.

    Hierarchical clustering with Ward's criterion on cosine distance (Clavie, Chaffin & Adams
    2024, arXiv 2409.14683, section 2), as sentence-transformers' `HierarchicalTokenPooling`
    does it: the first tokens are left alone, the others are cut into
    `max(num_others // pool_factor, 1)` clusters, each cluster becomes the mean of its vectors,
    normalised.

    Pooling is not idempotent: pooling twice merges twice.

    Args:
        embedding: (num_tokens, dim) float32, unit rows.
        pool_factor: How many token vectors become one on average, >= 1; 1 changes nothing.
        num_protected_tokens: First token vectors that stay as they are, >= 0.

    Returns:
        (kept, dim) float32, unit rows.

    Raises:
        InvalidInputError: pool_factor or num_protected_tokens is out of range, or the embedding
            is not finite.
    """
    labels = pool_labels(embedding, pool_factor, num_protected_tokens)
    if int(labels.max(initial=-1)) + 1 == len(embedding):
        return embedding
    protected = embedding[:num_protected_tokens]
    others = embedding[num_protected_tokens:].astype(np.float64)
    labels = labels[num_protected_tokens:] - len(protected)
    starts = np.concatenate([np.zeros(1, np.int64), np.bincount(labels)[:-1].cumsum()])
    sums = np.add.reduceat(others[np.argsort(labels, kind="stable")], starts, axis=0)
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.concatenate([protected, means.astype(np.float32)])


def pool_labels(
    embedding: NDArray[np.float32], pool_factor: float, num_protected_tokens: int = 1
) -> NDArray[np.int64]:
    """Say which vector of the result of `pool_tokens` each token vector becomes part of.

    Args:
        embedding: See `pool_tokens`.
        pool_factor: See `pool_tokens`.
        num_protected_tokens: See `pool_tokens`.

    Returns:
        (num_tokens,) int64 positions in the result.

    Raises:
        InvalidInputError: See `pool_tokens`.
    """
    if not 1 <= pool_factor < float("inf"):
        raise InvalidInputError(f"pool_factor must be a finite number >= 1, got {pool_factor}.")
    if num_protected_tokens < 0:
        raise InvalidInputError(f"num_protected_tokens must be >= 0, got {num_protected_tokens}.")
    positions = np.arange(len(embedding))
    others = embedding[num_protected_tokens:]
    clusters = max(int(len(others) // pool_factor), 1)
    if pool_factor == 1 or clusters >= len(others):
        return positions
    if not np.isfinite(others).all():
        raise InvalidInputError("embedding must be finite, got NaN or infinity in it.")
    rows = others.astype(np.float64)
    # In place: this is the one large array, and a fresh one costs more than the arithmetic on it.
    squared = rows @ rows.T
    np.subtract(1.0, squared, out=squared)
    np.clip(squared, 0.0, 2.0, out=squared)
    np.square(squared, out=squared)
    positions[num_protected_tokens:] = num_protected_tokens + cut_tree(
        ward_merges(squared), clusters
    )
    return positions
