"""Tests of export."""

from __future__ import annotations
