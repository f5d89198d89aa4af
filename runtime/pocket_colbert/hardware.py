"""What this machine's processor offers."""

from __future__ import annotations

import os
import platform

_VNNI = ("icelake", "alder", "sierra", "genoa", "turin", "sapphire", "diamond")
"""NumKong's names for the x86 families whose int8 products add up in 32 bits."""


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1  # macOS and Windows have no affinity to ask for


def int8_may_overflow() -> bool:
    """Say whether this is an x86 processor that adds products of int8 in 16 bits.

    Without VNNI, onnxruntime's fast kernel multiplies pairs and adds them in 16 bits, which 8-bit
    weights can overflow; 32 bits are exact, and slower. Arm processors always use 32.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    import numkong  # here, as a process that only manages an index need not load it

    capabilities = numkong.get_capabilities()
    return not any(capabilities.get(name, False) for name in _VNNI)
