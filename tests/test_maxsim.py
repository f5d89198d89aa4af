"""MaxSim against its definition, written out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import maxsim as maxsim_function
from pocket_colbert import maxsim_pairwise
from pocket_colbert.maxsim import BLOCK_TOKENS, maxsim_codes, maxsim_ragged
from pocket_colbert.quantization import quantize_int8, quantize_rows_int8
from pocket_colbert.segment import TokenRows
from tests.conftest import documents_of, unit_rows


def brute_force(query: np.ndarray, document: np.ndarray) -> float:
    """Sum, over query tokens, the best dot product with a document token."""
    return sum(max(float(q @ d) for d in document) for q in query) if len(document) else -np.inf


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    query_tokens=st.integers(1, 7),
    dim=st.sampled_from([1, 3, 16, 48]),
    seed=st.integers(0, 2**32 - 1),
)
def test_maxsim_equals_its_definition(
    lengths: list[int], query_tokens: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query, documents = unit_rows(rng, query_tokens, dim), documents_of(rng, lengths, dim)
    wanted = [brute_force(query, document) for document in documents]
    np.testing.assert_allclose(maxsim_pairwise(query, documents), wanted, rtol=1e-4, atol=1e-4)
    assert maxsim_function(query, documents[0]) == pytest.approx(wanted[0], abs=1e-4)


@settings(max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    query_tokens=st.integers(1, 33),
    dim=st.sampled_from([1, 7, 48, 96, 128, 1024]),
    seed=st.integers(0, 2**32 - 1),
)
def test_numkong_gives_the_bits_of_numpy(
    lengths: list[int], query_tokens: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = TokenRows.join(dim, [quantize_int8(d) for d in documents_of(rng, lengths, dim)])
    codes, scales = quantize_rows_int8(unit_rows(rng, query_tokens, dim))
    arguments = codes, scales, rows.codes, rows.offsets, rows.scales
    fast = maxsim_codes(*arguments, backend="numkong")
    reference = maxsim_codes(*arguments, backend="numpy")
    assert fast.tobytes() == reference.tobytes()


def test_extreme_codes_do_not_overflow() -> None:
    codes = np.full((3, 1024), -127, dtype=np.int8)
    offsets = np.array([0, 3])
    for backend in ("numkong", "numpy"):
        scores = maxsim_codes(
            codes, np.ones(3, np.float32), codes, offsets, np.ones(1, np.float32), backend=backend
        )
        assert scores[0] == 3 * 127 * 127 * 1024


def test_blocks_and_threads_change_nothing(rng: np.random.Generator) -> None:
    lengths = [0, 1, BLOCK_TOKENS + 5, 0, 3, *[700] * 40, 0]
    rows = TokenRows.join(16, [quantize_int8(d) for d in documents_of(rng, lengths, 16)])
    codes, scales = quantize_rows_int8(unit_rows(rng, 8, 16))
    arguments = codes, scales, rows.codes, rows.offsets, rows.scales
    alone = maxsim_codes(*arguments)
    with ThreadPoolExecutor(3) as executor:
        assert maxsim_codes(*arguments, executor=executor).tobytes() == alone.tobytes()
    for number in (1, 2, 4, 30):
        begin, end = rows.offsets[number : number + 2]
        one = maxsim_codes(
            codes, scales, rows.codes[begin:end], np.array([0, end - begin]),
            rows.scales[number : number + 1],
        )  # fmt: skip
        assert one[0] == alone[number]


def test_empty_documents_score_minus_infinity(rng: np.random.Generator) -> None:
    query = unit_rows(rng, 4, 8)
    tokens = unit_rows(rng, 3, 8)
    scores = maxsim_ragged(query, tokens, np.array([0, 0, 3, 3]))
    assert scores[0] == scores[2] == -np.inf
    assert np.isfinite(scores[1])
    assert maxsim_pairwise(query, []).shape == (0,)
