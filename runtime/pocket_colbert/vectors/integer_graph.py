"""A small graph of onnxruntime that multiplies codes with one query, in whole numbers."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocket_colbert.hardware import int8_may_overflow
from pocket_colbert.native_calls import native_calls
from pocket_colbert.vectors.providers import load_graph
from pocket_colbert.vectors.small_graph import small_graph_path

_EIGHT_BITS = 128
"""The zero point of 8-bit codes."""


class IntegerGraph:
    """One of the graphs of integer products with a query bound to it; for the thread that made it.

    Attributes:
        query_tokens: Number of query tokens.
    """

    def __init__(self, name: str, codes: NDArray[np.int8], zero_point: int) -> None:
        """Hold a query.

        Args:
            name: The graph's file without its ending; `NAME_uint8.onnx` takes codes moved up by
                128.
            codes: (dim, query_tokens) int8, C-contiguous.
            zero_point: What is subtracted from the rows.
        """
        self.query_tokens: int = codes.shape[1]
        self._zero_point = np.array(zero_point, np.uint8)
        # uint8 by int8 adds pairs of products in 16 bits on x86 without VNNI, which 8-bit codes can
        # overflow; uint8 by uint8 never does. (onnxruntime's session.x64quantprecision acts on
        # constant weights only.)
        unsigned = zero_point == _EIGHT_BITS and int8_may_overflow()
        self._codes = (codes + np.int16(_EIGHT_BITS)).astype(np.uint8) if unsigned else codes
        self._session = _session(f"{name}_uint8.onnx" if unsigned else f"{name}.onnx")
        # Bound to buffers rather than given and returned, see `scratch`.
        self._binding = self._session.io_binding()
        self.bind("codes", self._codes)
        self.bind("zero_point", self._zero_point)

    def bind(self, name: str, array: NDArray[np.generic]) -> None:
        """Let an input be read from an array, which the caller keeps until the run is over."""
        # By its address, as `bind_cpu_input` copies.
        self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def bind_output(self, name: str, array: NDArray[np.float32]) -> None:
        """Let an output be written to an array, which must have its shape."""
        self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run(self) -> None:
        """Run the graph, without the interpreter's lock."""
        with native_calls:
            self._session.run_with_iobinding(self._binding)


@cache
def _session(name: str) -> onnxruntime.InferenceSession:
    return load_graph(small_graph_path(name), arena=True)
