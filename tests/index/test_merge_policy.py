"""Which segments merge, at the limits of the rules, on segments of numbers alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pocket_colbert import InvalidInputError
from pocket_colbert.index.merge_policy import MergePolicy
from pocket_colbert.storage.passage_ranges import PassageRanges
from pocket_colbert.storage.selection import Selection

POLICY = MergePolicy(segment_tokens=80, most_small=3)  # small: up to 10 token vectors


class Rows:
    """Lengths of passages."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = np.array(lengths, np.int32)

    @property
    def num_tokens(self) -> int:
        return int(self.lengths.sum())


class Segment:
    """As much of a segment as the policy looks at."""

    def __init__(self, lengths: list[int], gone: tuple[int, ...] = (), parts: int = 1) -> None:
        self.rows = Rows(lengths)
        counts = np.full(len(lengths) // parts, parts, np.int32)
        self.passages = PassageRanges.of_counts(counts)
        self.alive = Selection(len(counts))
        if gone:
            self.alive = self.alive.without(list(gone))


def of(*tokens: int) -> Any:
    return [Segment([count]) for count in tokens]


def at_commit(*tokens: int, last: bool = False) -> tuple[int, int] | None:
    found = POLICY.at_commit(of(*tokens), last=last)
    return None if found is None else (found.start, found.stop)


def test_few_small_segments_stay() -> None:
    assert at_commit() is None
    assert at_commit(1) is None and at_commit(1, 1) is None
    assert at_commit(11, 11, 11, 11) is None  # none of them is small
    assert at_commit(11, 1, 1) is None and at_commit(1, 1, 11) is None
    assert at_commit(1, 1, 1) == (0, 3)
    assert at_commit(10, 10, 10) == (0, 3) and at_commit(10, 10, 11) is None
    assert at_commit(11, 1, 1, 1) == (1, 4)


def test_a_run_starts_where_no_segment_is_much_larger_than_the_rest() -> None:
    assert at_commit(8, 2, 2) == (0, 3)  # 8 <= 2 * 4
    assert at_commit(9, 2, 2) == (1, 3)
    assert at_commit(9, 3, 1) is None  # neither 9 <= 8 nor 3 <= 2
    assert at_commit(9, 2, 1) == (1, 3)  # 2 <= 2
    assert at_commit(10, 4, 1, 0) == (0, 4) and at_commit(10, 4, 0, 0) == (2, 4)
    assert at_commit(10, 0, 0) == (1, 3)


def test_the_last_commit_leaves_one_small_segment() -> None:
    assert at_commit(1, last=True) is None and at_commit(11, 1, last=True) is None
    assert at_commit(1, 1, last=True) == (0, 2)
    assert at_commit(9, 3, 1, last=True) == (0, 3)
    assert at_commit(11, 9, 1, last=True) == (1, 3)


def test_small_segments_merge_as_far_as_they_fit_into_one() -> None:
    """Eight of ten fit into eighty; the ninth from the end does not."""
    assert at_commit(*[10] * 8) == (0, 8)
    assert at_commit(*[10] * 9) == (1, 9)
    assert at_commit(*[10] * 8, 1) == (1, 9)
    assert at_commit(*[10] * 9, last=True) == (1, 9)


def compacting(segments: Any) -> list[tuple[int, int]]:
    return [(run.start, run.stop) for run in POLICY.compacting(segments)]


def test_compacting_fills_segments_in_order() -> None:
    assert compacting([]) == []
    assert compacting(of(5)) == [] and compacting(of(500)) == []
    assert compacting(of(40, 40)) == [(0, 2)]
    assert compacting(of(40, 41)) == []
    assert compacting(of(40, 40, 1, 1)) == [(0, 2), (2, 4)]
    assert compacting(of(81, 40, 40)) == [(1, 3)]
    assert compacting(of(40, 81, 40)) == []
    assert compacting(of(30, 30, 30, 30)) == [(0, 2), (2, 4)]
    assert compacting(of(0, 0, 80, 0)) == [(0, 4)]


def test_a_segment_with_deleted_documents_is_written_again() -> None:
    gone = Segment([30, 30, 30], gone=(1,))
    assert compacting([gone]) == [(0, 1)]
    assert compacting([*of(81), gone, *of(81)]) == [(1, 2)]
    # What is alive counts: 60 and 20 fit into 80, 60 and 21 do not.
    assert compacting([gone, *of(20)]) == [(0, 2)]
    assert compacting([gone, *of(21)]) == [(0, 1)]
    parts = Segment([10, 20, 30, 40], gone=(0,), parts=2)  # 70 are alive
    assert compacting([parts, *of(10)]) == [(0, 2)] and compacting([parts, *of(11)]) == [(0, 1)]
    everything = Segment([30], gone=(0,))
    assert compacting([everything, *of(80)]) == [(0, 2)]


@pytest.mark.parametrize(
    "wrong",
    [{"segment_tokens": 0}, {"most_small": 1}, {"most_small": 2.5}, {"segment_tokens": True}],
)
def test_policies_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        MergePolicy(**wrong)
    assert MergePolicy(segment_tokens=1, most_small=2).at_commit(of(0, 0)) == slice(0, 2)
