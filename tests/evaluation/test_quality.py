"""What every lossy step costs with the bundled model: gates on texts that the exporter ships.

240 pairs of a query and the passage that answers it, in 24 areas. A setting is compared with
unpruned float32 vectors: how many of the first 10 are the same, and how often the answer is first.
The figures in the gates were measured and then loosened a little.
"""

from __future__ import annotations

import json
import warnings
from importlib.resources import files

import numpy as np
import pytest
from numpy.typing import NDArray

from pocket_colbert import (
    Encoder,
    Index,
    IndexConfig,
    Pruning,
    SearchParameters,
    TruncationWarning,
    maxsim_pairwise,
)
from pocket_colbert.vectors.pruning import apply_pruning, first_components

pytestmark = pytest.mark.slow

Vectors = list[NDArray[np.float32]]


def probe_texts() -> tuple[list[str], list[str]]:
    text = (files("pocket_colbert_export.proof") / "data" / "probe.jsonl").read_text(
        encoding="utf-8"
    )
    pairs = [json.loads(line) for line in text.splitlines()]
    return [pair["query"] for pair in pairs], [pair["passage"] for pair in pairs]


@pytest.fixture(scope="module")
def encoded(encoder: Encoder) -> tuple[Vectors, Vectors, list[NDArray[np.int64]]]:
    """Queries, passages and the passages' token ids; passage n answers query n."""
    asked, passages = probe_texts()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)  # one query is longer than the window
        queries = encoder.encode_query(asked)
    return (
        queries,
        encoder.encode_document(passages),
        encoder.document_token_ids(passages),
    )


@pytest.fixture(scope="module")
def ranked(encoded: tuple[Vectors, Vectors, list[NDArray[np.int64]]]) -> list[list[str]]:
    """The first ten by exact float32 MaxSim over all token vectors."""
    queries, passages, _ = encoded
    return [
        [str(n) for n in np.argsort(-maxsim_pairwise(query, passages), kind="stable")[:10]]
        for query in queries
    ]


@pytest.mark.parametrize(
    ("codes", "pruning", "same", "lost"),
    [
        ("int8", Pruning(), 0.99, 0.005), ("int4", Pruning(), 0.94, 0.01),
        ("int2", Pruning(), 0.84, 0.02), ("int1", Pruning(), 0.77, 0.05),
        ("int8", Pruning(pool_factor=2.0), 0.8, 0.03),
        ("int8", Pruning(keep=0.5), 0.85, 0.05),
        ("int8", Pruning(max_loss=0.005), 0.86, 0.05),
        ("int4", Pruning(pool_factor=2.0), 0.78, 0.03),
    ],
)  # fmt: skip
def test_codes_and_pruning_keep_the_ranking(
    encoder: Encoder,
    encoded: tuple[Vectors, Vectors, list[NDArray[np.int64]]],
    ranked: list[list[str]],
    codes: str,
    pruning: Pruning,
    same: float,
    lost: float,
) -> None:
    queries, passages, token_ids = encoded
    kept = [
        apply_pruning(item, ids, pruning) for item, ids in zip(passages, token_ids, strict=True)
    ]
    if pruning != Pruning():
        assert sum(map(len, kept)) < 0.7 * sum(map(len, passages))
    index = Index(encoder.dim, config=IndexConfig(dim=encoder.dim, codes=codes))
    index.add([str(n) for n in range(len(kept))], kept)
    hits = [
        [hit.document_id for hit in found]
        for found in index.search(queries, 10, parameters=SearchParameters(mode="exact"))
    ]
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(hits, ranked, strict=True)]
    assert np.mean(shares) >= same
    before, after = (
        np.mean([first[0] == str(n) for n, first in enumerate(found)]) for found in (ranked, hits)
    )
    assert after >= before - lost


def test_dropping_by_importance_beats_dropping_at_random(
    encoder: Encoder,
    encoded: tuple[Vectors, Vectors, list[NDArray[np.int64]]],
    ranked: list[list[str]],
) -> None:
    queries, passages, token_ids = encoded
    rng = np.random.default_rng(3)
    shares = {}
    for name in ("important", "random"):
        kept = []
        for item, ids in zip(passages, token_ids, strict=True):
            chosen = apply_pruning(item, ids, Pruning(keep=0.4))
            if name == "random":
                chosen = item[np.sort(rng.permutation(len(item))[: len(chosen)])]
            kept.append(chosen)
        hits = [np.argsort(-maxsim_pairwise(query, kept))[:10] for query in queries]
        shares[name] = np.mean(
            [len({str(n) for n in a} & set(b)) / 10 for a, b in zip(hits, ranked, strict=True)]
        )
    assert shares["important"] > shares["random"] + 0.04


def answers_first(queries: Vectors, passages: Vectors, dim: int) -> float:
    """Return how often the passage that answers a query is the first, by prefixes of vectors."""
    queries, passages = ([first_components(v, dim) for v in side] for side in (queries, passages))
    found = [
        int(np.argmax(maxsim_pairwise(query, passages))) == n for n, query in enumerate(queries)
    ]
    return float(np.mean(found))


def test_prefixes_of_the_default_model_serve(
    encoded: tuple[Vectors, Vectors, list[NDArray[np.int64]]],
) -> None:
    queries, passages, _ = encoded
    assert answers_first(queries, passages, 96) >= 0.79
    for dim in (64, 48, 32):
        assert answers_first(queries, passages, dim) >= 0.77


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
def test_the_tiny_model_is_nearly_as_good() -> None:
    encoder = Encoder.load("tiny", threads=2)
    asked, passages = probe_texts()
    vectors = encoder.encode_query(asked), encoder.encode_document(passages)
    for dim in (96, 32):
        assert answers_first(*vectors, dim) >= 0.74
