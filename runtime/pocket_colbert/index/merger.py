"""Several segments to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from pocket_colbert.storage.document_schema import StoredDocument
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec

SEGMENT_TOKENS = 4_000_000
"""Token vectors that a segment made by merging has at most: 200 MB as int4 of 96. Merging holds
little of it in memory, and what is searched as one has one set of centroids to look up."""

_SMALL = 8
_MOST_SMALL = 16
"""Segments from which on a commit merges: each costs files, and time in every search."""


def living_tokens(segment: Segment) -> int:
    """Return the number of token vectors of documents that are not deleted."""
    if segment.alive.is_all:
        return segment.rows.num_tokens
    passages = segment.passages.of(segment.alive.positions())
    return int(segment.rows.lengths[passages].sum(dtype=np.int64))


def runs_to_merge(segments: Sequence[Segment], segment_tokens: int, only_small: int) -> list[slice]:
    """Say which neighbours become one: as many as stay within a size.

    A segment alone is written again where documents are deleted.

    Args:
        segments: The segments.
        segment_tokens: See `Index.compact`.
        only_small: See `Index.compact`.

    Returns:
        Slices of `segments`, which keep the order of documents.
    """
    if only_small:
        return _run_of_small(segments, segment_tokens, only_small)
    runs, start, total = [], 0, 0
    tokens = [living_tokens(segment) for segment in segments]
    for number, count in enumerate([*tokens, None]):
        if count is None or (number > start and total + count > segment_tokens):
            if number > start + 1 or not segments[start].alive.is_all:
                runs.append(slice(start, number))
            start, total = number, 0
        total += count or 0
    return runs if segments else []


def run_to_bound(segments: Sequence[Segment]) -> slice | None:
    """Say which of the last segments a commit makes one, lest their number grows with every commit.

    Nothing is done while few are small. Then it is the longest run whose first segment has no more
    than twice the token vectors of all that follow. What remains before it shrinks by a factor of
    more than two from each to the next, and a token vector is written anew only when its segment
    grows by half, or more: the logarithm of the index's size bounds both.

    Args:
        segments: The segments.

    Returns:
        A slice of `segments` up to their end, None where nothing is to be done.
    """
    first = _first_small(segments, SEGMENT_TOKENS)
    if len(segments) - first < _MOST_SMALL:
        return None
    tokens = [segment.rows.num_tokens for segment in segments]
    starts = range(first, len(segments) - 1)
    start = next((n for n in starts if tokens[n] <= 2 * sum(tokens[n + 1 :])), None)
    return None if start is None else slice(start, len(segments))


def _run_of_small(segments: Sequence[Segment], segment_tokens: int, least: int) -> list[slice]:
    """Say which of the last segments are small and, with `least`, many enough to be made one."""
    start = _first_small(segments, segment_tokens)
    return [slice(start, len(segments))] if len(segments) - start >= least else []


def _first_small(segments: Sequence[Segment], segment_tokens: int) -> int:
    """Return where the run of small segments at the end begins, which fits into one."""
    start, total = len(segments), 0
    for segment in reversed(segments):
        total += segment.rows.num_tokens
        if segment.rows.num_tokens > segment_tokens // _SMALL or total > segment_tokens:
            break
        start -= 1
    return start


def merged_codec(segments: Sequence[Segment]) -> Codec:
    """Return the codec of the largest."""
    return max((segment.rows for segment in segments), key=lambda rows: len(rows.codes)).codec


def merged_rows(segments: Sequence[Segment], codec: Codec) -> Iterator[TokenVectors]:
    """Iterate over the token vectors of documents that are not deleted, in pieces."""
    for segment in segments:
        yield from segment.rows.copies(codec, segment.passages.of(segment.alive.positions()))


def merged_documents(
    segments: Sequence[Segment], moved: Callable[[str], str] = str
) -> Iterator[StoredDocument]:
    """Iterate over the documents that are not deleted.

    Args:
        segments: The segments.
        moved: What a source is called where the documents go; the same by default.
    """
    for document, spans in chain.from_iterable(segment.stored() for segment in segments):
        source = None if document.source is None else moved(document.source)
        yield replace(document, source=source), spans
