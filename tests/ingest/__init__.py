"""Tests of ingest."""

from __future__ import annotations
