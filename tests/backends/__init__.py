"""Tests of backends."""

from __future__ import annotations
