"""Which token vectors of a query matter, and which can be scored as one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.maxsim_float import maxsim
from pocket_colbert.vectors.query_tokens import (
    informative_query_tokens,
    merge_duplicate_query_tokens,
)
from tests.support.arrays import clustered_rows, unit_rows

SEEDS = st.integers(0, 2**32 - 1)


# Queries


def test_informative_query_tokens() -> None:
    """One that is like everything, one that stands out, one that knows nothing, one between."""
    similarities = np.array(
        [[0.9, 0.8, 0.9, 0.8], [0.1, 0.1, 0.9, 0.1], [0.3, 0.3, 0.3, 0.3], [0.1, 0.3, 0.5, 0.2]],
        dtype=np.float32,
    )
    assert informative_query_tokens(similarities, 9).tolist() == [1, 3, 0, 2]
    assert informative_query_tokens(similarities, 2).tolist() == [1, 3]
    same = np.repeat(similarities[1:2], 3, axis=0)
    assert informative_query_tokens(same, 2).tolist() == [0, 1]
    assert informative_query_tokens(np.empty((0, 4), np.float32), 2).tolist() == []
    for number, wrong in ((0, similarities), (2, similarities[:, :0]), (2, similarities[0])):
        with pytest.raises(InvalidInputError, match="must be"):
            informative_query_tokens(wrong, number)


@settings(max_examples=60, deadline=None)
@given(q=st.integers(0, 12), copies=st.integers(1, 4), seed=SEEDS)
def test_merged_exact_duplicates_score_the_same(q: int, copies: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query = rng.permutation(np.repeat(unit_rows(rng, q, 8), copies, axis=0))
    document = unit_rows(rng, 15, 8)
    unique, weights = merge_duplicate_query_tokens(query)
    assert unique.shape == (q, 8) and weights.tolist() == [copies] * q
    assert unique.dtype == weights.dtype == np.float32
    found = float(((unique @ document.T).max(axis=1) * weights).sum())
    assert found == pytest.approx(maxsim(query, document), rel=1e-6, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(q=st.integers(1, 30), tolerance=st.floats(0, 1), seed=SEEDS)
def test_merged_near_duplicates_score_within_the_bound(q: int, tolerance: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, document = clustered_rows(rng, q, 8, 4, 0.2), unit_rows(rng, 15, 8)
    unique, weights = merge_duplicate_query_tokens(query, tolerance)
    assert weights.sum() == q
    found = float(((unique @ document.T).max(axis=1) * weights).sum())
    assert abs(found - maxsim(query, document)) <= tolerance * (q - len(unique)) + 1e-4
    apart = np.linalg.norm(unique[:, None].astype(float) - unique, axis=2)
    np.fill_diagonal(apart, np.inf)
    assert apart.min(initial=np.inf) > tolerance


def test_merging_joins_the_first_that_is_near() -> None:
    query = np.array([[0.0], [0.4], [0.8], [0.3]], dtype=np.float32)
    unique, weights = merge_duplicate_query_tokens(query, 0.5)
    np.testing.assert_array_equal(unique, query[[0, 2]])
    assert weights.tolist() == [3, 1]
    for wrong in (-0.1, float("nan")):
        with pytest.raises(InvalidInputError, match="tolerance must be >= 0, got"):
            merge_duplicate_query_tokens(query, wrong)
