"""Turns ColBERT checkpoints into model folders for pocket_colbert, with proof.

Public names are imported when they are first used: the command's help needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pocket_colbert.errors import OptionalDependencyError

if TYPE_CHECKING:
    from pocket_colbert_export.distillation.distill import distill
    from pocket_colbert_export.distillation.ranking import Distillation
    from pocket_colbert_export.distillation.shrink import shrink
    from pocket_colbert_export.distillation.token_training import Shrinking
    from pocket_colbert_export.errors import (
        CalibrationError,
        CheckpointError,
        DistillationError,
        ExportError,
        GraphError,
        OutputError,
        ParityError,
        TrainingTextError,
    )
    from pocket_colbert_export.exporter import export_model

__all__ = [
    "CalibrationError",
    "CheckpointError",
    "Distillation",
    "DistillationError",
    "ExportError",
    "GraphError",
    "OutputError",
    "ParityError",
    "Shrinking",
    "TrainingTextError",
    "distill",
    "export_model",
    "shrink",
]

_HOMES = {
    "Distillation": "distillation.ranking",
    "Shrinking": "distillation.token_training",
    "distill": "distillation.distill",
    "export_model": "exporter",
    "shrink": "distillation.shrink",
}
"""The module that defines each public name; the others are in `errors`."""

_REQUIRED = ("torch", "transformers", "onnx", "safetensors")
"""Torch first: without it transformers says so in its own words."""


if not TYPE_CHECKING:  # to type checkers it would say that any name exists

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            for package in _REQUIRED:
                import_module(package)
        except ImportError as error:
            raise OptionalDependencyError.of("pocket_colbert_export", "export") from error
        value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
        globals()[name] = value
        return value
