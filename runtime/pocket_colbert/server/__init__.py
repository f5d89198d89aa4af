"""`pocket-colbert serve`: one index over HTTP, and a page to search it with."""

from __future__ import annotations
