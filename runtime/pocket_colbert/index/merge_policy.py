"""Which segments become one: the only place that decides it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pocket_colbert.checks import check_whole_number
from pocket_colbert.storage.segment import Segment

SEGMENT_TOKENS = 4_000_000
"""Token vectors that a segment made by merging has at most: 200 MB as int4 of 96. Merging holds
little of it in memory, and what is searched as one has one set of centroids to look up."""

MOST_SMALL = 8
"""Small segments from which on a commit merges: each costs files, and time in every search."""

_SMALL_SHARE = 8


@dataclass(frozen=True, kw_only=True)
class MergePolicy:
    """Bounds the number of segments at little cost; only neighbours merge, so order stays.

    A segment is small when it has no more than an eighth of `segment_tokens`.

    Attributes:
        segment_tokens: Token vectors that a merged segment has at most.
        most_small: Small segments at the end from which on a commit merges.
    """

    segment_tokens: int = SEGMENT_TOKENS
    most_small: int = MOST_SMALL

    def __post_init__(self) -> None:
        check_whole_number("segment_tokens", self.segment_tokens)
        check_whole_number("most_small", self.most_small, least=2)

    def at_commit(self, segments: Sequence[Segment], *, last: bool = False) -> slice | None:
        """Choose the segments that a commit merges.

        Nothing is done while few are small. Then it is the longest run whose first segment has no
        more than twice the token vectors of all that follow. What remains before it shrinks by a
        factor of more than two from each to the next, and a token vector is written again only
        when its segment grows by half, or more: the logarithm of the index's size bounds both.

        Args:
            segments: The segments.
            last: Whether no other commit is to follow soon: two small ones are enough then, and
                all of them become one.

        Returns:
            A slice of `segments` up to their end, None where nothing is to be done.
        """
        first = self._first_small(segments)
        if len(segments) - first < (2 if last else self.most_small):
            return None
        if last:
            return slice(first, len(segments))
        tokens = [segment.rows.num_tokens for segment in segments]
        starts = range(first, len(segments) - 1)
        start = next((n for n in starts if tokens[n] <= 2 * sum(tokens[n + 1 :])), None)
        return None if start is None else slice(start, len(segments))

    def compacting(self, segments: Sequence[Segment]) -> list[slice]:
        """Choose runs that become one segment each, as long as `segment_tokens` allows.

        Args:
            segments: The segments.

        Returns:
            Slices of `segments`. A segment alone is among them where documents are deleted.
        """
        if not segments:
            return []
        runs, start, total = [], 0, 0
        tokens = [_living_tokens(segment) for segment in segments]
        for number, count in enumerate([*tokens, None]):
            if count is None or (number > start and total + count > self.segment_tokens):
                if number > start + 1 or not segments[start].alive.is_all:
                    runs.append(slice(start, number))
                start, total = number, 0
            total += count or 0
        return runs

    def _first_small(self, segments: Sequence[Segment]) -> int:
        """Return where the run of small segments at the end begins, which fits into one."""
        start, total = len(segments), 0
        for segment in reversed(segments):
            total += segment.rows.num_tokens
            small = segment.rows.num_tokens <= self.segment_tokens // _SMALL_SHARE
            if not small or total > self.segment_tokens:
                break
            start -= 1
        return start


def _living_tokens(segment: Segment) -> int:
    """Return the number of token vectors of documents that are not deleted."""
    if segment.alive.is_all:
        return segment.rows.num_tokens
    passages = segment.passages.of(segment.alive.positions())
    return int(segment.rows.lengths[passages].sum(dtype=np.int64))
