"""From a token vector to the nearest stored token vectors. The only importer of `usearch`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index as UsearchIndex
from usearch.index import MetricKind, ScalarKind

from pocket_colbert.errors import IndexFormatError


class TokenGraph:
    """A usearch graph whose keys are the row numbers of a segment's token vectors.

    Cosine distance, not inner product: usearch's "ip" over int8 gives raw integers. The codes go
    in as they are stored; cosine does not see their scale.
    """

    def __init__(self, graph: UsearchIndex) -> None:
        self._graph = graph

    @classmethod
    def build(
        cls,
        codes: NDArray[np.int8],
        *,
        connectivity: int,
        expansion_add: int,
        threads: int,
    ) -> TokenGraph:
        """Insert all rows.

        Args:
            codes: (total_tokens, dim) int8.
            connectivity: Links of a row.
            expansion_add: How widely an insertion searches.
            threads: Threads that insert side by side. With more than one the graph differs from
                build to build; what a search then finds differs within its recall.

        Returns:
            The graph.
        """
        graph = _empty(codes.shape[1], connectivity, expansion_add)
        graph.add(np.arange(len(codes), dtype=np.uint64), np.asarray(codes), threads=threads)
        return cls(graph)

    @classmethod
    def view(cls, path: Path, *, dim: int, rows: int) -> TokenGraph:
        """Map a saved graph into memory.

        Args:
            path: A file that `save` wrote, whose checksum has been verified: usearch follows the
                offsets in it.
            dim: Width its vectors must have.
            rows: How many it must hold.

        Returns:
            The graph, read-only.

        Raises:
            IndexFormatError: It is not such a graph.
        """
        try:
            graph = UsearchIndex.restore(str(path), view=True)
        except Exception as error:  # usearch raises RuntimeError and ValueError
            raise IndexFormatError(f"{path} is not a usearch graph: {error}.") from error
        if graph is None or graph.ndim != dim or len(graph) != rows or graph.dtype != ScalarKind.I8:
            raise IndexFormatError(f"{path} is damaged: not a graph of {rows} int8 rows of {dim}.")
        return cls(graph)

    def save(self, path: Path) -> None:
        """Write the graph to a new file."""
        self._graph.save(str(path))

    def nearest(
        self, query_codes: NDArray[np.int8], tokens: int, *, threads: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the nearest rows of every query token.

        Args:
            query_codes: (query_tokens, dim) int8.
            tokens: How many rows a query token.
            threads: Threads that search side by side.

        Returns:
            Row numbers (query_tokens, tokens) int64, best first, -1 where there are fewer, and
            their cosines (query_tokens, tokens) float32, -inf where there are fewer.
        """
        tokens = min(tokens, len(self._graph))
        # Wider than the number wanted: the last of k neighbours are found less surely.
        self._graph.expansion_search = max(64, tokens)
        matches = self._graph.search(
            np.ascontiguousarray(query_codes), tokens, threads=threads, exact=False
        )
        keys = np.asarray(matches.keys).reshape(len(query_codes), -1)
        distances = np.asarray(matches.distances, dtype=np.float32).reshape(keys.shape)
        counts = np.asarray(getattr(matches, "counts", np.full(len(keys), keys.shape[1])))
        missing = np.arange(keys.shape[1])[None, :] >= counts.reshape(-1, 1)
        rows = np.where(missing, -1, keys.astype(np.int64))
        return rows, np.where(missing, np.float32(-np.inf), np.float32(1.0) - distances)


def _empty(dim: int, connectivity: int, expansion_add: int) -> UsearchIndex:
    return UsearchIndex(
        ndim=dim,
        metric=MetricKind.Cos,
        dtype=ScalarKind.I8,
        connectivity=connectivity,
        expansion_add=expansion_add,
    )
