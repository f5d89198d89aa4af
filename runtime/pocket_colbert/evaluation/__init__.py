"""Measure how well a search ranks: metrics on BEIR folders, tuning, and its plot."""

from __future__ import annotations
