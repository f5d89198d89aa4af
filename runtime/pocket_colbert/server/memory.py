"""How the C library keeps memory, so that what many requests took does not stay."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
_KEPT = 8_000_000
_ARENAS = 2


def bound_kept_memory() -> None:
    """Let glibc keep little that is free, before any thread has an arena of its own.

    By default there are eight arenas a core, and each comes to keep what the largest batch took
    that a thread on it has encoded: 200 MB after a few requests that encode full windows, 60 MB
    with these limits. Such windows then take about a tenth more of processor time, short texts no
    more. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS and Windows have none
        return
    mallopt(_ARENA_MAX, _ARENAS)
    mallopt(_TRIM_THRESHOLD, _KEPT)
    mallopt(_MMAP_THRESHOLD, _KEPT)
