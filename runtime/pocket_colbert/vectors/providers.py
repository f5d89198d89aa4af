"""ONNX graphs on execution providers: on the one that is asked for, or not at all."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import onnxruntime

from pocket_colbert.errors import ModelFormatError, ProviderError
from pocket_colbert.hardware import int8_may_overflow
from pocket_colbert.native_calls import native_calls

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
DEVICE_MEMORY = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
"""onnxruntime's name of the memory that a provider computes in, where it is not the CPU's."""

_GPUS = {
    *DEVICE_MEMORY,
    "DmlExecutionProvider",
    "MIGraphXExecutionProvider",
    "ROCMExecutionProvider",
}

_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    # Without this, float32 products have the 10-bit mantissa of TF32 on recent cards.
    "CUDAExecutionProvider": {"use_tf32": "0"},
}


def available_providers() -> list[str]:
    """Return onnxruntime's names of the providers there are, the preferred one first."""
    return list(onnxruntime.get_available_providers())


def is_gpu(provider: Provider) -> bool:
    """Say whether a provider is one that many texts at a time are for."""
    return name_and_options(provider)[0] in _GPUS


def name_and_options(provider: Provider) -> tuple[str, dict[str, Any]]:
    """Return onnxruntime's name of a provider, and its options with our defaults."""
    name, options = (provider, {}) if isinstance(provider, str) else provider
    name = _SHORT_NAMES.get(name, name)
    return name, {**_DEFAULTS.get(name, {}), **options}


def load_graph(
    path: Path, provider: Provider = "cpu", *, arena: bool = False
) -> onnxruntime.InferenceSession:
    """Load a graph on a provider, and on no other.

    Args:
        path: The ONNX file.
        provider: See `Provider`.
        arena: Keep the CPU memory of a run for the next one. The memory of the longest text is
            then never given back, and runs of a model take a seventh longer; for small graphs
            whose runs are all alike it is faster.

    Returns:
        The session, which uses one thread a run.

    Raises:
        ProviderError: The provider is not available or does not start.
        ModelFormatError: onnxruntime cannot load the file.
    """
    name, options = name_and_options(provider)
    available = available_providers()
    if name not in available:
        raise ProviderError(
            f"execution provider {name!r} is not available; this onnxruntime has "
            f"{', '.join(available)}."
        )
    said = _preload_cuda() if name in DEVICE_MEMORY else ""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 4
    settings.enable_cpu_mem_arena = arena
    if int8_may_overflow():
        settings.add_session_config_entry("session.x64quantprecision", "1")
    # Fused skip-layer-norm is slower on the CPU than the two operators it stands for.
    disabled = ["SkipLayerNormFusion"] if name == "CPUExecutionProvider" else []
    try:
        with native_calls:
            session = onnxruntime.InferenceSession(
                str(path), settings, providers=[(name, options)], disabled_optimizers=disabled,
                enable_fallback=0,
            )  # fmt: skip
    except Exception as error:  # onnxruntime raises its own kinds, RuntimeError and ValueError
        if name != "CPUExecutionProvider":
            load_graph(path, "cpu")  # a graph that is wrong is wrong there too
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


def memory_of(session: onnxruntime.InferenceSession) -> tuple[str, int]:
    """Return onnxruntime's name and number of the memory a session computes in."""
    name = session.get_providers()[0]
    if name not in DEVICE_MEMORY:
        return "cpu", 0
    return DEVICE_MEMORY[name], int(session.get_provider_options()[name].get("device_id", 0))


def graph_error(what: str, error: Exception) -> ProviderError | ModelFormatError:
    """Tell a device that is full from a graph that is wrong."""
    if "alloc" in str(error) or "out of memory" in str(error):
        return ProviderError(f"{what}: out of memory; take smaller batches. {error}.")
    return ModelFormatError(f"{what}: {error}.")
