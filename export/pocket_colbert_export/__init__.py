"""Turns ColBERT checkpoints into model folders for pocket_colbert, with proof."""

from __future__ import annotations

from pocket_colbert.errors import OptionalDependencyError

try:
    import onnx as _onnx  # noqa: F401
    import optimum.exporters.onnx as _optimum  # noqa: F401
    import torch as _torch  # noqa: F401
    import transformers as _transformers  # noqa: F401
except ImportError as error:
    raise OptionalDependencyError.of("pocket_colbert_export", "export") from error

from pocket_colbert_export.distillation import distill
from pocket_colbert_export.errors import (
    CalibrationError,
    CheckpointError,
    DistillationError,
    ExportError,
    ParityError,
)
from pocket_colbert_export.export import export_model
from pocket_colbert_export.training import Distillation

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "Distillation",
    "DistillationError",
    "ExportError",
    "ParityError",
    "distill",
    "export_model",
]
