"""int8 codes: bounds, error, and what it costs a ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.maxsim import maxsim_codes, maxsim_pairwise
from pocket_colbert.quantization import (
    check_embedding,
    dequantize_int8,
    quantize_int8,
    quantize_rows_int8,
)
from pocket_colbert.segment import TokenRows
from tests.conftest import documents_of, unit_rows


@given(rows=st.integers(0, 20), dim=st.integers(1, 130), seed=st.integers(0, 2**32 - 1))
def test_error_is_at_most_half_a_step(rows: int, dim: int, seed: int) -> None:
    embedding = unit_rows(np.random.default_rng(seed), rows, dim)
    codes, scale = quantize_int8(embedding)
    assert codes.dtype == np.int8 and codes.shape == embedding.shape
    assert not rows or np.abs(codes).max() == 127
    assert np.abs(dequantize_int8(codes, scale) - embedding).max(initial=0) <= scale * 0.5001


def test_zeros_stay_zeros() -> None:
    codes, scale = quantize_int8(np.zeros((2, 3)))
    assert not codes.any() and scale == 1
    row_codes, row_scales = quantize_rows_int8(np.zeros((2, 3)))
    assert not row_codes.any() and np.isfinite(row_scales).all()


def test_a_fitted_scale_beats_a_fixed_one(rng: np.random.Generator) -> None:
    embedding = unit_rows(rng, 200, 96)
    codes, scale = quantize_int8(embedding)
    fitted = np.abs(dequantize_int8(codes, scale) - embedding).mean()
    fixed = np.abs(np.rint(embedding * 127) / 127 - embedding).mean()
    assert fitted < fixed / 2


def test_ranking_survives_int8(rng: np.random.Generator) -> None:
    """The gate of this lossy step: overlap of the first 10 with float32's."""
    topics = unit_rows(rng, 30, 96)
    documents = []
    for document in documents_of(rng, [60] * 400, 96):
        mixed = document + 1.5 * topics[rng.integers(30, size=60)]
        documents.append(mixed / np.linalg.norm(mixed, axis=1, keepdims=True))
    rows = TokenRows.join(96, [quantize_int8(document) for document in documents])
    overlaps = []
    for _ in range(20):
        query = unit_rows(rng, 16, 96) + 1.5 * topics[rng.integers(30, size=16)]
        query = (query / np.linalg.norm(query, axis=1, keepdims=True)).astype(np.float32)
        exact = maxsim_pairwise(query, [d.astype(np.float32) for d in documents])
        found = maxsim_codes(*quantize_rows_int8(query), rows.codes, rows.offsets, rows.scales)
        overlaps.append(len(set(np.argsort(-exact)[:10]) & set(np.argsort(-found)[:10])) / 10)
    assert np.mean(overlaps) >= 0.95


@pytest.mark.parametrize(
    "bad",
    [np.zeros(4), np.zeros((2, 5)), np.array([["a"] * 4]), np.full((1, 4), np.nan), [[1j] * 4]],
)
def test_bad_embeddings_are_refused(bad: object) -> None:
    with pytest.raises(InvalidInputError, match="query must"):
        check_embedding(bad, 4, "query")
