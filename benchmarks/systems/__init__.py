"""Adapters of the systems that are compared."""

from __future__ import annotations
