"""What counts as the same hits when two versions of the code are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.arrays import unit_rows

equal_hits = pytest.importorskip("benchmarks.studies.equal_hits", reason="needs benchmarks/")

HITS = [("a", 3.0), ("b", 2.0), ("c", 2.0), ("d", 1.0)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (HITS, True),
        ([("a", 3.001), *HITS[1:]], True),
        ([HITS[0], HITS[2], HITS[1], HITS[3]], True),
        ([*HITS[:3], ("e", 1.0)], True),
        ([*HITS[:3], ("e", 1.1)], False),
        ([("e", 3.0), *HITS[1:]], False),
        ([("b", 3.0), ("a", 2.0), *HITS[2:]], False),
        ([("a", 3.1), *HITS[1:]], False),
        (HITS[:3], False),
        ([], False),
    ],
)
def test_hits_are_equal_ties_aside(other: list[tuple[str, float]], expected: bool) -> None:
    assert equal_hits.same(HITS, other) is expected
    assert equal_hits.same(other, HITS) is expected
    assert equal_hits.same([], [])


def test_differences_are_named() -> None:
    before = {"set": {"int8, all, 1 threads": [HITS, HITS]}}
    changed = {"set": {"int8, all, 1 threads": [HITS, [("z", 9.0), *HITS[1:]]]}}
    assert equal_hits.differing(before, before) == []
    (line,) = equal_hits.differing(changed, before)
    assert line.startswith("set, int8, all, 1 threads, query 1: ")
    with pytest.raises(ValueError, match="not in what was measured before"):
        equal_hits.differing({"other": changed["set"]}, before)


def test_all_ways_are_searched_and_threads_change_nothing() -> None:
    rng = np.random.default_rng(5)
    queries = [unit_rows(rng, 4, 16) for _ in range(3)]
    documents = [unit_rows(rng, 6, 16) for _ in range(30)]
    found = dict(equal_hits.searches(queries, documents, "int4", 2))
    assert [way.split(", ")[1] for way in found] == ["all", "filter", "deleted"]
    whole, part, living = found.values()
    assert {name for hits in part for name, _ in hits} <= {f"d{n}" for n in range(1, 30, 3)}
    assert not {name for hits in living for name, _ in hits} & {f"d{n}" for n in range(0, 30, 5)}
    once = dict(equal_hits.searches(queries, documents, "int4", 1))
    assert all(
        equal_hits.same(*pair)
        for one, two in zip(once.values(), found.values(), strict=True)
        for pair in zip(one, two, strict=True)
    )
    assert [len(hits) for hits in whole] == [10] * 3
    assert "| int4, all, 2 threads | 3 |" in equal_hits.table({"made": found})


def test_vectors_are_made_once(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "made-2-2.npz",
        query=np.eye(3, 4, dtype=np.float32), query_sizes=[2, 1],
        document=np.eye(4, dtype=np.float32), document_sizes=[1, 3],
    )  # fmt: skip
    queries, documents = equal_hits.vectors_of(tmp_path / "made", tmp_path, 2, 2)
    assert [item.shape for item in queries] == [(2, 4), (1, 4)]
    assert [item.shape for item in documents] == [(1, 4), (3, 4)]
