"""Products of small float matrices on the calling thread alone.

BLAS divides a product of a few hundred rows among threads of its own, which then wait for each
other: that takes several times the processor time of the product, and more where texts or
requests already run side by side. How many threads it may use is a setting of the whole process,
which is the user's. So such products are made in runs that BLAS itself finds too small to divide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_UNDIVIDED = 1 << 18
"""Multiplications up to which OpenBLAS uses one thread: 65 536 times its threshold of 4."""


def product(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply rows with a matrix, a few rows at a time; `rows @ matrix` but for the threads.

    The result for a row does not depend on the other rows.

    Args:
        rows: (n, width) float32.
        matrix: (width, columns) float32, at least two columns.

    Returns:
        (n, columns) float32.
    """
    n, width = rows.shape
    columns = matrix.shape[1]
    # BLAS adds up otherwise where rows are left over from its blocks of 4 to 16, so none are.
    size = max(_UNDIVIDED // max(width * columns, 1), 2)
    size -= size % (16 if size >= 16 else 2)
    whole = n - n % size
    out = np.empty((n, columns), np.float32)
    if whole:
        np.matmul(
            rows[:whole].reshape(-1, size, width), matrix,
            out=out[:whole].reshape(-1, size, columns),
        )  # fmt: skip
    if whole < n:
        last = np.zeros((size, width), np.float32)
        last[: n - whole] = rows[whole:]
        out[whole:] = np.matmul(last, matrix, out=np.empty((size, columns), np.float32))[
            : n - whole
        ]
    return out
