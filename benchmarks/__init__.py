"""Measurements. See README.md."""

from __future__ import annotations
