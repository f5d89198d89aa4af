"""What the file of a token graph must hold before native code follows what it says.

usearch trusts its files: it follows the numbers in lists of neighbours without looking whether
there is such a vector, so that a file made for it reads memory that is not its own. Here each
number that it follows is checked first, in NumPy. The layout, little-endian and without gaps:

    uint32 vectors, uint32 bytes a vector, then the vectors, end to end
    64 bytes: "usearch", versions, kinds, counts, the dimension
    uint64 vectors, most neighbours, most neighbours at level 0, highest level, where to begin
    int16 levels, one a vector
    nodes, one a vector: uint64 key, int16 level, then for each level from 0 to its own a list of
        neighbours: uint32 how many, and room for the most
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIZES = struct.Struct("<II")
_HEAD = struct.Struct("<7sHHHBBBBQQQ?22x")
_GRAPH = struct.Struct("<QQQQQ")
_MAGIC = b"usearch"
_MAJOR = 2
_COSINE, _INT8, _UINT64, _UINT32 = 99, 23, 14, 15
_HIGHEST_LEVEL = 64
_NODE_HEAD = 10
"""Bytes of a key and a level."""
_CHUNK = 1 << 14
"""Nodes that are looked at a time: some megabytes."""


@dataclass(frozen=True)
class GraphLayout:
    """Where the parts of a file are.

    Attributes:
        size: How many vectors it has.
        connectivity: Most neighbours of a vector above level 0.
        base: Most neighbours of a vector at level 0.
        highest: The highest level.
        entry: The vector at which searches begin.
        levels: Where the levels begin, in bytes; the nodes are behind them.
    """

    size: int
    connectivity: int
    base: int
    highest: int
    entry: int
    levels: int


def layout_problem(
    data: NDArray[np.uint8], size: int, dim: int, connectivity: int
) -> str | GraphLayout:
    """Read the headers of a file.

    Args:
        data: (file size,) uint8, the file.
        size: How many vectors there must be, at least one.
        dim: Width of a vector.
        connectivity: Most neighbours that a vector may have above level 0.

    Returns:
        Where the parts are, or what is wrong.
    """
    head = _SIZES.size + size * dim
    levels = head + _HEAD.size + _GRAPH.size
    least = levels + size * (2 + _NODE_HEAD + 4 + 8 * connectivity)
    if len(data) < least:
        return f"it has {len(data)} bytes, fewer than {size} vectors take"
    if _SIZES.unpack_from(data.data, 0) != (size, dim):
        return f"it must hold {size} vectors of {dim} bytes"
    magic, major, _, _, *kinds, present, deleted, dimensions, _ = _HEAD.unpack_from(data.data, head)
    if magic != _MAGIC or major != _MAJOR:
        return f"it is not a file of usearch {_MAJOR}"
    if kinds != [_COSINE, _INT8, _UINT64, _UINT32]:
        return "its vectors are not int8 compared by cosine"
    if (present, deleted, dimensions) != (size, 0, dim):
        return f"its counts are {present}, {deleted} and {dimensions}, not {size}, 0 and {dim}"
    number, upper, base, highest, entry = _GRAPH.unpack_from(data.data, head + _HEAD.size)
    if (number, upper, base) != (size, connectivity, 2 * connectivity):
        return f"it must have {connectivity} neighbours a vector"
    if highest > _HIGHEST_LEVEL or entry >= size:
        return f"a search cannot begin at vector {entry} and level {highest}"
    return GraphLayout(size, upper, base, highest, entry, levels)


def graph_problem(data: NDArray[np.uint8], layout: GraphLayout, num_passages: int) -> str | None:
    """Check everything that a search follows.

    Args:
        data: (file size,) uint8, the file.
        layout: What `layout_problem` returned.
        num_passages: Keys must be below that.

    Returns:
        What is wrong, None when nothing is.
    """
    levels = np.ndarray((layout.size,), "<i2", data, layout.levels).astype(np.int64)
    if (levels < 0).any() or (levels > layout.highest).any():
        return f"a level is not within 0 and {layout.highest}"
    if levels[layout.entry] != layout.highest:
        return f"searches begin at level {layout.highest}, where vector {layout.entry} is not"
    lowest, above = 4 + 4 * layout.base, 4 + 4 * layout.connectivity
    sizes = _NODE_HEAD + lowest + levels * above
    ends = layout.levels + 2 * layout.size + np.cumsum(sizes)
    if ends[-1] != len(data):
        return f"its nodes take {ends[-1]} bytes of {len(data)}"
    node = np.dtype([("key", "<u8"), ("level", "<i2"), *_list_fields(layout.base)])
    for start in range(0, layout.size, _CHUNK):
        part = slice(start, start + _CHUNK)
        nodes = _taken(data, ends[part] - sizes[part], node)
        if (nodes["key"] >= num_passages).any():
            return f"a key is beyond the {num_passages} passages"
        if (nodes["level"] != levels[part]).any():
            return "the level of a node differs from the list of levels"
        if not _lists_are_sound(nodes, levels, 0):
            return "a list of neighbours at level 0 names what is not there"
    neighbours = np.dtype(_list_fields(layout.connectivity))
    for level in range(1, layout.highest + 1):
        there = np.flatnonzero(levels >= level)
        starts = (ends - sizes)[there] + _NODE_HEAD + lowest + (level - 1) * above
        for start in range(0, len(there), _CHUNK):
            lists = _taken(data, starts[start : start + _CHUNK], neighbours)
            if not _lists_are_sound(lists, levels, level):
                return f"a list of neighbours at level {level} names what is not there"
    return None


def _list_fields(most: int) -> list[Any]:
    return [("count", "<u4"), ("neighbours", "<u4", (most,))]


def _taken(
    data: NDArray[np.uint8], starts: NDArray[np.int64], dtype: np.dtype[Any]
) -> NDArray[Any]:
    """Copy records that begin at some bytes."""
    # By pairs of bytes: all sizes are even, and half as many numbers are gathered.
    odd = int(starts[0]) & 1
    pairs = np.ndarray(((len(data) - odd) // 2,), np.uint16, data, odd)
    rows = (starts >> 1)[:, None] + np.arange(dtype.itemsize // 2)
    return np.take(pairs, rows).view(dtype)[:, 0]


def _lists_are_sound(lists: NDArray[Any], levels: NDArray[np.int64], level: int) -> bool:
    """Say whether lists name no more than they can, and only vectors that are at their level."""
    counts, neighbours = lists["count"], lists["neighbours"]
    width = neighbours.shape[1]
    if (counts > width).any():
        return False
    named = neighbours[np.arange(width) < counts[:, None]]
    if not len(named):
        return True
    return bool(named.max() < len(levels)) and (level == 0 or bool((levels[named] >= level).all()))
