"""MaxSim: for each query token the best dot product over the document's tokens, summed.

Khattab & Zaharia 2020 (arXiv 2004.12832), section 3.3, equation 3. Two forms: `maxsim*` on
float32 vectors, and `maxsim_codes` on int8 codes, which is what an index holds.

`maxsim_codes` has a NumPy form and one through NumKong's packed int8 product. They give the same
bits: a product of int8 codes of at most 1024 dimensions is below 2**24, so float32 arithmetic on
the codes is exact, and all that follows is done once, by the same lines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Literal

import numkong
import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS = 8192
"""Token vectors scored at a time: codes and products of a block stay in a 1 to 2 MB cache."""

Backend = Literal["numkong", "numpy"]


def maxsim(query: NDArray[np.float32], document: NDArray[np.float32]) -> float:
    """Score one document against one query.

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
    for first, last in _blocks(offsets):
        begin, end = int(offsets[first]), int(offsets[last])
        products = tokens[begin:end] @ query.T
        filled, maxima = _segment_maxima(products, offsets[first : last + 1] - begin)
        scores[first:last][filled] = maxima.sum(axis=1, dtype=np.float32)
    return scores


def maxsim_codes(
    query_codes: NDArray[np.int8],
    query_scales: NDArray[np.float32],
    codes: NDArray[np.int8],
    offsets: NDArray[np.int64],
    scales: NDArray[np.float32],
    *,
    backend: Backend = "numkong",
    executor: Executor | None = None,
) -> NDArray[np.float32]:
    """Score int8 documents that lie end to end in one array.

    Its floor is reading `codes` once; the blocks keep everything else in the cache.

    Args:
        query_codes: (query_tokens, dim) int8, from `quantize_rows_int8`.
        query_scales: (query_tokens,) float32.
        codes: (total_tokens, dim) int8, C-contiguous; may be memory-mapped.
        offsets: (num_documents + 1,) int64.
        scales: (num_documents,) float32, from `quantize_int8`.
        backend: "numkong" or "numpy"; the same bits, the first is several times faster.
        executor: Runs the blocks in parallel when given.

    Returns:
        (num_documents,) float32; -inf for a document without tokens.
    """
    scores = np.full(len(offsets) - 1, -np.inf, dtype=np.float32)
    multiply = _numkong_product(query_codes) if backend == "numkong" else _exact(query_codes)

    def score(block: tuple[int, int]) -> None:
        first, last = block
        begin, end = int(offsets[first]), int(offsets[last])
        if begin == end:
            return
        filled, maxima = _segment_maxima(
            multiply(codes[begin:end]), offsets[first : last + 1] - begin
        )
        sums = (maxima.astype(np.float32) * query_scales).sum(axis=1, dtype=np.float32)
        scores[first:last][filled] = sums * scales[first:last][filled]

    blocks = _blocks(offsets)
    if executor is None or len(blocks) < 2:
        for block in blocks:
            score(block)
    else:
        list(executor.map(score, blocks))
    return scores


def _blocks(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Cut documents into runs of about BLOCK_TOKENS; a longer document is a run of its own."""
    blocks: list[tuple[int, int]] = []
    first, num_documents = 0, len(offsets) - 1
    while first < num_documents:
        limit = int(offsets[first]) + BLOCK_TOKENS
        last = int(np.searchsorted(offsets, limit, side="right")) - 1
        last = min(max(last, first + 1), num_documents)
        blocks.append((first, last))
        first = last
    return blocks


def _segment_maxima(
    products: NDArray[Any], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[Any]]:
    """Take the maxima of (tokens, query_tokens) products over each document's rows.

    `reduceat` gives a wrong value for an empty segment, so only filled documents take part; as
    empty ones have no rows, the starts of the others still bound their rows exactly.
    """
    filled = np.diff(offsets) > 0
    return filled, np.maximum.reduceat(products, offsets[:-1][filled], axis=0)


def _numkong_product(
    query_codes: NDArray[np.int8],
) -> Callable[[NDArray[np.int8]], NDArray[np.int32]]:
    packed = numkong.dots_pack(np.ascontiguousarray(query_codes))

    def multiply(block: NDArray[np.int8]) -> NDArray[np.int32]:
        return np.asarray(numkong.dots_packed(block, packed))

    return multiply


def _exact(query_codes: NDArray[np.int8]) -> Callable[[NDArray[np.int8]], NDArray[np.float32]]:
    transposed = query_codes.astype(np.float32).T

    def multiply(block: NDArray[np.int8]) -> NDArray[np.float32]:
        return block.astype(np.float32) @ transposed

    return multiply
