"""Tests of house."""

from __future__ import annotations
