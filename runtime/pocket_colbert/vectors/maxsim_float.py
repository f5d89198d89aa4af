"""MaxSim of float32 arrays: for each query token the best dot product, summed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.vectors.ragged import BLOCK_TOKENS, blocks, filled


def maxsim(query: NDArray[np.float32], document: NDArray[np.float32]) -> float:
    """Score one document against one query.

    Examples:
        >>> import numpy as np
        >>> from pocket_colbert import maxsim
        >>> query = document = np.eye(2, dtype=np.float32)  # two tokens, both matched
        >>> maxsim(query, document)
        2.0

    Args:
        query: (query_tokens, dim) float32, unit rows.
        document: (num_tokens, dim) float32, unit rows.

    Returns:
        The sum of maxima; -inf when the document has no tokens and the query has some.
    """
    return float(maxsim_pairwise(query, [document])[0])


def maxsim_pairwise(
    query: NDArray[np.float32], documents: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Score several documents against one query.

    Examples:
        >>> import numpy as np
        >>> from pocket_colbert import maxsim_pairwise
        >>> query = np.eye(2, dtype=np.float32)
        >>> maxsim_pairwise(query, [query, query[:1]]).tolist()
        [2.0, 1.0]

    Args:
        query: (query_tokens, dim) float32.
        documents: One (num_tokens_i, dim) float32 array each.

    Returns:
        (len(documents),) float32; -inf for a document without tokens.
    """
    lengths = np.array([len(document) for document in documents], dtype=np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    if not len(documents) or offsets[-1] == 0:
        return np.full(len(documents), -np.inf, dtype=np.float32)
    return maxsim_ragged(query, np.concatenate(list(documents)), offsets)


def maxsim_ragged(
    query: NDArray[np.float32], tokens: NDArray[np.float32], offsets: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Score documents that lie end to end in one array.

    Args:
        query: (query_tokens, dim) float32.
        tokens: (total_tokens, dim) float32, document after document.
        offsets: (num_documents + 1,) int64, where each document starts, and the total.

    Returns:
        (num_documents,) float32; -inf for a document without tokens.
    """
    scores = np.full(len(offsets) - 1, -np.inf, dtype=np.float32)
    for first, last in blocks(offsets, BLOCK_TOKENS):
        begin, end = int(offsets[first]), int(offsets[last])
        nonempty, starts = filled(offsets[first : last + 1])
        if len(starts):
            products = query @ tokens[begin:end].T
            maxima = np.ascontiguousarray(np.maximum.reduceat(products, starts, axis=1).T)
            scores[first:last][nonempty] = maxima.sum(axis=1, dtype=np.float32)
    return scores
