"""One score of two, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pocket_colbert.search.fusion import fuse

NONE = -np.inf


def fused(maxsim: list[float], words: list[float], method: str, weight: float) -> list[float]:
    found = fuse(np.array(maxsim, np.float32), np.array(words, np.float32), method, weight)
    assert found.dtype == np.float32
    return [float(value) for value in found]


def test_reciprocal_ranks_are_added() -> None:
    found = fused([3, 5, 4], [0, 1, 2], "rrf", 0.9)
    assert found == pytest.approx([1 / 63, 1 / 61 + 1 / 62, 1 / 62 + 1 / 61])


def test_equal_scores_share_the_better_rank() -> None:
    found = fused([5, 5, 4], [2, 2, 2], "rrf", 0.5)
    assert found == pytest.approx([1 / 61 + 1 / 61, 1 / 61 + 1 / 61, 1 / 63 + 1 / 61])


def test_what_only_one_search_found_has_one_rank() -> None:
    found = fused([NONE, 5, NONE], [3, 0, 0], "rrf", 0.5)
    assert found == pytest.approx([1 / 61, 1 / 61, 0])


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.6, 1.0])
def test_weighted_scores_are_scaled_to_one(weight: float) -> None:
    found = fused([2, 6, 4], [1, 0, 5], "weighted", weight)
    wanted = [0 * (1 - weight) + 0.2 * weight, 1 - weight, 0.5 * (1 - weight) + weight]
    assert found == pytest.approx(wanted)


def test_negative_scores_are_scaled_too() -> None:
    assert fused([-4, -2, 0], [0, 0, 1], "weighted", 0.0) == pytest.approx([0, 0.5, 1])


def test_a_document_without_token_vectors_gets_its_words_alone() -> None:
    assert fused([NONE, 1, 3], [2, 1, 0], "weighted", 0.5) == pytest.approx([0.5, 0.25, 0.5])
    assert fused([NONE, NONE], [2, 1], "weighted", 0.5) == pytest.approx([0.5, 0])


def test_scores_that_are_all_equal_count_in_full() -> None:
    assert fused([7, 7], [0, 1], "weighted", 0.5) == pytest.approx([0.5, 1.0])
    assert fused([7, NONE], [3, 3], "weighted", 0.5) == pytest.approx([1.0, 0.5])
