"""Tests of distributed."""

from __future__ import annotations
