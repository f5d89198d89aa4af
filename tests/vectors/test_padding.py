"""Batches of texts of like length, which pad little."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.vectors.padding import batches_of_like_length


@given(
    lengths=st.lists(st.integers(1, 300), max_size=200),
    size=st.integers(1, 40),
    tokens=st.integers(1, 2000),
    least=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_batches_keep_to_the_budget(
    lengths: list[int], size: int, tokens: int, least: float
) -> None:
    batches = batches_of_like_length(np.array(lengths, dtype=np.int64), size, tokens, least)
    assert sorted(n for batch in batches for n in batch) == list(range(len(lengths)))
    for batch in batches:
        found = [lengths[n] for n in batch]
        assert len(found) == 1 or (len(found) <= size and max(found) * len(found) <= tokens)
        assert min(found) >= least * max(found)
    order = [lengths[n] for batch in batches for n in batch]
    assert order == sorted(lengths, reverse=True)


def test_batches_pad_little() -> None:
    lengths = np.random.default_rng(3).integers(10, 300, size=2000)
    batches = batches_of_like_length(lengths, 256, 16_384)
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.1 * lengths.sum()  # in the order given, half of it would be padding
    assert len(batches) < lengths.sum() / 16_384 * 1.2 + 2
