"""Arrays in files: mapped into memory, or read where they are small."""

from __future__ import annotations

import mmap
import os
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.storage.contained import Contained

MAPPED_BYTES = 1 << 16
"""From this size on a file is mapped, which takes a file descriptor as long as it is in use."""


def map_bytes(path: Contained, rows: int, width: int) -> NDArray[np.uint8]:
    """Map a file of rows x width bytes, read-only."""
    return map_array(path, np.dtype(np.uint8), rows * width).reshape(rows, width)


def map_array(path: Contained, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """Map a file of that many numbers, read-only; one below `MAPPED_BYTES` is read."""
    size = count * dtype.itemsize
    with path.open() as stream:
        _check_size(stream, path, size)
        if size < MAPPED_BYTES:
            read = _read(stream, path, dtype, count)
            read.flags.writeable = False
            return read
        mapped = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)
    return np.ndarray((count,), dtype, mapped)


def forget(array: NDArray[Any]) -> None:
    """Let the system drop the pages of a mapped array from memory; nothing else changes.

    What is read once from end to end would otherwise count as this process's memory.
    """
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    if base is not None and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def read_array(path: Contained, dtype: str | np.dtype[Any], count: int) -> NDArray[Any]:
    """Read a file of that many numbers into memory, in this machine's byte order."""
    wanted = np.dtype(dtype)
    with path.open() as stream:
        _check_size(stream, path, count * wanted.itemsize)
        read = _read(stream, path, wanted, count)
        return read.astype(wanted.newbyteorder("="), copy=False)


def _read(stream: BinaryIO, path: Contained, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    """Read numbers; not by `np.fromfile`, which turns a KeyboardInterrupt into a TypeError."""
    array = np.empty(count, dtype)
    if stream.readinto(array.view(np.uint8).data) != array.nbytes:  # type: ignore[attr-defined]
        raise IndexFormatError(f"{path} is damaged: it became shorter while it was read.")
    return array


def _check_size(stream: BinaryIO, path: Contained, expected: int) -> None:
    size = os.fstat(stream.fileno()).st_size
    if size != expected:
        raise IndexFormatError(f"{path} is damaged: it has {size} bytes, not {expected}.")
