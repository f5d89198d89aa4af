"""All steps of pruning together: which are taken, in which order, and what stays untouched."""

from __future__ import annotations

import numpy as np
import pytest

from pocket_colbert import Pruning
from pocket_colbert.vectors.pooling import pool_tokens
from pocket_colbert.vectors.pruning import apply_pruning, drop_tokens, prune_tokens, skiplist_mask
from tests.support.arrays import unit_rows

IDS = np.arange(100, 120)


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    return unit_rows(rng, 20, 8)


def test_nothing_is_done_by_default(rows: np.ndarray) -> None:
    assert apply_pruning(rows, IDS, Pruning()) is rows
    assert drop_tokens(rows, Pruning()) is rows


@pytest.mark.parametrize(
    "pruning",
    [
        Pruning(keep=0.5), Pruning(max_tokens=3), Pruning(max_loss=0.05),
        Pruning(keep=0.5, num_protected_tokens=4), Pruning(max_tokens=9, max_loss=0.01),
    ],
)  # fmt: skip
def test_what_is_dropped_is_what_pruning_chooses(rows: np.ndarray, pruning: Pruning) -> None:
    kept = prune_tokens(
        rows, rows, keep=pruning.keep, max_tokens=pruning.max_tokens, max_loss=pruning.max_loss,
        num_protected_tokens=pruning.num_protected_tokens,
    )  # fmt: skip
    assert 0 < len(kept) < 20
    assert set(range(pruning.num_protected_tokens)) <= set(kept.tolist())
    np.testing.assert_array_equal(drop_tokens(rows, pruning), rows[kept])
    np.testing.assert_array_equal(apply_pruning(rows, IDS, pruning), rows[kept])


def test_a_document_without_tokens_stays_so() -> None:
    empty, ids = np.empty((0, 8), np.float32), np.empty(0, np.int64)
    pruning = Pruning(skiplist_ids=(3,), keep=0.5, pool_factor=2.0)
    assert drop_tokens(empty, pruning).shape == apply_pruning(empty, ids, pruning).shape == (0, 8)


@pytest.mark.parametrize("protected", [0, 1, 3])
def test_tokens_of_the_skiplist_go_but_for_protected_ones(rows: np.ndarray, protected: int) -> None:
    pruning = Pruning(skiplist_ids=(100, 102, 119, 7), num_protected_tokens=protected)
    gone = {0, 2, 19} - set(range(protected))
    kept = [n for n in range(20) if n not in gone]
    np.testing.assert_array_equal(apply_pruning(rows, IDS, pruning), rows[kept])


def test_a_skiplist_is_a_mask() -> None:
    assert skiplist_mask(np.array([5, 6, 7, 5]), (5, 9)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("protected", [0, 1, 2])
def test_the_steps_come_in_order(rows: np.ndarray, protected: int) -> None:
    """Skiplist, the model's own pooling, dropping, pooling: each on what the last one left."""
    pruning = Pruning(
        skiplist_ids=(105, 106), keep=0.7, pool_factor=1.5, num_protected_tokens=protected
    )
    left = np.delete(rows, [5, 6], axis=0)
    left = pool_tokens(left, 1.5, 3)
    kept = prune_tokens(left, left, keep=0.7, num_protected_tokens=protected)
    left = pool_tokens(left[kept], 1.5, protected)
    found = apply_pruning(rows, IDS, pruning, model_pool_factor=1.5, model_protected_tokens=3)
    np.testing.assert_array_equal(found, left)
    assert len(found) < len(kept) < 18


def test_the_first_token_is_protected_from_the_models_pooling(rows: np.ndarray) -> None:
    found = apply_pruning(rows, IDS, Pruning(), model_pool_factor=2.0)
    np.testing.assert_array_equal(found, pool_tokens(rows, 2.0, 1))
    np.testing.assert_array_equal(found[0], rows[0])
