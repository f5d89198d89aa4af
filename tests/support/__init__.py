"""What tests share beside fixtures."""

from __future__ import annotations
