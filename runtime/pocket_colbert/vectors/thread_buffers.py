"""Memory that a thread uses again and again.

Arrays of some 100 kB and more come from the system page by page and go back to it when they are
freed; going back stops every thread of the process for a moment, so that two threads that allocate
in turn are slower than one. What is needed for every block is therefore kept, a thread each.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KEPT = 16 << 20
"""Bytes of a buffer that are kept at most; larger ones, for extraordinary documents, are not."""

_local = threading.local()


def scratch(name: str, size: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Return an array of this thread's, with whatever was last written to it.

    Args:
        name: Two uses at a time need two names.
        size: How many items.
        dtype: Of which type; always the same for a name.

    Returns:
        (size,) array, the same memory at the next call with the name.
    """
    held = getattr(_local, name, None)
    if held is None or len(held) < size:
        held = np.empty(size, dtype)
        if held.nbytes <= _KEPT:
            setattr(_local, name, held)
    return held[:size]
