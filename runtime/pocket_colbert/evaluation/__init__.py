"""How well a search ranks: metrics over BEIR folders, tuning and its plot."""

from __future__ import annotations
