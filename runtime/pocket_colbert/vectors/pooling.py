"""Token vectors that are alike become one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError


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
    distances = rows @ rows.T
    np.subtract(1.0, distances, out=distances)
    np.clip(distances, 0.0, 2.0, out=distances)
    positions[num_protected_tokens:] = num_protected_tokens + cut_tree(
        ward_tree(distances), clusters
    )
    return positions


def ward_tree(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cluster hierarchically with Ward's criterion.

    Args:
        distances: (n, n) float64, finite, read as Euclidean distances; the upper triangle counts.

    Returns:
        (n - 1, 4) float64, a merge a row in order of height, as SciPy's `linkage` gives it: the
        two nodes that meet, lower first, the height, and the number of points below. Nodes 0 to
        n - 1 are the points, node n + i is merge i.
    """
    if len(distances) < 2:
        return np.empty((0, 4))
    # Here, as it also imports SciPy where that is installed.
    import fastcluster

    above = np.tri(len(distances), k=-1, dtype=bool).T
    return np.asarray(fastcluster.linkage(distances[above], "ward", preserve_input=False))


def cut_tree(tree: NDArray[np.float64], clusters: int) -> NDArray[np.int64]:
    """Cut a tree of merges into a number of clusters.

    Args:
        tree: (n - 1, 4) float64 from `ward_tree`.
        clusters: How many are wanted, from 1 to n.

    Returns:
        (n,) int64, the cluster of each point, numbered as SciPy's `fcluster` numbers them: down
        the tree from its root, larger groups before single points, so that pooled documents
        compare with sentence-transformers' row by row. Where heights are equal there are as many
        clusters as wanted all the same.
    """
    n = len(tree) + 1
    children = tree[:, :2].astype(np.int64).tolist()
    whole = 2 * n - clusters  # nodes from here on are cut apart
    labels = [0] * (2 * n - 1)
    count = 0
    stack = [2 * n - 2]
    while stack:
        node = stack.pop()
        if node < 0:  # a cut node whose groups have their numbers: now its single points
            for child in children[~node - n]:
                if child < n:
                    labels[child], count = count, count + 1
        elif node < whole:
            labels[node], count = count, count + 1
        else:
            left, right = children[node - n]
            stack.append(~node)
            if right >= n:
                stack.append(right)
            if left >= n:
                stack.append(left)
    for node in range(whole - 1, n - 1, -1):
        left, right = children[node - n]
        labels[left] = labels[right] = labels[node]
    return np.array(labels[:n], dtype=np.int64)
