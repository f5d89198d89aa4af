"""Teaching a smaller model what a larger one knows."""

from __future__ import annotations
