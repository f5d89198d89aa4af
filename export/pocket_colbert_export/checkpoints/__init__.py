"""Reading checkpoints of every layout."""

from __future__ import annotations
