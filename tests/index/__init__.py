"""Tests of index."""

from __future__ import annotations
