"""The small graphs beside this file, on any execution provider.

Inputs and outputs are bound rather than given and returned where a device has memory of its own,
so that what is big stays there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocket_colbert.errors import ProviderError
from pocket_colbert.native_calls import native_calls
from pocket_colbert.vectors.providers import (
    Provider,
    graph_error,
    load_graph,
    memory_of,
    name_and_options,
)


def small_graph_path(name: str) -> Path:
    """Return the path of a graph that this package carries."""
    return Path(__file__).parent / "onnx_graphs" / name


class SmallGraph:
    """One of the little graphs beside this file, on a provider; safe to run from several threads.

    Attributes:
        provider: onnxruntime's name of the provider.
    """

    def __init__(self, name: str, provider: Provider = "cpu") -> None:
        """Load a graph.

        Args:
            name: Its file name.
            provider: See `Provider`.

        Raises:
            ProviderError: See `Session`.
        """
        full_name, options = name_and_options(provider)
        if full_name == "TensorrtExecutionProvider":  # it would build an engine for every shape
            provider = "cuda", {key: options[key] for key in ("device_id",) if key in options}
        self._session = load_graph(small_graph_path(name), provider)
        self._memory = memory_of(self._session)
        self.provider: str = self._session.get_providers()[0]
        self._output = self._session.get_outputs()[0].name

    def put(self, array: NDArray[Any]) -> Any:
        """Copy an array to the device's memory; `run` takes what is returned in its place."""
        try:
            with native_calls:
                return onnxruntime.OrtValue.ortvalue_from_numpy(array, *self._memory)
        except Exception as error:
            raise graph_error(f"{array.nbytes} bytes cannot be put on the device", error) from error

    def run(self, inputs: Mapping[str, Any]) -> NDArray[np.float32]:
        """Run the graph once.

        Args:
            inputs: Arrays, or what `put` or another graph's run left on the device, by name.

        Returns:
            The output, in the CPU's memory.

        Raises:
            ProviderError: The device has not enough memory, or fails.
        """
        binding = self._session.io_binding()
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                binding.bind_cpu_input(name, value)
            else:
                binding.bind_ortvalue_input(name, value)
        binding.bind_output(self._output)
        try:
            with native_calls:
                self._session.run_with_iobinding(binding)
        except Exception as error:
            raise ProviderError(f"{self.provider} failed: {error}.") from error
        return np.asarray(binding.copy_outputs_to_cpu()[0])
