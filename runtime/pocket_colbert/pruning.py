"""Fewer token vectors a text: arrays in, arrays out.

Three words for three things: a skiplist masks tokens by their id, pruning drops token vectors,
pooling merges them. `pool_tokens` and `prune_tokens` make documents smaller, the functions at the
end make queries cheaper. None of them is trained.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError

FEW_PAIRS = 6
"""Below this many merges a round, merging one pair at a time is the faster way."""


def skiplist_mask(input_ids: NDArray[np.int64], skiplist_ids: Iterable[int]) -> NDArray[np.bool_]:
    """Say which tokens stay: those whose id is not in the skiplist.

    Args:
        input_ids: (num_tokens,) int64.
        skiplist_ids: Token ids to drop.

    Returns:
        (num_tokens,) bool, True to keep.
    """
    return ~np.isin(input_ids, np.fromiter(skiplist_ids, dtype=np.int64))


def frequent_token_ids(counts: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Find the most frequent tokens of a collection, for `skiplist_mask` to drop.

    A token that is everywhere tells documents apart the least: without the vectors of the 100
    most frequent BERT tokens an index of MS MARCO is 45 % smaller at little cost (Acquavia,
    Macdonald & Tonellotto 2023, "Static Pruning for Multi-Representation Dense Retrieval",
    DocEng 2023, abstract).

    Args:
        counts: (vocabulary,) int64, how often each token id occurs.
        number: How many at most, >= 0.

    Returns:
        (found,) int64 token ids, most frequent first, equally frequent ones by id. Ids that never
        occur are left out, so there may be fewer than `number`.

    Raises:
        InvalidInputError: number is negative.
    """
    if number < 0:
        raise InvalidInputError(f"number must be >= 0, got {number}.")
    order = np.argsort(-counts, kind="stable")[:number]
    return np.asarray(order[counts[order] > 0], dtype=np.int64)


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
    if not 1 <= pool_factor < float("inf"):
        raise InvalidInputError(f"pool_factor must be a finite number >= 1, got {pool_factor}.")
    if num_protected_tokens < 0:
        raise InvalidInputError(f"num_protected_tokens must be >= 0, got {num_protected_tokens}.")
    protected, others = embedding[:num_protected_tokens], embedding[num_protected_tokens:]
    clusters = max(int(len(others) // pool_factor), 1)
    if pool_factor == 1 or clusters >= len(others):
        return embedding
    if not np.isfinite(others).all():
        raise InvalidInputError("embedding must be finite, got NaN or infinity in it.")
    rows = others.astype(np.float64)
    # In place: this is the one large array, and a fresh one costs more than the arithmetic on it.
    squared = rows @ rows.T
    np.subtract(1.0, squared, out=squared)
    np.clip(squared, 0.0, 2.0, out=squared)
    np.square(squared, out=squared)
    labels = cut_tree(_ward_merges(squared), clusters)
    starts = np.concatenate([np.zeros(1, np.int64), np.bincount(labels)[:-1].cumsum()])
    sums = np.add.reduceat(rows[np.argsort(labels, kind="stable")], starts, axis=0)
    means = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.concatenate([protected, means.astype(np.float32)])


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
    return _ward_merges(np.square(distances))


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


def _ward_merges(squared: NDArray[np.float64]) -> NDArray[np.float64]:
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


def prune_tokens(
    embedding: NDArray[np.float32],
    directions: NDArray[np.float32],
    *,
    keep: float = 1.0,
    max_tokens: int | None = None,
    max_loss: float | None = None,
    num_protected_tokens: int = 0,
) -> NDArray[np.int64]:
    """Choose the token vectors that stay, dropping first what MaxSim misses least.

    A query token sees the best dot product over the document's tokens, so a token matters only
    in the directions where it is the best (its Voronoi cell), and there by its lead over the
    second best. Over a sample of directions the mean of these leads is what its removal costs.
    The cheapest token goes, the costs are updated, and so on (Kankanampati et al. 2026, "A
    Voronoi Cell Formulation for Principled Token Pruning", arXiv 2603.09933). What is nobody's
    best costs nothing; if that held in every direction, not only in the sampled ones, the token
    would be dominated and its removal lossless (Zong & Piwowarski 2025, arXiv 2504.12778).

    `keep` and `max_tokens` say how many may stay and tokens go until that is reached, but never
    so that the loss would exceed `max_loss`. With `max_loss` alone, as many go as it allows.
    Unlike the latter, this counts a negative best dot product as it is, as MaxSim does.

    Args:
        embedding: (num_tokens, dim) float32, unit rows.
        directions: (m, dim) float32, unit rows, m >= 1: a sample of query token vectors.
        keep: The share of token vectors that may stay, above 0 and at most 1; rounded up. 1 sets
            no target.
        max_tokens: How many token vectors may stay, >= 1; None sets no target.
        max_loss: The most that the best dot product may fall, as a mean over the directions and
            in cosine units, >= 0; kept to within float32 rounding. None is no bound.
        num_protected_tokens: First token vectors that always stay, >= 0.

    Returns:
        (kept,) int64 positions, ascending. At least one token stays if there is one. Where costs
        are equal the later token goes first, so of equal tokens the first stays.

    Raises:
        InvalidInputError: An argument is out of range, or the shapes do not fit.
    """
    _check_pruning(embedding, directions, keep, max_tokens, max_loss, num_protected_tokens)
    n = len(embedding)
    target = n
    if keep < 1 or max_tokens is not None:
        # 0.07 * 100 is a little above 7 in floating point, and means 7.
        target = min(int(np.ceil(keep * n - 1e-9)), n if max_tokens is None else max_tokens)
    elif max_loss is not None:
        target = 0
    surplus = n - max(target, num_protected_tokens, 1)
    if surplus <= 0:
        return np.arange(n, dtype=np.int64)
    budget = np.inf if max_loss is None else max_loss * len(directions)
    products = directions @ embedding.T
    return np.flatnonzero(_keep_by_loss(products, num_protected_tokens, surplus, budget))


def _check_pruning(
    embedding: NDArray[np.float32],
    directions: NDArray[np.float32],
    keep: float,
    max_tokens: int | None,
    max_loss: float | None,
    num_protected_tokens: int,
) -> None:
    """Check the arguments of `prune_tokens`."""
    if embedding.ndim != 2 or directions.ndim != 2 or embedding.shape[1] != directions.shape[1]:
        raise InvalidInputError(
            "embedding and directions must be (rows, dim) arrays of one dim, "
            f"got shapes {embedding.shape} and {directions.shape}."
        )
    if len(directions) == 0:
        raise InvalidInputError("directions must have at least one row, got none.")
    if not 0 < keep <= 1:
        raise InvalidInputError(f"keep must be above 0 and at most 1, got {keep}.")
    if max_tokens is not None and max_tokens < 1:
        raise InvalidInputError(f"max_tokens must be >= 1, got {max_tokens}.")
    if max_loss is not None and not max_loss >= 0:
        raise InvalidInputError(f"max_loss must be >= 0, got {max_loss}.")
    if num_protected_tokens < 0:
        raise InvalidInputError(f"num_protected_tokens must be >= 0, got {num_protected_tokens}.")


def _keep_by_loss(
    products: NDArray[np.float32], protected: int, surplus: int, budget: float
) -> NDArray[np.bool_]:
    """Remove up to `surplus` tokens, cheapest first, while the summed loss is within `budget`.

    The result is that of removing one token at a time. Only the directions whose best or second
    best token is removed change, and then the cost of other tokens can only rise. So the cheapest
    tokens may go together up to the first that is best or second best beside one of them.

    Args:
        products: (m, num_tokens) float32, direction by token.
        protected: First tokens that stay.
        surplus: How many tokens may go, fewer than there are.
        budget: The largest loss, summed over the directions.

    Returns:
        (num_tokens,) bool, True for those that stay.
    """
    n = products.shape[1]
    gone = np.zeros(n, dtype=bool)
    best = products.argmax(axis=1)
    second, lead = _runners_up(products, best, gone)
    rank = np.empty(n, dtype=np.int64)
    while surplus > 0:
        costs = np.bincount(best, weights=lead, minlength=n)
        costs[gone] = costs[:protected] = np.inf
        order = n - 1 - np.argsort(costs[::-1], kind="stable")
        rank[order] = np.arange(n)
        apart = int(np.maximum(rank[best], rank[second]).min())
        batch = order[: min(apart, surplus)]
        spent = np.cumsum(costs[batch])
        affordable = int(np.searchsorted(spent, budget, side="right"))
        gone[batch[:affordable]] = True
        surplus -= affordable
        if affordable < len(batch):
            break
        budget -= float(spent[-1])
        if surplus > 0:
            touched = np.flatnonzero(gone[best] | gone[second])
            best[touched] = np.where(gone[best[touched]], second[touched], best[touched])
            second[touched], lead[touched] = _runners_up(
                products.take(touched, 0), best[touched], gone
            )
    return ~gone


def _runners_up(
    products: NDArray[np.float32], best: NDArray[np.int64], gone: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return each direction's second best token (m,) and the lead of the best on it (m,)."""
    directions = np.arange(len(products))
    rest = products + np.where(gone, np.float32(-np.inf), np.float32(0))
    rest[directions, best] = -np.inf
    second = rest.argmax(axis=1)
    lead = products[directions, best].astype(np.float64) - products[directions, second]
    return second, lead


def informative_query_tokens(similarities: NDArray[np.float32], number: int) -> NDArray[np.int64]:
    """Choose the query tokens that find candidates best; the others need only score them.

    Few query tokens suffice to find candidates when they are the rare ones (Tonellotto &
    Macdonald 2021, "Query Embedding Pruning for Dense Retrieval", arXiv 2108.10341, abstract: 3
    of 32, by inverse collection frequency). Vectors carry no frequency, but it shows: what is
    close to much of the collection stands out nowhere. So tokens are ranked by how far their best
    similarity lies above their mean one, in standard deviations.

    Args:
        similarities: (query_tokens, m) float32, dot products with m >= 1 vectors of the
            collection, or with centroids of them.
        number: How many to choose at most, >= 1.

    Returns:
        (chosen,) int64 positions, most informative first, equal ones by position. A token equally
        similar to everything comes last.

    Raises:
        InvalidInputError: number is below 1, or there is nothing to compare with.
    """
    if number < 1:
        raise InvalidInputError(f"number must be >= 1, got {number}.")
    if similarities.ndim != 2 or similarities.shape[1] == 0:
        raise InvalidInputError(
            "similarities must be a (query_tokens, m) array with m >= 1, "
            f"got shape {similarities.shape}."
        )
    above = similarities.max(axis=1) - similarities.mean(axis=1, dtype=np.float64)
    spread = similarities.std(axis=1, dtype=np.float64)
    scores = np.divide(above, spread, out=np.zeros_like(above), where=spread > 0)
    return np.argsort(-scores, kind="stable")[:number].astype(np.int64)


def merge_duplicate_query_tokens(
    query: NDArray[np.float32], tolerance: float = 0.0
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Let one vector stand for several equal ones, as [MASK] expansion tends to make them.

    The sum of `weights * maxima` over the vectors returned replaces the sum of maxima over all
    query tokens. Exact duplicates change nothing but the rounding of the sum. In general, with
    document rows of length at most 1, each of the `len(query) - len(unique)` vectors left out
    changes it by at most `tolerance`: the maximum of dot products moves by no more than its query
    vector does (Cauchy-Schwarz).

    Args:
        query: (query_tokens, dim) float32.
        tolerance: The Euclidean distance up to which vectors count as equal, >= 0.

    Returns:
        The vectors that stay (unique, dim) float32, unchanged and in order, and how many each
        stands for (unique,) float32. A vector joins the first that is near enough.

    Raises:
        InvalidInputError: tolerance is negative or not a number.
    """
    if not tolerance >= 0:
        raise InvalidInputError(f"tolerance must be >= 0, got {tolerance}.")
    rows = query.astype(np.float64)
    free = np.ones(len(rows), dtype=bool)
    leaders: list[int] = []
    weights: list[int] = []
    for position in range(len(rows)):
        if free[position]:
            near = free & (np.linalg.norm(rows - rows[position], axis=1) <= tolerance)
            free &= ~near
            leaders.append(position)
            weights.append(int(near.sum()))
    return query[leaders], np.array(weights, dtype=np.float32)
