"""Every error the exporter raises on purpose.

PocketColbertError (from pocket_colbert)
└── ExportError
    ├── CheckpointError
    ├── ParityError
    ├── CalibrationError
    └── DistillationError
"""

from __future__ import annotations

from pocket_colbert.errors import PocketColbertError


class ExportError(PocketColbertError):
    """An export did not succeed; nothing was written."""


class CheckpointError(ExportError):
    """A checkpoint is of an unknown layout or incomplete; the message names file and key."""


class ParityError(ExportError):
    """The exported graph does not compute or rank as the checkpoint does; has the numbers."""


class CalibrationError(ExportError):
    """The calibration text cannot be read or is too little."""


class DistillationError(ExportError):
    """A student cannot be trained from this teacher, text or with these settings."""
