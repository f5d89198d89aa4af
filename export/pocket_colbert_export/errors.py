"""Every error the exporter raises on purpose.

PocketColbertError (from pocket_colbert)
├── InvalidInputError (from pocket_colbert)
└── ExportError
    ├── CheckpointError
    ├── CalibrationError
    ├── GraphError
    ├── ParityError
    ├── OutputError
    └── DistillationError
        └── TrainingTextError
"""

from __future__ import annotations

from pocket_colbert.errors import PocketColbertError


class ExportError(PocketColbertError):
    """An export or a distillation did not succeed; no model was written."""


class CheckpointError(ExportError):
    """A checkpoint is of an unknown layout or incomplete; the message names file and key."""


class CalibrationError(ExportError):
    """The calibration text cannot be read or is too little."""


class GraphError(ExportError):
    """torch, optimum or onnxruntime cannot make a graph of this architecture."""


class ParityError(ExportError):
    """The exported graph does not compute or rank as the checkpoint does; has the numbers."""


class OutputError(ExportError):
    """The output folder must not be replaced, or cannot be written."""


class DistillationError(ExportError):
    """A student cannot be trained from this teacher, or with these settings."""


class TrainingTextError(DistillationError):
    """The training text cannot be read or is too little."""
