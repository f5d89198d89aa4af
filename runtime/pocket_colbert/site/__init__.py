"""Static sites that search in the reader's browser, without a server."""

from __future__ import annotations
