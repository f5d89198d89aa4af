"""MaxSim by onnxruntime against MaxSim by NumPy, on the CPU's provider.

No GPU is needed: the graphs, the binding and the blocks are the same on every provider.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import DeviceMaxSim, InvalidInputError, ProviderError, maxsim_pairwise
from pocket_colbert.vectors import device_maxsim as gpu
from pocket_colbert.vectors.maxsim_float import maxsim_ragged
from pocket_colbert.vectors.small_graph import SmallGraph
from tests.support.arrays import cone_documents, documents_of, unit_rows


@settings(deadline=None, max_examples=50)
@given(
    lengths=st.lists(st.integers(0, 40), max_size=30),
    query_tokens=st.integers(0, 33),
    dim=st.sampled_from([1, 7, 96]),
    memory=st.sampled_from([0, 5_000, 1 << 30]),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_are_those_of_numpy(
    lengths: list[int], query_tokens: int, dim: int, memory: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query, documents = unit_rows(rng, query_tokens, dim), documents_of(rng, lengths, dim)
    scorer = DeviceMaxSim(documents, provider="cpu", memory=memory)
    found = scorer(query)
    assert found.dtype == np.float32 and len(scorer) == len(lengths)
    np.testing.assert_allclose(found, maxsim_pairwise(query, documents), rtol=0, atol=2e-5)
    assert scorer.bytes_on_device <= memory


def test_lengths_at_their_extremes(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Empty documents anywhere, one token, one far longer than a block; in blocks of 1000 rows."""
    monkeypatch.setattr(gpu, "BLOCK_BYTES", 1000 * 16 * 4)
    lengths = [0, 1, 20_000, 0, *range(1, 90), 1000, 1001, 0]
    documents, query = documents_of(rng, lengths, 16), unit_rows(rng, 32, 16)
    scorer = DeviceMaxSim(documents, provider="cpu")
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    wanted = maxsim_ragged(query, np.concatenate(documents), offsets)
    np.testing.assert_allclose(scorer(query), wanted, rtol=0, atol=2e-5)
    assert (np.isneginf(scorer(query)) == (np.array(lengths) == 0)).all()
    assert len(scorer._blocks) > 5
    empty = DeviceMaxSim(documents_of(rng, [0, 0], 16), provider="cpu")
    assert np.isneginf(empty(query)).all() and empty.bytes_on_device == 0
    assert DeviceMaxSim([], provider="cpu")(query).shape == (0,)


def test_padding_never_wins(rng: np.random.Generator) -> None:
    """A query whose every product is negative would be won by a padding of zeros."""
    query = unit_rows(rng, 3, 8)
    documents = [-query[:1].repeat(n, axis=0) for n in (1, 5)]
    wanted = maxsim_pairwise(query[:1], documents)
    found = DeviceMaxSim(documents, provider="cpu")(query[:1])
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert (found < -0.99).all()


def test_float16_costs_little(rng: np.random.Generator) -> None:
    documents = cone_documents(rng, [0, *rng.integers(1, 200, size=400)], 96)
    query = cone_documents(rng, [32], 96)[0]
    scorer = DeviceMaxSim(documents, provider="cpu", dtype="float16")
    found, wanted = scorer(query), maxsim_pairwise(query, documents)
    assert found[0] == wanted[0] == -np.inf
    difference = np.abs(found[1:] - wanted[1:])
    assert np.median(difference) < 2e-3 and difference.max() < 0.016
    # Sums of float16 would be in steps of 1/64 from 16 on.
    assert (found[1:] > 16).mean() > 0.9 and len(set(found.tolist())) > 390
    assert scorer.bytes_on_device * 2 == DeviceMaxSim(documents, provider="cpu").bytes_on_device


def test_threads_score_side_by_side(rng: np.random.Generator) -> None:
    documents = documents_of(rng, [5, 50, 500], 16)
    scorer = DeviceMaxSim(documents, provider="cpu")
    queries = [unit_rows(rng, n % 9 + 1, 16) for n in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(scorer, queries))
    for query, scores in zip(queries, found, strict=True):
        assert scores.tobytes() == scorer(query).tobytes()


def test_bad_input_is_refused(rng: np.random.Generator) -> None:
    documents = documents_of(rng, [3, 4], 16)
    with pytest.raises(InvalidInputError, match=r"\(query_tokens, 16\), got .*\(2, 8\)"):
        DeviceMaxSim(documents, provider="cpu")(unit_rows(rng, 2, 8))
    with pytest.raises(InvalidInputError, match="of one dim"):
        DeviceMaxSim([*documents, unit_rows(rng, 2, 8)], provider="cpu")
    with pytest.raises(InvalidInputError, match="list of arrays"):
        DeviceMaxSim({"a": documents[0]}, provider="cpu")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="dtype must be"):
        DeviceMaxSim(documents, provider="cpu", dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="memory must be"):
        DeviceMaxSim(documents, provider="cpu", memory=-1)
    with pytest.raises(ProviderError, match="'CUDAExecutionProvider' is not available"):
        DeviceMaxSim(documents)


def test_a_full_device_is_a_provider_error() -> None:
    """Products that take more bytes than a process has addresses for."""
    graph = SmallGraph("maxsim.onnx")
    inputs = {
        "query": np.ones((1 << 24, 1), np.float32),
        "documents": np.ones((1 << 10, 1 << 12, 1), np.float32),
        "lengths": np.full(1 << 10, 1 << 12, np.int64),
    }
    with pytest.raises(ProviderError, match="CPUExecutionProvider failed"):
        graph.run(inputs)
