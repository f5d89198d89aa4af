"""Pooling against SciPy, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.pruning import cut_tree, pool_tokens, skiplist_mask, ward_linkage
from tests.conftest import unit_rows


def cosine_distances(rows: np.ndarray) -> np.ndarray:
    """Return distances as `pool_tokens` computes them, exactly symmetric."""
    distances = np.clip(1 - rows.astype(np.float64) @ rows.T.astype(np.float64), 0, 2)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 90), factor=st.floats(1.1, 8), seed=st.integers(0, 2**32 - 1))
def test_ward_equals_scipy(n: int, factor: float, seed: int) -> None:
    distances = cosine_distances(unit_rows(np.random.default_rng(seed), n, 24))
    merges = ward_linkage(distances)
    reference = linkage(squareform(distances, checks=False), "ward")
    np.testing.assert_allclose(merges[:, 2], reference[:, 2], rtol=1e-9)
    clusters = max(int(n // factor), 1)
    wanted = fcluster(reference, clusters, "maxclust") - 1
    np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 40), factor=st.floats(1, 50), protected=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_pool_shape_and_protected_tokens(n: int, factor: float, protected: int, seed: int) -> None:
    embedding = unit_rows(np.random.default_rng(seed), n, 16)
    pooled = pool_tokens(embedding, factor, protected)
    others = max(n - protected, 0)
    expected = min(n, protected) + (min(max(int(others // factor), 1), others) if others else 0)
    assert pooled.shape == (expected, 16) and pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled[:protected], embedding[:protected])
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-5)


def test_equal_tokens_merge(rng: np.random.Generator) -> None:
    rows = unit_rows(rng, 3, 8)
    pooled = pool_tokens(np.repeat(rows, 4, axis=0), 4, 0)
    np.testing.assert_allclose(sorted(pooled.tolist()), sorted(rows.tolist()), rtol=1e-6)


@pytest.mark.parametrize(("factor", "protected"), [(0.5, 1), (float("nan"), 1), (2, -1)])
def test_bad_settings_are_refused(factor: float, protected: int) -> None:
    with pytest.raises(InvalidInputError, match="must be"):
        pool_tokens(np.ones((4, 2), np.float32), factor, protected)


def test_skiplist_mask() -> None:
    ids = np.array([5, 7, 5, 9])
    assert skiplist_mask(ids, [5, 100]).tolist() == [False, True, False, True]
    assert skiplist_mask(ids, []).all()
