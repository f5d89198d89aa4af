"""What lies on disk: files, locks, the manifest, segments and what they hold."""

from __future__ import annotations
