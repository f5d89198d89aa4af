"""Commands that make golden data or run long attacks."""

from __future__ import annotations
