"""The best product of each document with each query token, by onnxruntime.

`maxima.onnx` multiplies codes with a query, scales, and takes maxima, all in one run and without
the interpreter's lock, so that threads do not wait for each other. Products are laid out a token
vector a row, and a maximum over rows that lie side by side runs along memory; documents do not
begin and end at groups of 8, so a document's maximum is put together from its whole groups and
the few rows at either end.

The floor is the product alone: 16.5 ns a token vector of 96 with 32 query tokens on one core of an
EPYC with VNNI, and the graph takes 25 ns where documents are whole groups. Over 1 400 abstracts all
of it takes 38 ns in 8 bits and 45 in 4, where a product, its transposition, its scales and NumPy's
`reduceat`, which holds the lock, took 47 and 57. What was tried and lost: Mul with a column of
scales (11 ns instead of the 4 of DequantizeLinear), maxima over the planes of a row first (16 ns),
unpacking 4 bits in the graph (45 ns instead of NumPy's 4), the query as the left factor (33 ns
instead of 16), and one scale a document (the first 10 then overlap .90 instead of .96 in 4 bits).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.integer_graph import IntegerGraph
from pocket_colbert.vectors.ragged import blocks, rows_between
from pocket_colbert.vectors.thread_buffers import scratch

GROUP = 8
"""Rows whose maxima are taken at once."""

BLOCK_TOKENS = 16_384
"""Token vectors multiplied at a time. What is around each run costs as much as 1 000 of them, and
from 32 768 on the products leave the cache."""


class Maxima:
    """Multiplies codes with one query and takes maxima; for the thread that made it."""

    def __init__(self, query: QueryCodes, codec: Codec) -> None:
        """Hold a query.

        Args:
            query: Its codes.
            codec: What the rows were written with.
        """
        self._codec = codec
        self._graph = IntegerGraph("maxima", query.codes, codec.zero_point)
        self._shape = np.array([-1, GROUP, self._graph.query_tokens], np.int64)
        self._graph.bind("shape", self._shape)

    def __call__(
        self,
        rows: NDArray[np.uint8],
        scales: NDArray[Any],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Return the best product of each document with each query token; see `Kernel`."""
        planes, query_tokens = self._codec.planes, self._graph.query_tokens
        inner = np.concatenate([np.zeros(1, np.int64), np.cumsum(ends - starts)])
        parts = np.array(blocks(inner, max(BLOCK_TOKENS // planes, 1)))
        in_order = bool((starts[1:] == ends[:-1]).all())
        layout = _layout(inner, parts, planes)
        best = np.empty((len(starts), query_tokens), np.float32)
        of_groups = scratch("group_maxima", len(layout.groups) * query_tokens, np.float32)
        of_groups = of_groups.reshape(-1, query_tokens)
        for (first, last), (line, last_line) in zip(parts, layout.lines_of_parts, strict=True):
            count = int(inner[last] - inner[first])
            if in_order:
                begin = int(starts[first])
                codes = _whole_groups(rows, begin, count)
                factors = scales[begin : begin + count]
            else:
                chosen = rows_between(starts[first:last], ends[first:last])
                # "clip" only because it lets NumPy write to `codes` without another copy.
                codes = _room_for(count, rows.shape[1])
                np.take(rows, chosen, axis=0, out=codes[:count], mode="clip")
                factors = np.take(scales, chosen, axis=0)
            self._run(
                codes, factors, layout.groups[line:last_line], layout.singles[first:last],
                of_groups[line:last_line], best[first:last],
            )  # fmt: skip
        if layout.lines is not None:
            of_groups = np.maximum.reduceat(of_groups, layout.lines, axis=0)
        np.maximum(best, of_groups, out=best, where=layout.has_groups[:, None])
        return best

    def _run(
        self,
        codes: NDArray[np.uint8],
        scales: NDArray[Any],
        groups: NDArray[np.int32],
        singles: NDArray[np.int32],
        group_maxima: NDArray[np.float32],
        single_maxima: NDArray[np.float32],
    ) -> None:
        """Run the graph for one block, whose codes (n, dim) are whole groups."""
        planes = self._codec.planes
        if planes > 1:
            codes = self._codec.unpack(codes, scratch("unpacked", codes.size * planes, np.uint8))
        factors = scratch("factors", len(codes), np.float32).reshape(planes, -1)
        factors[:, : len(scales)] = scales.T if planes == 1 else scales.astype(np.float32).T
        factors[:, len(scales) :] = 0
        self._graph.bind("rows", codes)
        self._graph.bind("scales", factors.reshape(-1))
        self._graph.bind("groups", groups)
        self._graph.bind("singles", singles)
        self._graph.bind_output("group_maxima", group_maxima)
        self._graph.bind_output("single_maxima", single_maxima)
        self._graph.run()


class _Layout(NamedTuple):
    """Which groups and token vectors of its block belong to which document.

    Attributes:
        groups: (lines, n) int32, numbers of whole groups; a document has one line or several.
        lines: (documents,) the first line of each document, None where each has one.
        lines_of_parts: (parts, 2) the first line of each block, and the one after its last.
        has_groups: (documents,) bool; the lines of a document without whole groups mean nothing.
        singles: (documents, m) int32, numbers of token vectors at either end of a document.
    """

    groups: NDArray[np.int32]
    lines: NDArray[np.int64] | None
    lines_of_parts: NDArray[np.int64]
    has_groups: NDArray[np.bool_]
    singles: NDArray[np.int32]


def _layout(inner: NDArray[np.int64], parts: NDArray[np.int64], planes: int) -> _Layout:
    """Lay out documents over the groups of their blocks.

    Args:
        inner: (documents + 1,) int64, where documents begin if they stand end to end, and the end.
        parts: (parts, 2), the first document of each block, and the one after its last.
        planes: Token vectors a row.
    """
    documents = parts[:, 1] - parts[:, 0]
    begins = inner[parts[:, 0]]
    groups_each = -(-(inner[parts[:, 1]] - begins) // GROUP)
    offset = np.repeat(begins, documents)
    starts, ends = (inner[:-1] - offset).astype(np.int32), (inner[1:] - offset).astype(np.int32)
    groups = np.repeat(groups_each, documents).astype(np.int32)
    first, last = -(-starts // GROUP), ends // GROUP
    counts = np.maximum(last - first, 0)
    singles = _planes_of(_ends_of(starts, ends, first, last), groups * GROUP, planes)
    # Lines are as long as the longest document, or, where most are far shorter, several a document.
    longest = int(counts.max())
    width = max(min(longest, 2 * -(-int(counts.sum()) // len(counts))), 1)
    lines, lines_of_parts = None, parts
    if longest > width:
        lines_each = np.maximum(-(-counts // width), 1)
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(lines_each)])
        lines, lines_of_parts = bounds[:-1], bounds[parts]
        within = np.arange(bounds[-1]) - np.repeat(lines, lines_each)
        first = np.repeat(first, lines_each) + (within * width).astype(np.int32)
        last, groups = np.repeat(last, lines_each), np.repeat(groups, lines_each)
    # What is too much repeats the last group, which changes no maximum; the limits below matter
    # only for documents without whole groups.
    listed = np.minimum(first[:, None] + np.arange(width, dtype=np.int32), last[:, None] - 1)
    np.maximum(np.minimum(listed, groups[:, None] - 1, out=listed), 0, out=listed)
    return _Layout(_planes_of(listed, groups, planes), lines, lines_of_parts, counts > 0, singles)


def _ends_of(
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    first: NDArray[np.int32],
    last: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Return the rows (documents, m) before the first whole group and after the last."""
    steps = np.arange(GROUP - 1, dtype=np.int32)
    # What is too much repeats a row of the document.
    head_end = np.minimum(first * GROUP, ends)[:, None]
    head = np.maximum(np.minimum(starts[:, None] + steps, head_end - 1), starts[:, None])
    tail = np.maximum(last * GROUP, starts)[:, None] + steps
    return np.concatenate([head, np.minimum(tail, ends[:, None] - 1)], axis=1)


def _planes_of(
    numbers: NDArray[np.int32], size: NDArray[np.int32], planes: int
) -> NDArray[np.int32]:
    """Repeat numbers (n, m) for each plane, which holds (n,) `size` of them: (n, planes * m)."""
    if planes == 1:
        return numbers
    return np.concatenate([numbers + size[:, None] * np.int32(n) for n in range(planes)], axis=1)


def _whole_groups(rows: NDArray[np.uint8], first: int, count: int) -> NDArray[np.uint8]:
    """Return whole groups of rows, of which those after `count` may be anything."""
    wanted = -(-count // GROUP) * GROUP
    if first + wanted <= len(rows):
        return rows[first : first + wanted]
    copy = _room_for(count, rows.shape[1])
    copy[:count] = rows[first : first + count]
    return copy


def _room_for(count: int, dim: int) -> NDArray[np.uint8]:
    """Return memory for whole groups of at least `count` rows; those after it are zeros."""
    wanted = -(-count // GROUP) * GROUP
    room = scratch("rows", wanted * dim, np.uint8).reshape(wanted, dim)
    room[count:] = 0
    return room
