"""Scaled products of whole numbers by onnxruntime, several times faster than NumPy's.

`product.onnx` is MatMulInteger, a Transpose, a Cast and a Mul (`export/` makes it, and a test
compares); `product_uint8.onnx` is the same for codes moved up by 128. onnxruntime's integer
kernels were written for quantised models: with VNNI, 8192 x 96 codes times 32 query tokens take
0.14 ms on one core, where float32 NumPy takes 0.5 ms and needs a conversion first, and NumKong's
packed int8 product 0.53 ms. Elsewhere, as on arm64, onnxruntime has kernels of its own.

For the centroids of an inverted file; token vectors of documents go through `int8_maxima.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.vectors.integer_graph import IntegerGraph
from pocket_colbert.vectors.thread_buffers import scratch

Multiply = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]
"""Rows (n, dim) uint8 and scales (n,) float32 to scaled products (query_tokens, n) float32, which
are valid until the next call."""

MakeProduct = Callable[[NDArray[np.int8], int], Multiply]
"""Codes of a query (dim, query_tokens) int8 and a zero point to `Multiply` for one thread."""


class Product:
    """Multiplies codes with one query; for the thread that made it."""

    def __init__(self, codes: NDArray[np.int8], zero_point: int) -> None:
        """Hold a query.

        Args:
            codes: (dim, query_tokens) int8, C-contiguous.
            zero_point: What is subtracted from the rows.
        """
        self._graph = IntegerGraph("product", codes, zero_point)

    def __call__(self, rows: NDArray[np.uint8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Multiply; the whole numbers are exact, and each is then scaled in float32.

        Args:
            rows: (n, dim) uint8, C-contiguous.
            scales: (n,) float32, C-contiguous.

        Returns:
            (query_tokens, n) float32: `((rows - zero_point) @ codes).T * scales`, valid until
            this thread's next call.
        """
        shape = self._graph.query_tokens, len(rows)
        result = scratch("products", shape[0] * shape[1], np.float32).reshape(shape)
        if result.size:
            self._graph.bind("rows", rows)
            self._graph.bind("scales", scales.reshape(1, -1))
            self._graph.bind_output("products", result)
            self._graph.run()
        return result


class ReferenceProduct:
    """Multiplies as `Multiply` says, in plain NumPy."""

    def __init__(self, codes: NDArray[np.int8], zero_point: int) -> None:
        """Hold a query's codes (dim, query_tokens) int8 and what is subtracted from rows."""
        self._codes = codes.astype(np.int32)
        self._zero_point = zero_point

    def __call__(self, rows: NDArray[np.uint8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return `((rows - zero_point) @ codes).T * scales`."""
        levels = rows.astype(np.int32) - self._zero_point
        return (levels @ self._codes).T.astype(np.float32) * scales
