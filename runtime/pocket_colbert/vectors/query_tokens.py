"""Which token vectors of a query matter, and which can be scored as one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError


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


def rarities(token_ids: Sequence[int], commonest: int, vocabulary: int) -> NDArray[np.float32]:
    """Weigh tokens by how rare they are in the text that a vocabulary was made from.

    Vocabularies list their words, or the merges that make them, by frequency.

    Args:
        token_ids: The tokens.
        commonest: Id of the first, most frequent word.
        vocabulary: Tokens of the vocabulary.

    Returns:
        (num_tokens,) float32 from 0.02, of the sixty most frequent words, to 1.
    """
    ranks = np.maximum(np.asarray(token_ids, dtype=np.float64) - commonest + 1, 1)
    least, most = math.log(64), math.log(max(vocabulary - commonest, 128))
    return np.clip((np.log(ranks) - least) / (most - least), 0.02, 1).astype(np.float32)
