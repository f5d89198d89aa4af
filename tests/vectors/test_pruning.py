"""Pruning against the same greedy written out, and its invariants."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.pruning import frequent_token_ids, prune_tokens, skiplist_mask
from tests.support.arrays import clustered_rows, unit_rows

pytestmark = pytest.mark.slow

SEEDS = st.integers(0, 2**32 - 1)


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
