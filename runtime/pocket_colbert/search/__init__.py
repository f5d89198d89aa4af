"""One query over segments: scores, keywords, fusion, explanations and snippets."""

from __future__ import annotations
