"""The command `pocket-colbert`."""

from __future__ import annotations
