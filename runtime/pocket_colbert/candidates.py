"""Which documents are worth an exact MaxSim, judged by the nearest token vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.selection import top_k


def rank_candidates(
    rows: NDArray[np.int64],
    cosines: NDArray[np.float32],
    offsets: NDArray[np.int64],
    limit: int,
) -> NDArray[np.int64]:
    """Rank the documents that own the nearest token vectors by an estimate of MaxSim.

    A document that has no token among the nearest of a query token gets, for that query token,
    the worst cosine that was found for it: no more is possible, and without it documents that
    were found for few query tokens would be judged on different sums (missing similarity
    imputation, XTR, Lee et al. 2023, arXiv 2304.01982, section 4; WARP, arXiv 2501.17788).

    Args:
        rows: (query_tokens, tokens) int64, nearest rows of each query token, -1 for none.
        cosines: (query_tokens, tokens) float32, best first.
        offsets: (num_documents + 1,) int64, the first row of each document.
        limit: How many documents to return at most.

    Returns:
        Document numbers, ascending.
    """
    query_tokens = len(rows)
    found = rows >= 0
    worst = np.where(found, cosines, np.inf).min(axis=1)
    owners = np.searchsorted(offsets, rows[found], side="right") - 1
    token_of = np.broadcast_to(np.arange(query_tokens)[:, None], rows.shape)[found]
    gains = cosines[found] - worst[token_of]
    pairs = owners * query_tokens + token_of
    order = np.lexsort((-gains, pairs))
    pairs, gains = pairs[order], gains[order]
    first = np.ones(len(pairs), dtype=bool)
    first[1:] = pairs[1:] != pairs[:-1]
    documents, position = np.unique(pairs[first] // query_tokens, return_inverse=True)
    if len(documents) > limit:
        estimates = np.bincount(position, weights=gains[first], minlength=len(documents))
        documents = np.sort(documents[top_k(estimates.astype(np.float32), limit)])
    return np.asarray(documents, dtype=np.int64)


def gather_rows(
    documents: NDArray[np.int64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the rows of some documents, end to end.

    Args:
        documents: Document numbers.
        offsets: (num_documents + 1,) int64.

    Returns:
        The row numbers (total,) int64, and offsets (len(documents) + 1,) int64 into them.
    """
    starts, lengths = offsets[documents], offsets[documents + 1] - offsets[documents]
    inner = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    rows = np.arange(inner[-1]) + np.repeat(starts - inner[:-1], lengths)
    return rows, inner
