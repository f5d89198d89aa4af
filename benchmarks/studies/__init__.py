"""The measurements; each module is a command. See README.md."""

from __future__ import annotations
