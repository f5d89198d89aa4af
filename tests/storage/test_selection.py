"""Selections of documents, and the passages of documents, against sets and loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.storage.passage_ranges import PassageRanges
from pocket_colbert.storage.selection import Selection

SIZE = 12
positions = st.lists(st.integers(0, SIZE - 1), unique=True)


def make(chosen: list[int] | None) -> tuple[Selection, set[int]]:
    """Return a selection, None for all, and the set that it stands for."""
    if chosen is None:
        return Selection(SIZE), set(range(SIZE))
    return Selection.of(SIZE, chosen), set(chosen)


@given(st.none() | positions, st.none() | positions, positions)
def test_selections_are_sets(
    one: list[int] | None, other: list[int] | None, gone: list[int]
) -> None:
    left, right = make(one), make(other)
    for selection, expected in (
        left, right, (left[0] & right[0], left[1] & right[1]),
        (left[0].without(gone), left[1] - set(gone)),
    ):  # fmt: skip
        assert selection.positions().tolist() == sorted(expected)
        assert selection.left_out().tolist() == sorted(set(range(SIZE)) - expected)
        assert len(selection) == len(expected) and selection.share == len(expected) / SIZE
        assert selection.is_all == (len(expected) == SIZE)
        assert [n for n in range(SIZE) if selection[n]] == sorted(expected)
        asked = np.array([3, 0, 3, 11])
        assert selection[asked].tolist() == [n in expected for n in (3, 0, 3, 11)]
        scores = selection.scores(np.arange(SIZE, dtype=np.float32))
        assert [n for n in range(SIZE) if scores[n] == n] == sorted(expected)
        assert all(scores[n] == -np.inf for n in selection.left_out())
    assert left[0].positions().tolist() == sorted(left[1])  # nothing above changed it


def test_nothing_to_select_from() -> None:
    for selection in (Selection(0), Selection.of(0, [])):
        assert len(selection) == 0 and selection.share == 1.0 and selection.is_all
        assert selection.positions().tolist() == selection.left_out().tolist() == []


@pytest.mark.parametrize("counts", [[], [1], [1, 1, 1], [2, 1, 3], [1, 4]])
def test_passages_of_documents(counts: list[int]) -> None:
    ranges = PassageRanges.of_counts(np.array(counts, np.int32))
    owners = [document for document, count in enumerate(counts) for _ in range(count)]
    mine = [[p for p, owner in enumerate(owners) if owner == d] for d in range(len(counts))]
    assert len(ranges) == len(owners) and ranges.one_each == all(n == 1 for n in counts)
    documents = np.arange(0, len(counts), 2)
    assert ranges.of(documents).tolist() == [p for d in documents for p in mine[d]]
    assert ranges.counts(documents).tolist() == [counts[d] for d in documents]
    for document, passages in enumerate(mine):
        assert list(range(*ranges.bounds(document))) == passages
    selected = ranges.selection(Selection.of(len(counts), documents))
    assert selected.positions().tolist() == ranges.of(documents).tolist()
    assert ranges.selection(Selection(len(counts))).is_all
    scores = np.random.default_rng(1).normal(size=len(owners)).astype(np.float32)
    best = [max(scores[p] for p in passages) for passages in mine]
    assert ranges.best_of_all(scores).tolist() == best
    some = np.array([p for p in range(len(owners)) if p != 1], np.int64)
    found, values = ranges.best(some, scores[some])
    expected = {
        d: max(kept)
        for d, passages in enumerate(mine)
        if (kept := [scores[p] for p in passages if p != 1])
    }
    assert dict(zip(found.tolist(), values.tolist(), strict=True)) == expected
    assert found.tolist() == sorted(expected)
