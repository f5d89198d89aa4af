"""Tests of site."""

from __future__ import annotations
