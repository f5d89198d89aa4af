"""Files to documents, and an index kept up to date with them."""

from __future__ import annotations
