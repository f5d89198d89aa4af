"""The best k, with ties."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.vectors.top_k import top_k


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, -np.inf]), max_size=40), st.integers(1, 50))
def test_top_k_is_a_stable_sort(values: list[float], k: int) -> None:
    ranked = sorted((-v, n) for n, v in enumerate(values) if v > -np.inf)
    wanted = [n for _, n in ranked][:k]
    assert top_k(np.array(values, dtype=np.float32), k).tolist() == wanted
