"""Hierarchical clustering with Ward's criterion: arrays in, arrays out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEW_PAIRS = 6
"""Below this many merges a round, merging one pair at a time is the faster way."""


def ward_linkage(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cluster hierarchically with Ward's criterion.

    Exact: Ward's distances are reducible, so all pairs of clusters that are each other's nearest
    may merge in any order, and so at once (Bruynooghe 1977; Murtagh 1983; Muellner 2011, arXiv
    1109.2378, section 3). Distances follow by the update of Lance & Williams (1967).

    Args:
        distances: (n, n) float64, finite, symmetric, read as Euclidean distances.

    Returns:
        (n - 1, 3) float64, a merge a row in order of height: the first points of the two
        clusters that meet, lower first, and the height, equal to SciPy's `linkage`.
    """
    return ward_merges(np.square(distances))


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


def _tree(merges: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the two children of each merge: points below n, earlier merges from n on."""
    n = len(merges) + 1
    # Where rounding puts a merge before one it builds on, a plain table of the latest node of
    # each cluster would go wrong; following parents does not.
    parents = list(range(2 * n - 1))
    children: list[tuple[int, int]] = []
    firsts, seconds = merges[:, :2].astype(np.int64).T.tolist()
    for node, (first, second) in enumerate(zip(firsts, seconds, strict=True), n):
        while parents[first] != first:
            parents[first] = first = parents[parents[first]]
        while parents[second] != second:
            parents[second] = second = parents[parents[second]]
        parents[first] = parents[second] = node
        children.append((first, second) if first < second else (second, first))
    return children


def ward_merges(squared: NDArray[np.float64]) -> NDArray[np.float64]:
    """Do the work of `ward_linkage` on (n, n) squared distances, which are overwritten."""
    np.fill_diagonal(squared, np.inf)
    points, sizes = np.arange(len(squared)), np.ones(len(squared))
    merges = []
    while len(points):
        nearest = squared.argmin(axis=1)
        numbers = np.arange(len(points))
        low = np.flatnonzero((nearest[nearest] == numbers) & (numbers < nearest))
        # Also the way out where ties or rounding leave no pair at all.
        if len(low) < FEW_PAIRS:
            break
        high = nearest[low]
        merges.append((points[low], points[high], squared[low, high]))
        _merge_pairs(squared, sizes, low, high)
        points[high] = -1
        if 2 * np.count_nonzero(points >= 0) <= len(points):
            squared, points, sizes = _compact(squared, points, sizes)
    merges.append(_merge_closest(squared, points, sizes))
    firsts, seconds, heights = (np.concatenate(column) for column in zip(*merges, strict=True))
    order = np.argsort(heights, kind="stable")
    return np.stack([firsts, seconds, np.sqrt(np.maximum(heights, 0.0))], axis=1)[order]


def _merge_pairs(
    squared: NDArray[np.float64],
    sizes: NDArray[np.float64],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
) -> None:
    """Merge clusters `high` into clusters `low`, pair by pair, all at once and in place."""
    height = squared[low, high][:, None]
    first, second = sizes[low][:, None], sizes[high][:, None]
    both = first + second
    rows = _lance_williams(
        squared.take(low, 0), squared.take(high, 0), height, first, second, sizes
    )
    # Between two merged pairs both merges count: the rows are updated, now their columns. Rounding
    # depends on which came first, so the square is made symmetric again.
    square = _lance_williams(
        rows.take(low, 1), rows.take(high, 1), height.T, first.T, second.T, both
    )
    square = np.maximum(square, square.T)
    np.fill_diagonal(square, np.inf)
    rows[:, low] = square
    squared[low], squared[:, low] = rows, rows.T
    squared[high], squared[:, high] = np.inf, np.inf
    sizes[low] = both[:, 0]


def _merge_closest(
    squared: NDArray[np.float64], points: NDArray[np.int64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Merge the closest two clusters until one is left; a point of -1 marks one that is gone."""
    lows, highs, heights = [], [], []
    for left in range(np.count_nonzero(points >= 0), 1, -1):
        if 2 * left <= len(points):
            squared, points, sizes = _compact(squared, points, sizes)
        low, high = divmod(int(squared.argmin()), len(points))
        height = squared[low, high]
        lows.append(points[low])
        highs.append(points[high])
        heights.append(height)
        row = _lance_williams(squared[low], squared[high], height, sizes[low], sizes[high], sizes)
        row[low] = np.inf
        squared[low], squared[:, low] = row, row
        squared[high], squared[:, high] = np.inf, np.inf
        sizes[low] += sizes[high]
        points[high] = -1
    return np.array(lows, np.int64), np.array(highs, np.int64), np.array(heights, np.float64)


def _lance_williams(
    to_first: NDArray[np.float64],
    to_second: NDArray[np.float64],
    height: NDArray[np.float64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    sizes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return squared Ward distances to the union of two clusters."""
    updated = to_first + to_second
    updated -= height
    updated *= sizes
    updated += to_first * first
    updated += to_second * second
    updated /= sizes + (first + second)
    return updated


def _compact(
    squared: NDArray[np.float64], points: NDArray[np.int64], sizes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Leave out the clusters that are gone."""
    alive = np.flatnonzero(points >= 0)
    return squared.take(alive, 0).take(alive, 1), points[alive], sizes[alive]
