"""Fewer token vectors a document: arrays in, arrays out.

Three words for three things: a skiplist masks tokens by their id, pruning drops token vectors,
pooling merges them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError


def skiplist_mask(input_ids: NDArray[np.int64], skiplist_ids: Iterable[int]) -> NDArray[np.bool_]:
    """Say which tokens stay: those whose id is not in the skiplist.

    Args:
        input_ids: (num_tokens,) int64.
        skiplist_ids: Token ids to drop.

    Returns:
        (num_tokens,) bool, True to keep.
    """
    return ~np.isin(input_ids, np.fromiter(skiplist_ids, dtype=np.int64))


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
        InvalidInputError: pool_factor or num_protected_tokens is out of range.
    """
    if not 1 <= pool_factor < float("inf"):
        raise InvalidInputError(f"pool_factor must be a finite number >= 1, got {pool_factor}.")
    if num_protected_tokens < 0:
        raise InvalidInputError(f"num_protected_tokens must be >= 0, got {num_protected_tokens}.")
    protected, others = embedding[:num_protected_tokens], embedding[num_protected_tokens:]
    clusters = max(int(len(others) // pool_factor), 1)
    if pool_factor == 1 or clusters >= len(others):
        return embedding
    distances = np.clip(1.0 - others.astype(np.float64) @ others.T.astype(np.float64), 0.0, 2.0)
    labels = cut_tree(ward_linkage(distances), clusters)
    sums = np.zeros((clusters, embedding.shape[1]), dtype=np.float64)
    np.add.at(sums, labels, others)
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.concatenate([protected, means.astype(np.float32)])


def ward_linkage(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cluster hierarchically with Ward's criterion.

    Nearest-neighbour chains (Murtagh 1983; Muellner 2011, arXiv 1109.2378, section 3.2) with the
    Lance-Williams update, so it is exact and quadratic.

    Args:
        distances: (n, n) float64, symmetric, read as Euclidean distances.

    Returns:
        (n - 1, 3) float64, a merge a row in order of height: two of the points that meet (any
        member stands for its cluster) and the height, equal to SciPy's `linkage`.
    """
    squared = np.square(distances)
    n = len(squared)
    np.fill_diagonal(squared, np.inf)
    sizes = np.ones(n)
    merges = np.empty((n - 1, 3))
    chain: list[int] = []
    alive = np.ones(n, dtype=bool)
    for step in range(n - 1):
        if not chain:
            chain.append(int(np.argmax(alive)))
        while True:
            tip = chain[-1]
            nearest = int(np.argmin(squared[tip]))
            # The predecessor wins ties: without this a chain could run in circles.
            if len(chain) > 1 and squared[tip, chain[-2]] <= squared[tip, nearest]:
                nearest = chain[-2]
                break
            chain.append(nearest)
        del chain[-2:]
        low, high = min(tip, nearest), max(tip, nearest)
        height = squared[low, high]
        merges[step] = low, high, np.sqrt(height)
        both = sizes[low] + sizes[high]
        updated = (
            (sizes + sizes[low]) * squared[low]
            + (sizes + sizes[high]) * squared[high]
            - sizes * height
        ) / (sizes + both)
        alive[high] = False
        updated[~alive] = np.inf
        updated[low] = np.inf
        squared[low] = squared[:, low] = updated
        squared[high] = squared[:, high] = np.inf
        sizes[low] = both
    return merges[np.argsort(merges[:, 2], kind="stable")]


def cut_tree(merges: NDArray[np.float64], clusters: int) -> NDArray[np.int64]:
    """Cut a tree of merges into a number of clusters.

    Args:
        merges: (n - 1, 3) float64 from `ward_linkage`.
        clusters: How many are wanted, from 1 to n.

    Returns:
        (n,) int64, the cluster of each point, numbered as SciPy's `fcluster` numbers them: down
        the tree from its root, larger groups before single points, so that pooled documents
        compare with sentence-transformers' row by row.
    """
    n = len(merges) + 1
    children = _tree(merges)
    labels = np.zeros(n, dtype=np.int64)
    if n == 1:
        return labels
    whole = 2 * n - clusters  # nodes from here on are cut apart
    count = 0
    stack: list[tuple[int, int, bool]] = [(2 * n - 2, -1, False)]
    while stack:
        node, leader, visited = stack.pop()
        left, right = children[node - n]
        if not visited:
            if leader < 0 and node < whole:
                leader, count = count, count + 1
            stack.append((node, leader, True))
            stack.extend((child, leader, False) for child in (right, left) if child >= n)
            continue
        for child in (left, right):
            if child < n:
                if leader < 0:
                    labels[child], count = count, count + 1
                else:
                    labels[child] = leader
    return labels


def _tree(merges: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the two children of each merge: points below n, earlier merges from n on."""
    n = len(merges) + 1
    parents = list(range(2 * n - 1))

    def root(node: int) -> int:
        while parents[node] != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    children: list[tuple[int, int]] = []
    for number, (first, second, _) in enumerate(merges.tolist()):
        low, high = sorted((root(int(first)), root(int(second))))
        parents[low] = parents[high] = n + number
        children.append((low, high))
    return children
