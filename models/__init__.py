"""The models that ship with pocket-colbert, one folder each."""

from __future__ import annotations
