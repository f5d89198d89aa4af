"""MaxSim against its definition, written out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import maxsim as maxsim_function
from pocket_colbert import maxsim_pairwise
from pocket_colbert.hardware import int8_may_overflow
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors import int8_matmul, integer_graph
from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.int8_matmul import Product, ReferenceProduct
from pocket_colbert.vectors.int8_maxima import BLOCK_TOKENS, Maxima
from pocket_colbert.vectors.maxsim_codes import MakeKernel, ReferenceMaxima, maxsim_codes
from pocket_colbert.vectors.maxsim_float import maxsim_ragged
from tests.support.arrays import documents_of, unit_rows


def coded(
    rng: np.random.Generator, lengths: list[int], query_tokens: int, dim: int, bits: int
) -> tuple[TokenVectors, QueryCodes]:
    """Return random documents as codes, and a query."""
    documents = documents_of(rng, lengths, dim)
    codec = Codec.fit(np.concatenate(documents), bits)
    return TokenVectors.encode(codec, documents), codec.encode_query(
        unit_rows(rng, query_tokens, dim)
    )


def score(rows: TokenVectors, query: QueryCodes, kernel: MakeKernel) -> np.ndarray:
    """Score all documents on one thread."""
    return maxsim_codes(query, rows.codec, rows.codes, rows.scales, rows.offsets, kernel=kernel)


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


@settings(max_examples=50, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 40), min_size=1, max_size=20),
    query_tokens=st.integers(1, 33),
    dim=st.sampled_from([1, 7, 48, 96, 128, 1024]),
    bits=st.sampled_from([8, 4, 2, 1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_onnxruntime_gives_the_bits_of_numpy(
    lengths: list[int], query_tokens: int, dim: int, bits: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, query = coded(rng, lengths, query_tokens, dim, bits)
    fast, reference = (score(rows, query, kernel) for kernel in (Maxima, ReferenceMaxima))
    assert fast.tobytes() == reference.tobytes()


@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=9),
    bits=st.sampled_from([8, 4, 2, 1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_codes_score_as_their_decoded_vectors(lengths: list[int], bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, query = coded(rng, lengths, 6, 32, bits)
    vectors = unit_rows(np.random.default_rng(seed + 1), 6, 32)
    query = rows.codec.encode_query(vectors)
    decoded = [rows.decode(n) for n in range(len(lengths))]
    np.testing.assert_allclose(
        score(rows, query, Maxima), [brute_force(vectors, d) for d in decoded], atol=0.05
    )


@pytest.mark.parametrize("may_overflow", [True, False])
def test_extreme_codes_do_not_overflow(monkeypatch: pytest.MonkeyPatch, may_overflow: bool) -> None:
    """8-bit codes of 1024 dimensions at their limits, where 16-bit addition would break."""
    if not may_overflow and int8_may_overflow():
        pytest.skip("this processor adds int8 products in 16 bits")
    monkeypatch.setattr(integer_graph, "int8_may_overflow", lambda: may_overflow)
    rows = np.full((3, 1024), 255, dtype=np.uint8)
    codes = np.full((1024, 2), -127, dtype=np.int8)
    lowest = np.float32(-127 * 127 * 1024)
    for product in (Product, ReferenceProduct):
        assert (product(codes, 128)(rows, np.ones(3, np.float32)) == lowest).all()
    query = QueryCodes(codes, np.ones(2, np.float32), np.zeros(2, np.float32))
    codec = Codec(8, np.zeros(1024, np.float32))
    for kernel in (Maxima, ReferenceMaxima):
        assert (
            kernel(query, codec)(rows, np.ones((3, 1)), np.array([0]), np.array([3])) == lowest
        ).all()


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 9) | st.integers(1, 200), min_size=1, max_size=60),
    bits=st.sampled_from([8, 4, 2, 1]),
    before=st.integers(0, 9),
    after=st.integers(0, 9),
    seed=st.integers(0, 2**32 - 1),
)
def test_maxima_of_any_lengths_and_alignment(
    lengths: list[int], bits: int, before: int, after: int, seed: int
) -> None:
    """Documents begin and end anywhere within groups, and one may be far longer than the rest."""
    rng = np.random.default_rng(seed)
    codec = Codec(bits, np.zeros(16, np.float32))
    bounds = before + np.cumsum([0, *lengths])
    rows = rng.integers(0, 256, (bounds[-1] + after, 16)).astype(np.uint8)
    scales = rng.normal(size=(len(rows), codec.planes)).astype(np.float16)
    query = codec.encode_query(unit_rows(rng, 5, 16))
    fast, reference = (
        kernel(query, codec)(rows, scales, bounds[:-1], bounds[1:])
        for kernel in (Maxima, ReferenceMaxima)
    )
    assert fast.tobytes() == reference.tobytes()


def test_blocks_threads_and_selection_change_nothing(rng: np.random.Generator) -> None:
    lengths = [0, 1, BLOCK_TOKENS + 5, 0, 3, *[700] * 40, 0]
    for bits in (8, 4, 1):
        rows, query = coded(rng, lengths, 8, 16, bits)
        alone = score(rows, query, Maxima)
        assert alone[0] == alone[3] == alone[-1] == -np.inf
        with ThreadPoolExecutor(3) as executor:
            assert rows.score_all(query, executor, 3).tobytes() == alone.tobytes()
            chosen = np.array([0, 2, 4, 30, len(lengths) - 1])
            assert rows.score(query, chosen, executor, 3).tobytes() == alone[chosen].tobytes()
        assert len(rows.score(query, np.empty(0, np.int64), None, 1)) == 0


def test_the_exit_of_the_process_waits_for_products(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both graphs run among the calls that the interpreter's exit waits for."""
    runs: list[str] = []

    class Counted:
        def __enter__(self) -> None:
            runs.append("in")

        def __exit__(self, *error: object) -> None:
            runs.append("out")

    monkeypatch.setattr(integer_graph, "native_calls", Counted())
    rows, query = coded(rng, [3, 20], 4, 16, 8)
    score(rows, query, Maxima)
    assert runs == ["in", "out"]
    Product(query.codes, 128)(rows.codes, np.ones(len(rows.codes), np.float32))
    assert runs == ["in", "out"] * 2


@pytest.mark.torch
def test_the_graphs_are_what_export_makes() -> None:
    from pocket_colbert_export.graph.runtime_graphs import graphs

    files = {
        path.name: path.read_bytes()
        for path in (Path(int8_matmul.__file__).parent / "onnx_graphs").glob("*.onnx")
    }
    assert files == graphs()


def test_empty_documents_score_minus_infinity(rng: np.random.Generator) -> None:
    query = unit_rows(rng, 4, 8)
    tokens = unit_rows(rng, 3, 8)
    scores = maxsim_ragged(query, tokens, np.array([0, 0, 3, 3]))
    assert scores[0] == scores[2] == -np.inf
    assert np.isfinite(scores[1])
    assert maxsim_pairwise(query, []).shape == (0,)
