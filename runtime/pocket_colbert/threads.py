"""How many cores there are to use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1  # macOS and Windows have no affinity to ask for
