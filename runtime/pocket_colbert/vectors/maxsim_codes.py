"""MaxSim: for each query token the best dot product over the document's tokens, summed.

Khattab & Zaharia 2020 (arXiv 2004.12832), section 3.3, equation 3. Two forms: `maxsim*` on
float32 vectors, and `maxsim_codes` on codes, which is what an index holds.

`maxsim_codes` multiplies whole numbers, by onnxruntime (`int8_maxima.py`) or, as the reference, by
NumPy (`ReferenceMaxima`). Products of whole numbers are exact either way, and both give the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.int8_maxima import BLOCK_TOKENS

Kernel = Callable[
    [NDArray[np.uint8], NDArray[Any], NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]
]
"""Rows (n, dim) uint8, scales (n, planes), and where documents start and end, (documents,) int64
each, none of them empty, to the best product of each document with each query token,
(documents, query_tokens) float32."""

MakeKernel = Callable[[QueryCodes, Codec], Kernel]
"""A query and what the rows were written with to a kernel for one thread."""


_BLOCKS_A_SHARE = 16


def maxsim_codes(
    query: QueryCodes,
    codec: Codec,
    rows: NDArray[np.uint8],
    scales: NDArray[Any],
    offsets: NDArray[np.int64],
    *,
    kernel: MakeKernel,
    documents: NDArray[np.int64] | None = None,
    executor: Executor | None = None,
    threads: int = 1,
    similarities: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Score documents that are written down as codes, end to end in one array.

    Its floor is reading the rows once; the blocks keep everything else in the cache.

    Args:
        query: From `Codec.encode_query`.
        codec: What the rows were written with.
        rows: (total_rows, dim) uint8, C-contiguous; may be memory-mapped.
        scales: (total_rows, planes) float16 or float32.
        offsets: (num_documents + 1,) int64, the first row of each document, and the total.
        kernel: `int8_maxima.Maxima`, or `ReferenceMaxima`.
        documents: Numbers of the documents to score, all by default.
        executor: Scores parts in parallel when given.
        threads: How many of its threads to keep busy.
        similarities: (len(documents), query_tokens) float32 to write the terms of each sum to. A
            document without tokens leaves its row as it is.

    Returns:
        (len(documents),) float32; -inf for a document without tokens. A document's score does
        not depend on what else is scored.
    """
    starts, ends = offsets[:-1], offsets[1:]
    if documents is not None:
        starts, ends = starts[documents], ends[documents]
    filled = ends > starts
    scores = np.full(len(starts), -np.inf, dtype=np.float32)
    if not filled.any():
        return scores
    all_filled = bool(filled.all())
    if not all_filled:
        starts, ends = starts[filled], ends[filled]
    sums = scores if all_filled else np.empty(len(starts), np.float32)

    terms = None
    if similarities is not None:
        terms = np.empty((len(starts), len(query.scales)), np.float32)

    def score(first: int, last: int) -> None:
        maxima = kernel(query, codec)(rows, scales, starts[first:last], ends[first:last])
        maxima *= query.scales
        maxima += query.constants
        maxima.sum(axis=1, dtype=np.float32, out=sums[first:last])
        if terms is not None:
            terms[first:last] = maxima

    busy = threads if executor is not None else 1
    bounds = _shares(ends - starts, max(BLOCK_TOKENS // codec.planes, 1), busy)
    if executor is None or threads < 2 or len(bounds) == 2:
        for first, last in pairwise(bounds):
            score(first, last)
    else:
        list(executor.map(score, bounds[:-1], bounds[1:]))
    if not all_filled:
        scores[filled] = sums
    if similarities is not None:
        similarities[filled] = terms
    return scores


def _shares(lengths: NDArray[np.int64], block: int, threads: int) -> list[int]:
    """Share documents out.

    Args:
        lengths: (documents,) rows of each, at least 1.
        block: How many rows are multiplied at a time.
        threads: How many threads work.

    Returns:
        The first document of each share, and the number of documents.
    """
    ends = np.cumsum(lengths)
    blocks = -(-int(ends[-1]) // block)
    # A few shares a thread: the last one to finish then holds the others up but a little. For
    # little work one each, as waking a thread takes as long as a block. No share is so large that
    # its maxima leave the cache.
    shares = min(blocks, threads if blocks <= 16 * threads else 4 * threads)
    shares = max(shares, -(-blocks // _BLOCKS_A_SHARE))
    wanted = np.linspace(0, ends[-1], shares + 1)[1:-1]
    cuts = np.searchsorted(ends, wanted, side="left") + 1
    return sorted({0, *cuts.tolist(), len(lengths)})


class ReferenceMaxima:
    """Multiplies and takes maxima as `Kernel` says, in plain NumPy."""

    def __init__(self, query: QueryCodes, codec: Codec) -> None:
        """Hold a query and what the rows were written with."""
        self._codes = query.codes.astype(np.int32)
        self._codec = codec

    def __call__(
        self,
        rows: NDArray[np.uint8],
        scales: NDArray[Any],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Return the best product of each document with each query token."""
        best = np.empty((len(starts), self._codes.shape[1]), np.float32)
        for n, (start, end) in enumerate(zip(starts, ends, strict=True)):
            levels = self._codec.levels(rows[start:end]).astype(np.int32)
            factors = scales[start:end].T.astype(np.float32).reshape(-1, 1)
            best[n] = ((levels @ self._codes).astype(np.float32) * factors).max(axis=0)
        return best
