"""The graph of a model on an execution provider: token ids to token vectors.

Inputs and outputs are bound rather than given and returned where a device has memory of its own,
so that what is big stays there: of a batch's token vectors only those that are kept come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import ModelFormatError
from pocket_colbert.native_calls import native_calls
from pocket_colbert.vectors.providers import (
    DEVICE_MEMORY,
    Provider,
    graph_error,
    load_graph,
    memory_of,
)
from pocket_colbert.vectors.small_graph import SmallGraph

_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}


class Session:
    """One ONNX graph on one execution provider; safe to run from several threads.

    Every run uses one intra-op thread, so what a run computes does not depend on the machine's
    number of cores; the encoder runs several texts side by side instead.
    """

    def __init__(self, path: Path, dim: int, provider: Provider = "cpu") -> None:
        """Load the graph.

        Args:
            path: The ONNX file.
            dim: Width its token vectors must have.
            provider: See `Provider`.

        Raises:
            ProviderError: The provider is not available or does not start. Another is never
                taken in its place.
            ModelFormatError: onnxruntime cannot load the file, or its inputs or outputs are not
                those of a late-interaction graph.
        """
        self._session = load_graph(path, provider)
        self.requested = provider
        self._memory = memory_of(self._session)
        self.provider: str = self._session.get_providers()[0]
        self.dim = dim
        self._check(path, dim)

    def _check(self, path: Path, dim: int) -> None:
        inputs = {item.name: item.type for item in self._session.get_inputs()}
        if not {"input_ids", "attention_mask"} <= set(inputs) <= _INPUTS:
            raise ModelFormatError(
                f"the graph in {path} must take input_ids and attention_mask, "
                f"got inputs {sorted(inputs)}."
            )
        if set(inputs.values()) != {"tensor(int64)"}:
            raise ModelFormatError(f"the graph in {path} must take int64 inputs, got {inputs}.")
        outputs = self._session.get_outputs()
        shape, kind = outputs[0].shape, outputs[0].type
        wrong = len(shape) != 3 or (isinstance(shape[2], int) and shape[2] != dim)
        if wrong or kind != "tensor(float)":
            raise ModelFormatError(
                f"the graph in {path} must give (batch, length, {dim}) float32, got shape {shape}, "
                f"{kind}."
            )
        self._output = outputs[0].name
        self._has_token_types = "token_type_ids" in inputs

    def run(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Run the graph once.

        Args:
            input_ids: (batch, length) int64.
            attention_mask: (batch, length) int64.

        Returns:
            (batch, length, dim) float32, rows of length 1.

        Raises:
            ModelFormatError: The graph fails on these inputs or gives another shape.
            ProviderError: The device has not enough memory.
        """
        feeds = self._feeds(input_ids, attention_mask)
        try:
            with native_calls:
                vectors = self._session.run([self._output], feeds)[0]
        except Exception as error:
            raise graph_error(f"the graph failed on {input_ids.shape}", error) from error
        self._check_shape(vectors.shape, input_ids.shape)
        return np.asarray(vectors, dtype=np.float32)

    def run_rows(
        self,
        input_ids: NDArray[np.int64],
        attention_mask: NDArray[np.int64],
        rows: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Run the graph once and bring back some of its token vectors.

        All of them stay in the memory of the provider's device, where `rows.onnx` picks.

        Args:
            input_ids: (batch, length) int64.
            attention_mask: (batch, length) int64.
            rows: (kept,) int64, row numbers in (batch * length, dim).

        Returns:
            (kept, dim) float32, rows of length 1.

        Raises:
            ModelFormatError: See `run`.
            ProviderError: See `run`.
        """
        if not len(rows):
            return np.empty((0, self.dim), np.float32)
        binding = self._session.io_binding()
        for name, array in self._feeds(input_ids, attention_mask).items():
            binding.bind_cpu_input(name, array)
        binding.bind_output(self._output, *self._memory)
        try:
            with native_calls:
                self._session.run_with_iobinding(binding)
        except Exception as error:
            raise graph_error(f"the graph failed on {input_ids.shape}", error) from error
        (vectors,) = binding.get_outputs()
        self._check_shape(vectors.shape(), input_ids.shape)
        return self._picker.run({"vectors": vectors, "rows": rows})

    @cached_property
    def _picker(self) -> SmallGraph:
        return SmallGraph("rows.onnx", self.requested if self.provider in DEVICE_MEMORY else "cpu")

    def _feeds(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._has_token_types:
            feeds["token_type_ids"] = np.zeros_like(input_ids)
        return feeds

    def _check_shape(self, shape: Sequence[int], inputs: tuple[int, ...]) -> None:
        if tuple(shape) != (*inputs, self.dim):
            raise ModelFormatError(
                f"the graph must give {(*inputs, self.dim)}, got {tuple(shape)}."
            )
