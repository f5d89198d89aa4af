"""Graphs on execution providers: token ids to token vectors, and the little graphs beside it.

Inputs and outputs are bound rather than given and returned where a device has memory of its own,
so that what is big stays there: of a batch's token vectors only those that are kept come back.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from pocket_colbert.errors import ModelFormatError, ProviderError
from pocket_colbert.hardware import int8_may_overflow

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
_MEMORY = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
"""onnxruntime's name of the memory that a provider computes in, where it is not the CPU's."""

_GPUS = {*_MEMORY, "DmlExecutionProvider", "MIGraphXExecutionProvider", "ROCMExecutionProvider"}

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # Without this, float32 products have the 10-bit mantissa of TF32 on recent cards.
    "CUDAExecutionProvider": {"use_tf32": "0"},
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
        self._session = _start(path, provider)
        self._provider = provider
        self._memory = _memory_of(self._session)
        self.provider = self._session.get_providers()[0]
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
            vectors = self._session.run([self._output], feeds)[0]
        except Exception as error:
            raise _failure(f"the graph failed on {input_ids.shape}", error) from error
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
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise _failure(f"the graph failed on {input_ids.shape}", error) from error
        (vectors,) = binding.get_outputs()
        self._check_shape(vectors.shape(), input_ids.shape)
        return self._picker.run({"vectors": vectors, "rows": rows})

    @cached_property
    def _picker(self) -> SmallGraph:
        return SmallGraph("rows.onnx", self._provider if self.provider in _MEMORY else "cpu")

    def _feeds(
        self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]
    ) -> dict[str, NDArray[np.int64]]:
        feeds = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._has_token_types:
            feeds["token_type_ids"] = np.zeros_like(input_ids)
        return feeds

    def _check_shape(self, found: Sequence[int], inputs: tuple[int, ...]) -> None:
        if tuple(found) != (*inputs, self.dim):
            raise ModelFormatError(
                f"the graph must give {(*inputs, self.dim)}, got {tuple(found)}."
            )


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
        full_name, options = _name_and_options(provider)
        if full_name == "TensorrtExecutionProvider":  # it would build an engine for every shape
            provider = "cuda", {key: options[key] for key in ("device_id",) if key in options}
        self._session = _start(
            Path(__file__).parents[1] / "vectors" / "onnx_graphs" / name, provider
        )
        self._memory = _memory_of(self._session)
        self.provider = self._session.get_providers()[0]
        self._output = self._session.get_outputs()[0].name

    def put(self, array: NDArray[Any]) -> Any:
        """Copy an array to the device's memory; `run` takes what is returned in its place."""
        try:
            return onnxruntime.OrtValue.ortvalue_from_numpy(array, *self._memory)
        except Exception as error:
            raise _failure(f"{array.nbytes} bytes cannot be put on the device", error) from error

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
            self._session.run_with_iobinding(binding)
        except Exception as error:
            raise ProviderError(f"{self.provider} failed: {error}.") from error
        return np.asarray(binding.copy_outputs_to_cpu()[0])


def is_gpu(provider: Provider) -> bool:
    """Say whether a provider is one that many texts at a time are for."""
    return _name_and_options(provider)[0] in _GPUS


def _name_and_options(provider: Provider) -> tuple[str, dict[str, Any]]:
    name, options = (provider, {}) if isinstance(provider, str) else provider
    name = _SHORT_NAMES.get(name, name)
    return name, {**_DEFAULTS.get(name, {}), **options}


def _start(path: Path, provider: Provider) -> onnxruntime.InferenceSession:
    """Load a graph on a provider, and on no other."""
    name, options = _name_and_options(provider)
    available = onnxruntime.get_available_providers()
    if name not in available:
        raise ProviderError(
            f"execution provider {name!r} is not available; this onnxruntime has "
            f"{', '.join(available)}."
        )
    said = _preload_cuda() if name in _MEMORY else ""
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
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=[(name, options)], disabled_optimizers=disabled,
            enable_fallback=0,
        )  # fmt: skip
    except Exception as error:  # onnxruntime raises its own kinds, RuntimeError and ValueError
        if name != "CPUExecutionProvider":
            _start(path, "cpu")  # a graph that is wrong is wrong there too
            raise ProviderError(f"{name!r} cannot load {path}: {error}. {said}".strip()) from error
        raise ModelFormatError(f"onnxruntime cannot load {path}: {error}.") from error
    if name not in session.get_providers():
        raise ProviderError(f"execution provider {name!r} did not start for {path}. {said}".strip())
    return session


@cache
def _preload_cuda() -> str:
    """Load CUDA's libraries from pip's packages; return what could not be loaded."""
    preload = getattr(onnxruntime, "preload_dlls", None)  # since onnxruntime 1.21
    if preload is None:
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints what it cannot load
        preload()
    return " ".join(said.getvalue().split())


def _memory_of(session: onnxruntime.InferenceSession) -> tuple[str, int]:
    """Return onnxruntime's name and number of the memory a session computes in."""
    name = session.get_providers()[0]
    if name not in _MEMORY:
        return "cpu", 0
    return _MEMORY[name], int(session.get_provider_options()[name].get("device_id", 0))


def _failure(what: str, error: Exception) -> ProviderError | ModelFormatError:
    """Tell a device that is full from a graph that is wrong."""
    if "alloc" in str(error) or "out of memory" in str(error):
        return ProviderError(f"{what}: out of memory; take smaller batches. {error}.")
    return ModelFormatError(f"{what}: {error}.")


def pad(rows: Sequence[NDArray[np.int64]], value: int) -> NDArray[np.int64]:
    """Put rows of different lengths into one (len(rows), longest) int64 array."""
    padded = np.full((len(rows), max(len(row) for row in rows)), value, dtype=np.int64)
    for position, row in enumerate(rows):
        padded[position, : len(row)] = row
    return padded
