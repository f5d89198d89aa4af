"""Top k and candidate ranking, with ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.candidates import gather_rows, rank_candidates
from pocket_colbert.selection import top_k


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, -np.inf]), max_size=40), st.integers(1, 50))
def test_top_k_is_a_stable_sort(values: list[float], k: int) -> None:
    ranked = sorted((-v, n) for n, v in enumerate(values) if v > -np.inf)
    wanted = [n for _, n in ranked][:k]
    assert top_k(np.array(values, dtype=np.float32), k).tolist() == wanted


def test_candidates_are_judged_on_equal_terms() -> None:
    offsets = np.array([0, 2, 4, 6])
    # Document 0 is near one query token, document 1 near both, document 2 far from both.
    rows = np.array([[0, 2, 4], [3, 5, -1]])
    cosines = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, -np.inf]], dtype=np.float32)
    assert rank_candidates(rows, cosines, offsets, 1).tolist() == [1]
    assert rank_candidates(rows, cosines, offsets, 2).tolist() == [0, 1]
    assert rank_candidates(rows, cosines, offsets, 9).tolist() == [0, 1, 2]


def test_gather_rows_skips_empty_documents() -> None:
    rows, offsets = gather_rows(np.array([0, 1, 3]), np.array([0, 2, 2, 5, 9]))
    assert rows.tolist() == [0, 1, 5, 6, 7, 8]
    assert offsets.tolist() == [0, 2, 2, 6]
