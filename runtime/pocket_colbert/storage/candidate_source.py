"""What approximate search of a segment takes its candidates from: lists, a graph, or neither.

Either is measured when it is made, by queries whose exact answers are known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig
from pocket_colbert.storage import inverted_file, token_graph
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import FileEntry
from pocket_colbert.storage.inverted_file import InvertedFile, default_candidates
from pocket_colbert.storage.manifest import GRAPH_FILE, INVERTED_FILES, RecallEntry, SegmentEntry
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_graph import TokenGraph
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import QueryCodes
from pocket_colbert.vectors.int8_matmul import Product
from pocket_colbert.vectors.top_k import top_k

Source = InvertedFile | TokenGraph

_QUERIES, _QUERY_TOKENS, _TOP = 16, 32, 10
_LOOKUPS = 512
_LIST_WIDENINGS, _ENOUGH_OF_LISTS = (1, 4), 0.95
_GRAPH_WIDENINGS, _ENOUGH_OF_GRAPH = (1, 2, 4, 8), 0.99
"""A source that finds less of what exact search finds is widened, or not used."""

_MOST_IN_A_GRAPH = 150_000
"""Token vectors that a graph is tried for unasked: making it takes some 500 bytes for each."""

_Known = tuple[QueryCodes, NDArray[np.int64]]
"""A query, and the passages with the highest exact scores."""
_Find = Callable[[QueryCodes, int], NDArray[np.int64]]
"""A query and a widening to candidates."""


def build(rows: TokenVectors, config: IndexConfig, threads: int) -> Source | None:
    """Make what the settings say.

    Args:
        rows: The token vectors of the segment.
        config: The index's settings.
        threads: Threads that build an inverted file; a graph is built on one.

    Returns:
        It with its `quality`; None where the settings want none, or there is nothing to find.
    """
    tokens = rows.num_tokens
    wanted = config.inverted_file == "always" or (
        config.inverted_file == "auto" and tokens >= config.inverted_min_tokens
    )
    if not wanted or not tokens:
        return None
    known = _known(rows)
    if config.candidates == "usearch":
        return _graph(rows, known)
    lists = _lists(rows, known, threads)
    if config.candidates == "lists" or lists.widening == 1 or tokens > _MOST_IN_A_GRAPH:
        return lists
    sources: list[Source] = [lists, _graph(rows, known)]
    return max(sources, key=goodness)


def write_files(folder: Contained, source: Source) -> dict[str, FileEntry]:
    """Write a source into the folder of a segment."""
    if isinstance(source, TokenGraph):
        return token_graph.write_files(folder, source)
    return inverted_file.write_files(folder, source)


def open_files(folder: Contained, entry: SegmentEntry, dim: int) -> Source | None:
    """Map the source of a segment, None where it has none.

    Raises:
        IndexFormatError: Its files are damaged.
    """
    source: Source | None = None
    if INVERTED_FILES[0] in entry.files:
        source = inverted_file.open_files(folder, dim, entry.num_passages)
    elif GRAPH_FILE in entry.files:
        source = token_graph.open_files(
            folder, entry.files[GRAPH_FILE], dim, entry.num_passages, entry.num_tokens
        )
    return None if source is None else replace(source, quality=entry.approximate)


def _lists(rows: TokenVectors, known: Sequence[_Known], threads: int) -> InvertedFile:
    lists = inverted_file.build(rows.codec, rows.codes, rows.scales, rows.offsets, threads=threads)
    limit, everything = _limit(rows), Selection(len(rows.lengths))

    def find(query: QueryCodes, widening: int) -> NDArray[np.int64]:
        return lists.candidates(
            query, everything, lookups=_LOOKUPS * widening, limit=limit * widening,
            product=Product,
        )  # fmt: skip

    return replace(lists, quality=_measured(find, known, _LIST_WIDENINGS, _ENOUGH_OF_LISTS))


def _graph(rows: TokenVectors, known: Sequence[_Known]) -> TokenGraph:
    graph = token_graph.build(rows)
    limit, everything = _limit(rows), Selection(len(rows.lengths))

    def find(query: QueryCodes, widening: int) -> NDArray[np.int64]:
        return graph.candidates(
            query, everything, lookups=_LOOKUPS * widening, limit=limit * widening
        )

    return replace(graph, quality=_measured(find, known, _GRAPH_WIDENINGS, _ENOUGH_OF_GRAPH))


def _limit(rows: TokenVectors) -> int:
    return default_candidates(rows.num_tokens / max(len(rows.lengths), 1))


def _known(rows: TokenVectors) -> list[_Known]:
    """Return queries, the token vectors of passages spread over all of them, and their answers."""
    filled = np.flatnonzero(rows.lengths > 0)
    known = []
    for passage in filled[np.unique(np.linspace(0, len(filled) - 1, _QUERIES).astype(np.int64))]:
        vectors = rows.decode(int(passage))
        vectors = vectors[np.linspace(0, len(vectors) - 1, _QUERY_TOKENS).astype(np.int64)]
        query = rows.codec.encode_query(vectors)
        known.append((query, top_k(rows.score_all(query), _TOP)))
    return known


def _measured(
    find: _Find, known: Sequence[_Known], widenings: Sequence[int], enough: float
) -> RecallEntry:
    """Measure what a source finds, and how much it must be widened to find enough.

    What counts is how many of the passages with the highest exact scores are among the
    candidates. Vectors without structure, which no clustering can tell apart, are noticed by that.
    """
    recall = 0.0
    for widening in widenings:
        shares = [np.isin(best, find(query, widening)).mean() for query, best in known]
        recall = round(float(np.mean(shares)), 3)
        if recall >= enough:
            return RecallEntry(recall, widening)
    return RecallEntry(recall, 0)


def goodness(source: Source) -> tuple[bool, bool, int, float]:
    """Return what the better of two sources has more of."""
    quality = source.quality
    assert quality is not None
    used, good = quality.widening > 0, quality.recall >= _ENOUGH_OF_GRAPH
    return used, used and good, -quality.widening, quality.recall
