"""What studies share: data, timing and results."""

from __future__ import annotations
