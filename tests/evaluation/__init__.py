"""Tests of evaluation."""

from __future__ import annotations
