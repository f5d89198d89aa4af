"""Which other files an ONNX file takes its weights from.

A graph may keep tensors in files beside it, by name. They decide vectors as the graph does, so
whoever checks or hashes a model must know them. Only what leads to such names is read here (the
messages of onnx.proto by their field numbers): that needs no ONNX library, and skips the weights.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pocket_colbert.errors import ModelFormatError

_KEY = b"location"
_DEEPEST = 100
# Field numbers of the messages that lead to tensors, by message: onnx.proto of onnx 1.19.
_NESTED: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}  # fmt: skip


def external_files(graph: Path) -> tuple[str, ...]:
    """Return the locations of the tensors that an ONNX file keeps elsewhere, each once, sorted.

    Args:
        graph: The ONNX file.

    Raises:
        ModelFormatError: It is not an ONNX file.
    """
    with graph.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return ()
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return tuple(sorted(set(_locations(content, 0, len(content), "model", 0))))
            except (ValueError, IndexError) as error:
                raise ModelFormatError(f"{graph} is not an ONNX file: {error}.") from error


def _locations(data: Any, start: int, end: int, message: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        raise ValueError("its graphs are nested too deeply")
    nested = _NESTED[message]
    for number, first, last in _fields(data, start, end):
        kind = nested.get(number)
        if kind == "entry":
            entry = {n: bytes(data[a:b]) for n, a, b in _fields(data, first, last)}
            if entry.get(1) == _KEY:
                yield entry.get(2, b"").decode("utf-8")
        elif kind is not None:
            yield from _locations(data, first, last, kind, depth + 1)


def _fields(data: Any, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Iterate over the fields of a message that have a length: number, start and end."""
    while start < end:
        key, start = _varint(data, start)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, start = _varint(data, start)
        elif kind == 1:
            start += 8
        elif kind == 5:
            start += 4
        elif kind == 2:
            size, start = _varint(data, start)
            if size > end - start:
                raise ValueError(f"a field at byte {start} is longer than what it is in")
            yield number, start, start + size
            start += size
        else:
            raise ValueError(f"a field at byte {start} is of no kind that there is")
    if start != end:
        raise ValueError(f"a field at byte {start} is longer than what it is in")


def _varint(data: Any, start: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[start]
        start += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, start
    raise ValueError(f"a number at byte {start} has no end")
