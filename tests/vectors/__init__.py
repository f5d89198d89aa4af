"""Tests of vectors."""

from __future__ import annotations
