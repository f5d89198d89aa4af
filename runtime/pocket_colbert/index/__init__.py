"""The living index: reading, writing, merging and combining it."""

from __future__ import annotations
