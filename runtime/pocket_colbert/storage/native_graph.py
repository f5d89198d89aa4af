"""Graphs of usearch, called so that signals, threads and forks do no harm. Its only importer."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.native_calls import native_calls

ADD_SLICE = 4096
"""Vectors that are added at a time: Ctrl-C waits for that, a second at most."""


def new_graph(dim: int, connectivity: int, expansion_add: int, expansion_search: int) -> Any:
    """Return an empty graph over int8 vectors.

    Cosine distance, which usearch computes natively over int8; not inner product, which over
    int8 gives raw integers.

    Args:
        dim: Width of a vector.
        connectivity: Neighbours of a vector; twice as many at the lowest level.
        expansion_add: How many vectors are looked at when one is added.
        expansion_search: How many are looked at in a search.
    """
    # Before usearch: loaded after it, onnxruntime crashes the process (1.32 with usearch 2.26).
    import pocket_colbert.vectors.providers  # noqa: F401

    # Here, as exact searches and encoding need not wait for it.
    from usearch.index import Index, MetricKind, ScalarKind  # isort: skip

    return Index(
        ndim=dim,
        metric=MetricKind.Cos,
        dtype=ScalarKind.I8,
        connectivity=connectivity,
        expansion_add=expansion_add,
        expansion_search=expansion_search,
        multi=True,
        # Nothing is looked up by its key, and the table for that takes 30 bytes a vector.
        enable_key_lookups=False,
    )


def add(graph: Any, keys: NDArray[np.uint64], vectors: NDArray[np.int8]) -> None:
    """Add vectors on one thread, so that the same ones give the same graph.

    Args:
        graph: The graph.
        keys: (n,) uint64.
        vectors: (n, dim) int8.
    """
    with ThreadPoolExecutor(1) as worker:
        for start in range(0, len(vectors), ADD_SLICE):
            part = slice(start, start + ADD_SLICE)
            values = np.ascontiguousarray(vectors[part])
            worker.submit(called, graph.add, keys[part], values, threads=1).result()


def called(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Call usearch, in a thread that no signal interrupts.

    In the main thread usearch would look for signals itself and turn the KeyboardInterrupt of
    Ctrl-C into a RuntimeError.
    """
    with native_calls:
        return function(*arguments, **options)


class MappedGraph:
    """A graph in a file that is mapped into memory, read-only; for any number of threads."""

    def __init__(self, data: NDArray[np.uint8], dim: int, connectivity: int) -> None:
        """Open a graph; everything in it must have been checked.

        Args:
            data: (file size,) uint8, the file, mapped or in memory.
            dim: Width of a vector.
            connectivity: Of the graph, see `new_graph`.
        """
        self._data = data
        self._shape = dim, connectivity
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._graph = self._viewed()

    def nearest(
        self, vectors: NDArray[np.int8], number: int, expansion: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the keys and distances of the nearest vectors of each of some, nearest first.

        Args:
            vectors: (n, dim) int8.
            number: How many, no more than there are.
            expansion: How many are looked at, at least `number`.
            threads: Threads that search side by side; the result does not depend on them.

        Returns:
            (n, number) int64 keys and (n, number) float32 distances. Where fewer were reached,
            the last ones have the key -1 and an infinite distance.
        """
        if self._process != os.getpid():
            # A child of a fork: a thread that is not here may have held the lock.
            self._lock, self._process = threading.Lock(), os.getpid()
            self._graph = self._viewed()
        if threading.current_thread() is threading.main_thread():
            with ThreadPoolExecutor(1) as worker:
                running = worker.submit(self._searched, vectors, number, expansion, threads)
                return running.result()
        return self._searched(vectors, number, expansion, threads)

    def _searched(
        self, vectors: NDArray[np.int8], number: int, expansion: int, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        with self._lock:  # calls that run side by side would share what they note
            self._graph.expansion_search = max(expansion, number)
            matches = called(self._graph.search, vectors, number, threads=threads)
        keys = np.atleast_2d(matches.keys).astype(np.int64)
        distances = np.atleast_2d(matches.distances)
        # For one vector usearch leaves out what is missing.
        counts: Any = np.array(getattr(matches, "counts", [keys.shape[1]]))
        missing = np.arange(keys.shape[1]) >= counts[:, None]
        return np.where(missing, -1, keys), np.where(missing, np.float32(np.inf), distances)

    def _viewed(self) -> Any:
        dim, connectivity = self._shape
        graph = new_graph(dim, connectivity, 1, 1)
        with ThreadPoolExecutor(1) as worker:
            worker.submit(called, graph.view, self._data).result()
        return graph
