"""Tests of model."""

from __future__ import annotations
