"""MaxSim: for each query token the best dot product over the document's tokens, summed.

Khattab & Zaharia 2020 (arXiv 2004.12832), section 3.3, equation 3. Two forms: `maxsim*` on
float32 vectors, and `maxsim_codes` on codes, which is what an index holds.

`maxsim_codes` multiplies whole numbers, by onnxruntime (`int8_matmul.py`) or, as the reference, by
NumPy (`ReferenceKernel`). Products of whole numbers are exact either way, and both give the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.ragged import BLOCK_TOKENS, blocks, filled, rows_of
from pocket_colbert.vectors.thread_buffers import scratch

Kernel = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]
"""Rows (n, dim) uint8 and scales (n,) float32 to scaled products (query_tokens, n) float32, which
are valid until the next call."""

MakeKernel = Callable[[NDArray[np.int8], int], Kernel]
"""Codes of a query (dim, query_tokens) int8 and a zero point to a kernel for one thread."""


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
) -> NDArray[np.float32]:
    """Score documents that are written down as codes, end to end in one array.

    Its floor is reading the rows once; the blocks keep everything else in the cache. Products
    have a row a query token, so that maxima run along memory: the other way round `reduceat`
    takes longer than the product.

    Args:
        query: From `Codec.encode_query`.
        codec: What the rows were written with.
        rows: (total_rows, dim) uint8, C-contiguous; may be memory-mapped.
        scales: (total_rows, planes) float16 or float32.
        offsets: (num_documents + 1,) int64, the first row of each document, and the total.
        kernel: `int8_matmul.Product`, or `ReferenceKernel`.
        documents: Numbers of the documents to score, all by default.
        executor: Scores parts in parallel when given.
        threads: How many of its threads to keep busy.

    Returns:
        (len(documents),) float32; -inf for a document without tokens. A document's score does
        not depend on what else is scored.
    """
    dim, planes, zero_point = codec.dim, codec.planes, codec.zero_point
    if documents is not None:
        lengths = offsets[documents + 1] - offsets[documents]
        inner = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    else:
        inner = offsets
    scores = np.full(len(inner) - 1, -np.inf, dtype=np.float32)

    def score(parts: Sequence[tuple[int, int]]) -> None:
        multiply = kernel(query.codes, zero_point)
        for first, last in parts:
            nonempty, starts = filled(inner[first : last + 1])
            if not len(starts):
                continue
            if documents is None:
                block = rows[int(inner[first]) : int(inner[last])]
                block_scales = scales[int(inner[first]) : int(inner[last])]
            else:
                chosen = rows_of(documents[first:last], offsets)
                block = scratch("gathered", len(chosen) * dim, np.uint8)
                block = block.reshape(len(chosen), dim)
                # "clip" only because it lets NumPy write to `block` without another copy.
                np.take(rows, chosen, axis=0, out=block, mode="clip")
                block_scales = np.take(scales, chosen, axis=0)
            if planes > 1:
                out = scratch("unpacked", block.size * planes, np.uint8)
                block = codec.unpack(block, out)
            products = multiply(block, block_scales.T.astype(np.float32).reshape(-1))
            maxima = _maxima(products, starts, planes)
            # A row a document: NumPy adds up a lone column in another order than several.
            terms = np.ascontiguousarray(maxima.T) * query.scales + query.constants
            scores[first:last][nonempty] = terms.sum(axis=1, dtype=np.float32)

    parts = blocks(inner, max(BLOCK_TOKENS // planes, 1))
    if executor is None or threads < 2 or len(parts) < 2:
        score(parts)
    else:
        # A few shares a thread: the last one to finish then holds the others up but a little. For
        # little work one each, as waking a thread takes as long as a block.
        shares = min(len(parts), threads if len(parts) <= 16 * threads else 4 * threads)
        bounds = np.linspace(0, len(parts), shares + 1).astype(int)
        list(executor.map(score, [parts[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]))
    return scores


def _maxima(
    products: NDArray[np.float32], starts: NDArray[np.int64], planes: int
) -> NDArray[np.float32]:
    """Return the best product (query_tokens, documents) of each document, over all planes.

    Planes first: `reduceat` runs with the interpreter locked, the other threads wait for it.
    """
    best = products
    if planes > 1:
        rows = products.shape[1] // planes
        best = scratch("best", len(products) * rows, np.float32).reshape(len(products), rows)
        np.max(products.reshape(len(products), planes, rows), axis=1, out=best)
    return np.asarray(np.maximum.reduceat(best, starts, axis=1))


class ReferenceKernel:
    """Multiplies as `Kernel` says, in plain NumPy."""

    def __init__(self, codes: NDArray[np.int8], zero_point: int) -> None:
        """Hold a query's codes (dim, query_tokens) int8 and what is subtracted from rows."""
        self._codes = codes.astype(np.int32)
        self._zero_point = zero_point

    def __call__(self, rows: NDArray[np.uint8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `((rows - zero_point) @ codes).T * scales`."""
        levels = rows.astype(np.int32) - self._zero_point
        return (levels @ self._codes).T.astype(np.float32) * scales
