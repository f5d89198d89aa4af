"""Token ids to token vectors. The only importer of `onnxruntime`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocket_colbert.cpu import int8_may_overflow
from pocket_colbert.errors import ModelFormatError, ProviderError

Provider = str | tuple[str, Mapping[str, Any]]
"""An execution provider: "cpu", "cuda", any of onnxruntime's names, or a (name, options) pair."""

_SHORT_NAMES = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
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
        name, options = (provider, {}) if isinstance(provider, str) else provider
        name = _SHORT_NAMES.get(name, name)
        available = onnxruntime.get_available_providers()
        if name not in available:
            raise ProviderError(
                f"execution provider {name!r} is not available; this onnxruntime has "
                f"{', '.join(available)}."
            )
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4
        # The arena never gives back what the longest text took, and costs a seventh of the time.
        settings.enable_cpu_mem_arena = False
        if int8_may_overflow():
            settings.add_session_config_entry("session.x64quantprecision", "1")
        # Fused skip-layer-norm is slower on the CPU than the two operators it stands for.
        disabled = ["SkipLayerNormFusion"] if name == "CPUExecutionProvider" else []
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                settings,
                providers=[(name, dict(options))],
                disabled_optimizers=disabled,
            )
        except Exception as error:  # onnxruntime raises its own kinds, RuntimeError and ValueError
            raise ModelFormatError(f"onnxruntime cannot load {path}: {error}.") from error
        if name not in self._session.get_providers():
            raise ProviderError(f"execution provider {name!r} did not start for {path}.")
        self.provider = name
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
        shape = outputs[0].shape
        if len(shape) != 3 or (isinstance(shape[2], int) and shape[2] != dim):
            raise ModelFormatError(
                f"the graph in {path} must give (batch, length, {dim}) float32, got shape {shape}."
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
        """
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._has_token_types:
            feeds["token_type_ids"] = np.zeros_like(input_ids)
        try:
            vectors = self._session.run([self._output], feeds)[0]
        except Exception as error:
            raise ModelFormatError(f"the graph failed on {input_ids.shape}: {error}.") from error
        if vectors.shape != (*input_ids.shape, self.dim):
            raise ModelFormatError(
                f"the graph must give {(*input_ids.shape, self.dim)}, got {vectors.shape}."
            )
        return np.asarray(vectors, dtype=np.float32)


def pad(rows: Sequence[NDArray[np.int64]], value: int) -> NDArray[np.int64]:
    """Put rows of different lengths into one (len(rows), longest) int64 array."""
    padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return padded
