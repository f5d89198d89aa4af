"""Writing the model folder and its card."""

from __future__ import annotations
