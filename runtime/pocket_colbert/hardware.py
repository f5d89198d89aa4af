"""What this machine's processor offers."""

from __future__ import annotations

import os
import platform

_VNNI = ("icelake", "alder", "sierra", "genoa", "turin", "sapphire", "diamond")
"""NumKong's names for the x86 families whose int8 products add up in 32 bits."""


_FEATURES = {
    "AVX2": ("haswell",),
    "AVX-512": ("skylake",),
    "VNNI": _VNNI,
    "AMX": ("sapphireamx", "graniteamx"),
    "NEON": ("neon",),
    "NEON dot products": ("neonsdot",),
    "SVE": ("sve",),
}
"""What a processor may have, and NumKong's names of the families that do."""


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
    return platform.machine().lower() in ("x86_64", "amd64") and not _has(_VNNI)


def processor_features() -> dict[str, bool]:
    """Return what the processor has of all that makes products of vectors fast."""
    return {feature: _has(families) for feature, families in _FEATURES.items()}


def _has(families: tuple[str, ...]) -> bool:
    import numkong  # here, as a process that only manages an index need not load it

    capabilities = numkong.get_capabilities()
    return any(capabilities.get(name, False) for name in families)
