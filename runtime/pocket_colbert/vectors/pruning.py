"""Fewer token vectors a text: arrays in, arrays out.

Three words for three things: a skiplist masks tokens by their id, pruning drops token vectors,
pooling merges them. `apply_pruning` does all three, as a `Pruning` says. None of them is trained.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import Pruning
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.pooling import pool_tokens


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
        (n,) int64 token ids, most frequent first, equally frequent ones by id. Ids that never
        occur are left out, so there may be fewer than `number`.

    Raises:
        InvalidInputError: number is negative.
    """
    if number < 0:
        raise InvalidInputError(f"number must be >= 0, got {number}.")
    order = np.argsort(-counts, kind="stable")[:number]
    return np.asarray(order[counts[order] > 0], dtype=np.int64)


def first_components(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Cut vectors to their first components, and to length 1 again.

    Args:
        vectors: (..., width) float32, unit rows.
        dim: How many components stay.

    Returns:
        (..., dim) float32, unit rows; `vectors` itself when that is all of it.
    """
    if dim == vectors.shape[-1]:
        return vectors
    kept = vectors[..., :dim]
    norms = np.maximum(np.linalg.norm(kept, axis=-1, keepdims=True), 1e-12)
    return np.asarray(kept / norms, dtype=np.float32)


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


def drop_tokens(embedding: NDArray[np.float32], pruning: Pruning) -> NDArray[np.float32]:
    """Drop a document's least important token vectors, as a `Pruning` says.

    The directions tried are the document's own token vectors: queries that look for what it says.
    On cranfield, keeping half with them leaves 92 % of the first 10 the same; with the token
    vectors of everyday queries 68 %, with those of other documents 64 %, at random 62 %
    (`benchmarks/README.md`): what a document has to offer is missed only by who asks for it.

    Args:
        embedding: (num_tokens, dim) float32, unit rows.
        pruning: `keep`, `max_tokens`, `max_loss` and `num_protected_tokens` count here.

    Returns:
        (kept, dim) float32, in order.
    """
    if not pruning.drops or not len(embedding):
        return embedding
    positions = prune_tokens(
        embedding,
        embedding,
        keep=pruning.keep,
        max_tokens=pruning.max_tokens,
        max_loss=pruning.max_loss,
        num_protected_tokens=pruning.num_protected_tokens,
    )
    return embedding[positions]


def apply_pruning(
    embedding: NDArray[np.float32],
    token_ids: NDArray[np.int64],
    pruning: Pruning,
    *,
    model_pool_factor: float = 1.0,
    model_protected_tokens: int = 1,
) -> NDArray[np.float32]:
    """Prune a document's token vectors: skiplist, the model's own pooling, dropping, pooling.

    Args:
        embedding: (num_tokens, dim) float32, unit rows, as the model gives them.
        token_ids: (num_tokens,) int64.
        pruning: What to do.
        model_pool_factor: How many token vectors the model's recipe makes one of.
        model_protected_tokens: First token vectors that the model's own pooling leaves alone.

    Returns:
        (kept, dim) float32, unit rows; `embedding` itself when all of it stays.
    """
    if pruning.skiplist_ids:
        stays = skiplist_mask(token_ids, pruning.skiplist_ids)
        stays[: pruning.num_protected_tokens] = True
        embedding = embedding[stays]
    embedding = pool_tokens(embedding, model_pool_factor, model_protected_tokens)
    embedding = drop_tokens(embedding, pruning)
    return pool_tokens(embedding, pruning.pool_factor, pruning.num_protected_tokens)


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
