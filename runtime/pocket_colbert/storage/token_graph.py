"""Which passages are worth an exact MaxSim: a graph over all token vectors of a segment.

Each query token's nearest token vectors are looked up in a graph that usearch keeps (HNSW, Malkov
& Yashunin 2016, arXiv 1603.09320), and each passage's MaxSim is estimated from those that were
found (XTR, Lee et al. 2023, arXiv 2304.01982). Token vectors are compared themselves, and not the
centroids that stand for them, as in the inverted file: so it needs no clusters to find them. It
takes about 250 bytes a token vector, and far longer to build.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import FileEntry, write_file
from pocket_colbert.storage.graph_format import GraphLayout, graph_problem, layout_problem
from pocket_colbert.storage.manifest import GRAPH_FILE, RecallEntry
from pocket_colbert.storage.mapped_arrays import forget, map_array
from pocket_colbert.storage.native_graph import MappedGraph, add, new_graph
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec, QueryCodes, quantize_rows_int8
from pocket_colbert.vectors.query_tokens import informative_query_tokens
from pocket_colbert.vectors.ragged import blocks
from pocket_colbert.vectors.top_k import top_k

CONNECTIVITY = 16
_EXPANSION_ADD = 64
_PER_LOOKUP = 8
"""Neighbours that are looked up for each centroid that an inverted file would look up: 128 for each
of 32 query tokens by default. Measured on 500 abstracts of 180 token vectors: 64 neighbours and 200
candidates find 98.3 %, 128 find 99.8 %, 256 no more."""
_NEIGHBOURS = 32, 4096
"""Neighbours that a query token looks up at least and at most."""
_BUILD_ROWS = 1 << 13
_SAMPLE = 256


@dataclass(frozen=True, eq=False)
class TokenGraph:
    """A graph over the token vectors of a segment.

    Attributes:
        data: (file size,) uint8, the file: mapped, or in memory.
        layout: Where its parts are.
        dim: Width of a token vector.
        num_passages: Passages of the segment.
        name: What the file is called in messages.
        quality: What it finds of what exact search finds, None when that was not measured.
    """

    data: NDArray[np.uint8]
    layout: GraphLayout
    dim: int
    num_passages: int
    name: str
    quality: RecallEntry | None = None
    _opened: _Opened = field(default_factory=lambda: _Opened(), repr=False)

    @property
    def widening(self) -> int:
        """How many times more to look up and to score; 0 where all is to be scored."""
        return 1 if self.quality is None else self.quality.widening

    def candidates(
        self,
        query: QueryCodes,
        allowed: Selection,
        *,
        lookups: int,
        limit: int,
        query_tokens: int | None = None,
        threads: int = 1,
    ) -> NDArray[np.int64]:
        """Find the passages whose MaxSim is estimated the highest.

        Under a filter more is looked up, until each query token has as many neighbours in allowed
        passages as it would have without.

        Args:
            query: The query.
            allowed: Which of the segment's passages may be returned.
            lookups: As for an inverted file; shared out among the query tokens.
            limit: How many passages to return at most.
            query_tokens: How many query tokens to look up, those whose best neighbours stand out
                the most; all by default.
            threads: Threads; the result does not depend on them.

        Returns:
            Passages, ascending; none where too few are allowed for the graph to find them.

        Raises:
            IndexFormatError: The file is damaged.
        """
        vectors = np.ascontiguousarray(query.codes.T)
        # usearch returns cosines, which are dot products but for the length of the query's side.
        weights = query.scales * np.linalg.norm(vectors.astype(np.float32), axis=1)
        if query_tokens is not None and query_tokens < len(vectors):
            chosen = np.sort(informative_query_tokens(self._similarities(vectors), query_tokens))
            vectors, weights = vectors[chosen], weights[chosen]
        passages, similarities = self._neighbours(vectors, allowed, lookups, threads)
        gains = (similarities - similarities[:, -1:]) * weights[:, None]
        there = passages >= 0
        if allowed.mask is not None:
            there &= allowed.mask[passages]
        rows, columns = np.nonzero(there)
        # The nearest last: of several values for one estimate the last one stays.
        rows, columns = rows[::-1], columns[::-1]
        named, owners = np.unique(passages[rows, columns], return_inverse=True)
        best = np.zeros((len(vectors), len(named)), np.float32)
        best[rows, owners.reshape(-1)] = gains[rows, columns]
        return named[np.sort(top_k(best.sum(axis=0), limit))]

    def check(self) -> None:
        """Check everything in the file that a search follows, unless that was done.

        Raises:
            IndexFormatError: The file is damaged.
        """
        with self._opened.held():
            self._check()

    def _check(self) -> None:
        if not self._opened.checked:
            problem = graph_problem(self.data, self.layout, self.num_passages)
            if problem is not None:
                raise IndexFormatError(f"{self.name} is damaged: {problem}.")
            self._opened.checked = True

    def _graph(self) -> MappedGraph:
        """Return the graph, opened by the first search, for opening an index need not wait."""
        with self._opened.held():
            if self._opened.graph is None:
                self._check()
                self._opened.graph = MappedGraph(self.data, self.dim, self.layout.connectivity)
            return self._opened.graph

    def _neighbours(
        self, vectors: NDArray[np.int8], allowed: Selection, lookups: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return passages (query_tokens, n) int64 and similarities, the largest first.

        A passage of -1 is none. Without enough neighbours in allowed passages n is 0.
        """
        graph, size = self._graph(), self.layout.size
        wanted = min(max(_PER_LOOKUP * lookups // len(vectors), _NEIGHBOURS[0]), _NEIGHBOURS[1])
        enough = min(wanted, size)
        number = min(math.ceil(wanted / max(allowed.share, 1e-9)), size)
        most = min(max(_NEIGHBOURS[1], wanted), size)
        while number <= most:
            passages, distances = graph.nearest(vectors, number, number, threads)
            similarities = np.nan_to_num(1 - distances, nan=-1, posinf=-1, neginf=-1)
            if allowed.mask is None or number == size:
                return passages, similarities
            found = ((passages >= 0) & allowed.mask[passages]).sum(axis=1)
            if found.min() >= min(enough, len(allowed)):
                return passages, similarities
            if number == most:
                break
            number = min(2 * number, most)
        return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0), np.float32)

    def _similarities(self, vectors: NDArray[np.int8]) -> NDArray[np.float32]:
        """Compare vectors with some of the collection, (query_tokens, sample) float32."""
        stored = np.ndarray((self.layout.size, self.dim), np.int8, self.data, 8)
        sample = stored[np.linspace(0, len(stored) - 1, _SAMPLE).astype(np.int64)]
        lengths = np.linalg.norm(sample.astype(np.float32), axis=1)
        products = vectors.astype(np.float32) @ sample.astype(np.float32).T
        return np.asarray(products / np.maximum(lengths, 1))


class _Opened:
    """What a graph is once it has been used; not frozen as the rest is."""

    def __init__(self) -> None:
        self.checked = False
        self.graph: MappedGraph | None = None
        self._lock, self._process = threading.Lock(), os.getpid()

    def held(self) -> threading.Lock:
        """Return the lock, a new one in a child of a fork: nobody there would free the old one."""
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        return self._lock


def build(rows: TokenVectors) -> TokenGraph:
    """Add the token vectors of a segment to a new graph.

    It is in memory while it is built, and is built on one thread.

    Args:
        rows: The token vectors, at least one; may be memory-mapped, and are read in pieces.

    Returns:
        The graph; the same for the same rows.
    """
    dim = rows.codec.dim
    graph = new_graph(dim, CONNECTIVITY, _EXPANSION_ADD, 1)
    for passages, vectors in _pieces(rows):
        add(graph, passages.astype(np.uint64), vectors)
        forget(rows.codes)
    data = np.frombuffer(graph.save(), np.uint8)
    return _opened_graph(data, rows.num_tokens, dim, len(rows.lengths), "a graph")


def write_files(folder: Contained, graph: TokenGraph) -> dict[str, FileEntry]:
    """Write a graph into the folder of a segment."""
    return {GRAPH_FILE: write_file(folder / GRAPH_FILE, graph.data)}


def open_files(
    folder: Contained, expected: FileEntry, dim: int, num_passages: int, num_tokens: int
) -> TokenGraph:
    """Map the graph of a segment; what a search follows is checked by the first one.

    Raises:
        IndexFormatError: The file is damaged.
    """
    path = folder / GRAPH_FILE
    data = map_array(path, np.dtype(np.uint8), expected.bytes)
    return _opened_graph(data, num_tokens, dim, num_passages, str(path))


def _opened_graph(
    data: NDArray[np.uint8], size: int, dim: int, num_passages: int, name: str
) -> TokenGraph:
    layout = layout_problem(data, size, dim, CONNECTIVITY)
    if isinstance(layout, str):
        raise IndexFormatError(f"{name} is damaged: {layout}.")
    return TokenGraph(data, layout, dim, num_passages, name)


def _pieces(rows: TokenVectors) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int8]]]:
    """Iterate over the passages and the vectors of tokens, without those that fill up rows."""
    planes = rows.codec.planes
    for first, last in blocks(rows.offsets, _BUILD_ROWS):
        begin, end = rows.offsets[first], rows.offsets[last]
        heights = np.diff(rows.offsets[first : last + 1])
        passages = np.repeat(np.arange(first, last), heights)
        inside = np.arange(end - begin) - np.repeat(rows.offsets[first:last] - begin, heights)
        lengths, height = rows.lengths[passages], heights[passages - first]
        # Where each token vector is in its passage, plane after plane.
        numbers = np.concatenate([inside + plane * height for plane in range(planes)])
        kept = numbers < np.tile(lengths, planes)
        vectors = _vectors(rows.codec, rows.codes[begin:end], rows.scales[begin:end])
        yield np.tile(passages, planes)[kept], vectors[kept]


def _vectors(codec: Codec, rows: NDArray[np.uint8], scales: NDArray[Any]) -> NDArray[np.int8]:
    """Return rotated token vectors as int8, plane after plane.

    Whole vectors, not their differences from what all share: their cosines with a query token are
    the dot products that MaxSim is made of.
    """
    values = codec.levels(rows).astype(np.float32)
    values *= scales.T.reshape(-1, 1).astype(np.float32)
    values += codec.shared
    return quantize_rows_int8(values)[0]
