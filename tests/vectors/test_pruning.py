"""Pooling against SciPy, pruning against the same greedy written out, and their invariants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.maxsim_float import maxsim
from pocket_colbert.vectors.pooling import pool_tokens
from pocket_colbert.vectors.pruning import frequent_token_ids, prune_tokens, skiplist_mask
from pocket_colbert.vectors.query_tokens import (
    informative_query_tokens,
    merge_duplicate_query_tokens,
)
from pocket_colbert.vectors.ward import cut_tree, ward_linkage
from tests.support.arrays import unit_rows

SEEDS = st.integers(0, 2**32 - 1)


def clustered_rows(
    rng: np.random.Generator, rows: int, dim: int, groups: int, noise: float
) -> NDArray[np.float32]:
    """Return unit vectors that gather around a few centres, as a text's token vectors do."""
    centres = rng.normal(size=(groups, dim))
    values = centres[rng.integers(0, groups, rows)] + noise * rng.normal(size=(rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


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
    merges = ward_linkage(distances)
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
    merges, reference = ward_linkage(distances), scipy_ward(distances)
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
    merges, reference = ward_linkage(distances), scipy_ward(distances)
    np.testing.assert_allclose(merges[:, 2], reference[:, 2], rtol=1e-9)
    for clusters in {1, 2, n // 2, n - 1} - {0}:
        wanted = fcluster(reference, clusters, "maxclust") - 1
        np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)


def test_every_cut_equals_scipy(rng: np.random.Generator) -> None:
    distances = cosine_distances(clustered_rows(rng, 70, 16, 12, 0.3))
    merges, reference = ward_linkage(distances), scipy_ward(distances)
    for clusters in range(1, 70):
        wanted = fcluster(reference, clusters, "maxclust") - 1
        np.testing.assert_array_equal(cut_tree(merges, clusters), wanted)
    assert sorted(cut_tree(merges, 70)) == list(range(70))


def test_ward_reads_its_input_only(rng: np.random.Generator) -> None:
    distances = cosine_distances(unit_rows(rng, 50, 8))
    before = distances.copy()
    ward_linkage(distances)
    np.testing.assert_array_equal(distances, before)


def test_one_point_and_two() -> None:
    assert ward_linkage(np.zeros((1, 1))).shape == (0, 3)
    assert cut_tree(np.empty((0, 3)), 1).tolist() == [0]
    assert ward_linkage(np.array([[0.0, 0.5], [0.5, 0.0]])).tolist() == [[0, 1, 0.5]]


@settings(max_examples=40, deadline=None)
@given(distinct=st.integers(1, 12), copies=st.integers(2, 20), seed=SEEDS)
def test_repeated_tokens(distinct: int, copies: int, seed: int) -> None:
    """Ties may be broken otherwise than SciPy does, but never to clusters that are worse."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(np.repeat(unit_rows(rng, distinct, 8), copies, axis=0))
    distances = cosine_distances(rows)
    merges, reference = ward_linkage(distances), scipy_ward(distances)
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
    merges = ward_linkage(distances)
    assert merges.shape == (149, 3)
    assert len(np.unique(cut_tree(merges, 75))) == 75


def test_asymmetry_of_rounding_comes_to_an_end(rng: np.random.Generator) -> None:
    """No two are each other's nearest on a ring of 30 whose distances shrink all the way round."""
    around = (np.arange(30) - np.arange(30)[:, None]) % 30
    distances = 0.5 + around * 1e-16
    assert len(np.unique(cut_tree(ward_linkage(distances), 10))) == 10


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


# Skiplist and frequent tokens


def test_skiplist_mask() -> None:
    ids = np.array([5, 7, 5, 9])
    assert skiplist_mask(ids, [5, 100]).tolist() == [False, True, False, True]
    assert skiplist_mask(ids, []).all()


def test_frequent_token_ids() -> None:
    counts = np.bincount([4, 4, 4, 2, 2, 6, 6, 1], minlength=9)
    assert frequent_token_ids(counts, 1).tolist() == [4]
    assert frequent_token_ids(counts, 3).tolist() == [4, 2, 6]
    assert frequent_token_ids(counts, 100).tolist() == [4, 2, 6, 1]
    assert frequent_token_ids(counts, 0).tolist() == []
    mask = skiplist_mask(np.array([4, 1, 2, 3]), frequent_token_ids(counts, 2).tolist())
    assert mask.tolist() == [False, True, False, True]
    with pytest.raises(InvalidInputError, match="number must be >= 0, got -1"):
        frequent_token_ids(counts, -1)


# Pruning


def mean_loss(embedding: np.ndarray, directions: np.ndarray, kept: Any) -> float:
    """Measure, in float64, how far the best dot product falls on average."""
    products = directions.astype(np.float64) @ embedding.T.astype(np.float64)
    return float((products.max(axis=1) - products[:, kept].max(axis=1)).mean())


def one_by_one(
    embedding: np.ndarray,
    directions: np.ndarray,
    target: int,
    bound: float = np.inf,
    protected: int = 0,
) -> list[int]:
    """Remove the token whose removal leaves the least mean loss, one at a time."""
    kept = list(range(len(embedding)))
    while len(kept) > max(target, protected, 1):
        choices = [p for p in reversed(kept) if p >= protected]
        rest = [[q for q in kept if q != p] for p in choices]
        losses = [mean_loss(embedding, directions, r) for r in rest]
        if min(losses) > bound:
            break
        kept = rest[int(np.argmin(losses))]
    return kept


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 30), m=st.integers(1, 60), keep=st.floats(0.05, 1),
    protected=st.integers(0, 4), seed=SEEDS,
)  # fmt: skip
def test_pruning_equals_the_greedy_one_by_one(
    n: int, m: int, keep: float, protected: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embedding, directions = clustered_rows(rng, n, 12, 6, 0.4), unit_rows(rng, m, 12)
    kept = prune_tokens(embedding, directions, keep=keep, num_protected_tokens=protected)
    target = int(np.ceil(keep * n))
    wanted = one_by_one(embedding, directions, target, protected=protected)
    assert kept.dtype == np.int64 and len(kept) == min(n, max(target, protected, 1))
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert kept[:protected].tolist() == list(range(min(n, protected)))
    loss = mean_loss(embedding, directions, kept)
    # The same tokens, save where float32 products tie and float64 ones do not.
    assert loss <= 1.02 * mean_loss(embedding, directions, wanted) + 1e-6


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 30), m=st.integers(1, 60), bound=st.floats(0, 0.3), seed=SEEDS)
def test_the_loss_bound_holds_and_is_used(n: int, m: int, bound: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    embedding, directions = unit_rows(rng, n, 12), unit_rows(rng, m, 12)
    kept = prune_tokens(embedding, directions, max_loss=bound).tolist()
    assert mean_loss(embedding, directions, kept) <= bound + 1e-6
    for position in kept if len(kept) > 1 else []:
        rest = [other for other in kept if other != position]
        assert mean_loss(embedding, directions, rest) >= bound - 1e-6


def test_targets_and_bound_together(rng: np.random.Generator) -> None:
    embedding, directions = unit_rows(rng, 40, 16), unit_rows(rng, 300, 16)

    def kept(**options: Any) -> int:
        return len(prune_tokens(embedding, directions, **options))

    assert kept() == kept(keep=1.0) == kept(max_tokens=40) == kept(max_tokens=99) == 40
    assert kept(keep=0.1) == 4 and kept(max_tokens=7) == 7
    assert kept(keep=0.5, max_tokens=7) == 7 and kept(keep=0.1, max_tokens=7) == 4
    free = kept(max_loss=0.02)
    assert 1 < free < 40
    assert kept(max_loss=0.02, max_tokens=1) == kept(max_loss=0.02, keep=0.01) == free
    assert kept(max_loss=0.02, max_tokens=39) == 39
    assert kept(max_loss=0.02, max_tokens=40) == 40
    assert kept(max_loss=2.0) == kept(max_tokens=1) == kept(keep=1e-9) == 1
    assert kept(max_loss=2.0, num_protected_tokens=3) == 3
    assert kept(max_tokens=2, num_protected_tokens=60) == 40


def test_keep_rounds_up_what_is_meant() -> None:
    rows = np.eye(100, dtype=np.float32)
    assert 0.07 * 100 > 7
    assert len(prune_tokens(rows, rows, keep=0.07)) == 7
    assert len(prune_tokens(rows, rows, keep=0.071)) == 8


def test_dominated_tokens_cost_nothing(rng: np.random.Generator) -> None:
    """A shorter vector of the same direction is never the best where that one is positive."""
    corners, directions = np.eye(8, dtype=np.float32), np.abs(unit_rows(rng, 200, 8))
    embedding = np.concatenate([0.5 * corners, corners, 0.9 * corners])
    kept = prune_tokens(embedding, directions, max_loss=0.0)
    assert set(kept) <= set(range(8, 16))
    assert mean_loss(embedding, directions, kept) == 0
    assert kept.tolist() == prune_tokens(embedding, directions, max_tokens=len(kept)).tolist()


def test_of_equal_tokens_one_stays(rng: np.random.Generator) -> None:
    """Each of two equal tokens costs nothing while the other is there; both must not go."""
    rows, directions = np.eye(6, dtype=np.float32), unit_rows(rng, 100, 6)
    for embedding in (np.repeat(rows, 5, axis=0), np.tile(rows, (5, 1))):
        kept = prune_tokens(embedding, directions, max_loss=1e-6)
        assert mean_loss(embedding, directions, kept) <= 1e-6
        assert len(kept) == len(np.unique(embedding[kept], axis=0)) == 6
        firsts = np.unique(embedding, axis=0, return_index=True)[1]
        assert kept.tolist() == sorted(firsts.tolist())
    assert prune_tokens(np.repeat(rows[:1], 9, axis=0), directions, max_loss=0.0).tolist() == [0]


def test_pruning_does_not_depend_on_the_order_of_directions(rng: np.random.Generator) -> None:
    embedding, directions = clustered_rows(rng, 120, 24, 20, 0.5), unit_rows(rng, 400, 24)
    kept = prune_tokens(embedding, directions, keep=0.4)
    assert kept.tolist() == prune_tokens(embedding, directions, keep=0.4).tolist()
    for _ in range(5):
        shuffled = rng.permutation(directions)
        assert prune_tokens(embedding, shuffled, keep=0.4).tolist() == kept.tolist()


def test_pruning_one_token_and_none(rng: np.random.Generator) -> None:
    directions = unit_rows(rng, 20, 8)
    choices: list[dict[str, Any]] = [{"keep": 0.1}, {"max_loss": 5.0}, {"max_tokens": 1}, {}]
    for options in choices:
        assert prune_tokens(unit_rows(rng, 1, 8), directions, **options).tolist() == [0]
        empty = prune_tokens(np.empty((0, 8), np.float32), directions, **options)
        assert empty.tolist() == [] and empty.dtype == np.int64


@pytest.mark.parametrize(
    "options",
    [
        {"keep": 0.0}, {"keep": 1.5}, {"keep": float("nan")}, {"max_tokens": 0},
        {"max_loss": -0.1}, {"max_loss": float("nan")}, {"num_protected_tokens": -1},
    ],
)  # fmt: skip
def test_bad_pruning_optionsare_refused(options: dict[str, Any]) -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(InvalidInputError, match=f"{next(iter(options))} must be .*, got "):
        prune_tokens(rows, rows, **options)


def test_pruning_refuses_shapes_that_do_not_fit() -> None:
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(InvalidInputError, match="must be .* of one dim"):
        prune_tokens(rows, rows[:, :3])
    with pytest.raises(InvalidInputError, match="at least one row, got none"):
        prune_tokens(rows, rows[:0])


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
