"""Pooling against SciPy, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pocket_colbert import Encoder
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.pooling import cut_tree, pool_labels, pool_tokens, ward_tree
from tests.support.arrays import clustered_rows, unit_rows

SEEDS = st.integers(0, 2**32 - 1)


def cosine_distances(rows: np.ndarray) -> np.ndarray:
    """Return distances as `pool_tokens` computes them, exactly symmetric."""
    distances = np.clip(1 - rows.astype(np.float64) @ rows.T.astype(np.float64), 0, 2)
    distances = (distances + distances.T) / 2
    np.fill_diagonal(distances, 0)
    return distances


def scipy_ward(distances: np.ndarray) -> np.ndarray:
    return np.asarray(linkage(squareform(distances, checks=False), "ward"))


def scipy_pool(rows: np.ndarray, pool_factor: float, protected: int) -> np.ndarray:
    """Pool as sentence-transformers does, with SciPy."""
    others = rows[protected:].astype(np.float64)
    clusters = max(int(len(others) // pool_factor), 1)
    labels = fcluster(scipy_ward(cosine_distances(rows[protected:])), clusters, "maxclust")
    means = np.array([others[labels == label].mean(axis=0) for label in range(1, clusters + 1)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return np.concatenate([rows[:protected], means])


def spread_within(rows: np.ndarray, labels: np.ndarray) -> float:
    """Return the summed squared distances of the rows from the centres of their clusters."""
    return sum(
        float(np.square(rows[labels == label] - rows[labels == label].mean(axis=0)).sum())
        for label in np.unique(labels)
    )


# Ward


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 90), factor=st.floats(1.1, 8), seed=SEEDS)
def test_ward_equals_scipy(n: int, factor: float, seed: int) -> None:
    distances = cosine_distances(unit_rows(np.random.default_rng(seed), n, 24))
    merges = ward_tree(distances)
    reference = scipy_ward(distances)
    np.testing.assert_allclose(merges[:, 2], reference[:, 2], rtol=1e-9)
    clusters = max(int(n // factor), 1)
    wanted = fcluster(reference, clusters, "maxclust") - 1
    np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 400), groups=st.integers(1, 200), noise=st.sampled_from([0.05, 0.3, 1.0]),
    dim=st.sampled_from([8, 48, 96]), seed=SEEDS, data=st.data(),
)  # fmt: skip
def test_ward_equals_scipy_on_clustered_vectors(
    n: int, groups: int, noise: float, dim: int, seed: int, data: st.DataObject
) -> None:
    distances = cosine_distances(clustered_rows(np.random.default_rng(seed), n, dim, groups, noise))
    merges, reference = ward_tree(distances), scipy_ward(distances)
    np.testing.assert_allclose(merges[:, 2], reference[:, 2], rtol=1e-9)
    clusters = data.draw(st.integers(1, n - 1))
    wanted = fcluster(reference, clusters, "maxclust") - 1
    np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)


@settings(max_examples=30, deadline=None)
@given(n=st.integers(2, 120), seed=SEEDS)
def test_ward_equals_scipy_where_no_vectors_have_such_distances(n: int, seed: int) -> None:
    """Cosine distances are read as Euclidean ones, which they are not; here they cannot be."""
    distances = np.triu(np.random.default_rng(seed).uniform(0.01, 1, size=(n, n)), 1)
    distances += distances.T
    merges, reference = ward_tree(distances), scipy_ward(distances)
    np.testing.assert_allclose(merges[:, 2], reference[:, 2], rtol=1e-9)
    for clusters in {1, 2, n // 2, n - 1} - {0}:
        wanted = fcluster(reference, clusters, "maxclust") - 1
        np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)


def test_every_cut_equals_scipy(rng: np.random.Generator) -> None:
    distances = cosine_distances(clustered_rows(rng, 70, 16, 12, 0.3))
    merges, reference = ward_tree(distances), scipy_ward(distances)
    for clusters in range(1, 70):
        wanted = fcluster(reference, clusters, "maxclust") - 1
        np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)
    assert sorted(cut_tree(merges, 70)) == list(range(70))


def test_ward_reads_its_input_only(rng: np.random.Generator) -> None:
    distances = cosine_distances(unit_rows(rng, 50, 8))
    before = distances.copy()
    ward_tree(distances)
    np.testing.assert_array_equal(distances, before)


def test_one_point_and_two() -> None:
    assert ward_tree(np.zeros((1, 1))).shape == (0, 4)
    assert cut_tree(np.empty((0, 4)), 1).tolist() == [0]
    assert ward_tree(np.array([[0.0, 0.5], [0.5, 0.0]])).tolist() == [[0, 1, 0.5, 2]]


@settings(max_examples=40, deadline=None)
@given(distinct=st.integers(1, 12), copies=st.integers(2, 20), seed=SEEDS)
def test_repeated_tokens(distinct: int, copies: int, seed: int) -> None:
    """Ties may be broken otherwise than SciPy does, but never to clusters that are worse."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(unit_rows(rng, distinct, 8), copies, axis=0))
    distances = cosine_distances(rows)
    merges, reference = ward_tree(distances), scipy_ward(distances)
    np.testing.assert_allclose(merges[:, 2], reference[:, 2], rtol=1e-6, atol=1e-6)
    for clusters in {1, distinct, len(rows) // 2}:
        labels = cut_tree(merges, clusters)
        assert labels.max() + 1 == len(np.unique(labels)) == clusters
        wanted = fcluster(reference, clusters, "maxclust")
        if clusters <= distinct:
            assert spread_within(rows, labels) <= spread_within(rows, wanted) + 1e-5
        else:
            assert spread_within(rows, labels) <= 1e-5


@pytest.mark.parametrize("value", [0.0, 3e-8, 0.5])
def test_equal_distances_everywhere_come_to_an_end(value: float) -> None:
    distances = np.full((150, 150), value)
    merges = ward_tree(distances)
    assert merges.shape == (149, 4)
    assert len(np.unique(cut_tree(merges, 75))) == 75


def test_asymmetry_of_rounding_comes_to_an_end(rng: np.random.Generator) -> None:
    """No two are each other's nearest on a ring of 30 whose distances shrink all the way round."""
    around = (np.arange(30) - np.arange(30)[:, None]) % 30
    distances = 0.5 + around * 1e-16
    assert len(np.unique(cut_tree(ward_tree(distances), 10))) == 10


# Pooling


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(0, 40), factor=st.floats(1, 50), protected=st.integers(0, 5),
    seed=SEEDS,
)  # fmt: skip
def test_pool_shape_and_protected_tokens(n: int, factor: float, protected: int, seed: int) -> None:
    embedding = unit_rows(np.random.default_rng(seed), n, 16)
    pooled = pool_tokens(embedding, factor, protected)
    others = max(n - protected, 0)
    expected = min(n, protected) + (min(max(int(others // factor), 1), others) if others else 0)
    assert pooled.shape == (expected, 16) and pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled[:protected], embedding[:protected])
    np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(8, 260), factor=st.floats(1.3, 6), protected=st.integers(0, 3), seed=SEEDS)
def test_pool_equals_scipy_row_by_row(n: int, factor: float, protected: int, seed: int) -> None:
    embedding = clustered_rows(np.random.default_rng(seed), n, 48, n // 4, 0.4)
    wanted = scipy_pool(embedding, factor, protected)
    np.testing.assert_allclose(pool_tokens(embedding, factor, protected), wanted, atol=1e-6)


def test_equal_tokens_merge(rng: np.random.Generator) -> None:
    rows = unit_rows(rng, 3, 8)
    pooled = pool_tokens(np.repeat(rows, 4, axis=0), 4, 0)
    np.testing.assert_allclose(sorted(pooled.tolist()), sorted(rows.tolist()), rtol=1e-6)


@pytest.mark.parametrize(("factor", "protected"), [(0.5, 1), (float("nan"), 1), (2, -1)])
def test_bad_optionsare_refused(factor: float, protected: int) -> None:
    with pytest.raises(InvalidInputError, match="must be"):
        pool_tokens(np.ones((4, 2), np.float32), factor, protected)


def test_pool_refuses_what_is_not_a_number(rng: np.random.Generator) -> None:
    embedding = unit_rows(rng, 20, 4)
    embedding[7, 2] = np.nan
    with pytest.raises(InvalidInputError, match="must be finite"):
        pool_tokens(embedding, 2)


def test_labels_equal_scipy_on_real_texts(encoder: Encoder) -> None:
    texts = [
        "The rise of the tides is the work of the moon, and, less so, of the sun. " * 4,
        "Either party may end this agreement with ninety days of written notice; the supplier "
        "keeps bees on the roof at its own cost, and the roof at the cost of the bees.",
        "def pool(rows): return rows.mean(axis=0)  # 東京は日本の首都です。",
    ]
    for embedding in encoder.encode_document(texts):
        tree = scipy_ward(cosine_distances(embedding[1:]))
        for factor in (1.5, 2.0, 3.0, 4.0):
            clusters = int((len(embedding) - 1) // factor)
            labels = pool_labels(embedding, factor)
            assert labels[0] == 0 and labels.max() == clusters
            wanted = fcluster(tree, clusters, "maxclust")
            np.testing.assert_array_equal(labels[1:], wanted)
