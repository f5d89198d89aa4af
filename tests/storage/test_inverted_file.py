"""The inverted file: who is a candidate, judged by what."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert import Index, IndexConfig, IndexFormatError, SearchParameters
from pocket_colbert.index.snapshot import Snapshot
from pocket_colbert.storage.clustering import CentroidGraph
from pocket_colbert.storage.inverted_file import (
    InvertedFile,
    _largest,
    build,
    list_dtype,
    num_centroids,
)
from pocket_colbert.storage.manifest import RecallEntry, _checksum
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.int8_matmul import ReferenceProduct
from pocket_colbert.vectors.ragged import rows_of
from tests.support.arrays import cone_documents, unit_rows

pytestmark = pytest.mark.slow


def toy(lists: list[list[int]]) -> InvertedFile:
    """Return a file of 32 centroids on the axes; the lists given are the first ones."""
    lists = lists + [[]] * (32 - len(lists))
    return InvertedFile(
        (np.eye(32) * 100 + 128).astype(np.uint8),
        np.full(32, 0.01, np.float32),
        np.cumsum([0, *map(len, lists)]),
        np.array([document for item in lists for document in item], np.uint16),
    )


def query_of(*rows: dict[int, int]) -> QueryCodes:
    """Return a query whose tokens have these components."""
    codes = np.zeros((32, len(rows)), np.int8)
    for number, row in enumerate(rows):
        for axis, value in row.items():
            codes[axis, number] = value
    ones = np.ones(len(rows), np.float32)
    return QueryCodes(codes, ones, ones)


def test_candidates_are_judged_on_equal_terms() -> None:
    """Document 0 is near one query token, document 1 near both, document 2 near none."""
    inverted = toy([[0], [1], [1], [2]])
    query = query_of({0: 100, 1: 90, 3: 10}, {2: 80, 3: 10})

    def candidates(limit: int) -> list[int]:
        found = inverted.candidates(
            query, Selection(3), lookups=6, limit=limit, product=ReferenceProduct
        )
        return list(found)

    assert candidates(1) == [1]
    assert candidates(2) == [0, 1]
    assert candidates(9) == [0, 1, 2]


def test_a_document_counts_with_its_best_centroid() -> None:
    """It is in several lists of one query token: the best of them counts, and counts once."""
    inverted = toy([[0], [0, 1], [0], [1]])
    query = query_of({0: 50, 1: 40, 2: 30, 3: 20}, {3: 60})
    found = inverted.candidates(query, Selection(2), lookups=8, limit=1, product=ReferenceProduct)
    assert found.tolist() == [1]  # 40 + 60 against 50


@given(
    rows=st.integers(1, 5), columns=st.sampled_from([32, 64, 256]), number=st.integers(1, 20),
    seed=st.integers(0, 999),
)  # fmt: skip
def test_largest_is_a_sort(rows: int, columns: int, number: int, seed: int) -> None:
    scores = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    places, values = _largest(scores, number)
    wanted = np.argsort(-scores, axis=1)[:, :number]
    assert (places == wanted).all()
    assert (values == np.take_along_axis(scores, wanted, axis=1)).all()


def test_every_token_vector_is_listed(rng: np.random.Generator) -> None:
    documents = cone_documents(rng, [0, 5, 40, 1, 0, 17], 24)
    for bits in (8, 4, 1):
        rows = TokenVectors.encode(Codec.fit(np.concatenate(documents), bits), documents)
        inverted = build(rows.codec, rows.codes, rows.scales, rows.offsets, threads=2)
        assert set(inverted.passages.tolist()) == {1, 2, 3, 5}
        assert len(inverted.offsets) == len(inverted.scales) + 1 == len(inverted.centroids) + 1
        for a, b in zip(inverted.offsets, inverted.offsets[1:], strict=False):
            assert (np.diff(inverted.passages[a:b].astype(int)) > 0).all()


def test_numbers_of_centroids() -> None:
    assert [num_centroids(n) for n in (1, 10**4, 10**6, 10**8)] == [32, 1024, 8192, 65536]
    assert list_dtype(65536).itemsize == 2 and list_dtype(65537).itemsize == 4


def test_rows_of_skips_empty_documents() -> None:
    assert rows_of(np.array([0, 1, 3]), np.array([0, 2, 2, 5, 9])).tolist() == [0, 1, 5, 6, 7, 8]
    assert rows_of(np.array([], int), np.array([0])).tolist() == []


@pytest.mark.parametrize("lookups", [1, 100_000])
def test_any_number_of_lookups_works(rng: np.random.Generator, lookups: int) -> None:
    documents = cone_documents(rng, [9] * 30, 24)
    rows = TokenVectors.encode(Codec.fit(np.concatenate(documents), 4), documents)
    inverted = build(rows.codec, rows.codes, rows.scales, rows.offsets, threads=1)
    query = rows.codec.encode_query(documents[7][:4])
    found = inverted.candidates(
        query, Selection(30), lookups=lookups, limit=5, product=ReferenceProduct
    )
    assert 7 in found and len(found) <= 5


def index_of(documents: list[np.ndarray], **config: object) -> Index:
    """Return an index in memory with an inverted file."""
    dim = documents[0].shape[1]
    settings: Any = {"inverted_file": "always", "candidates": "lists", **config}
    index = Index(dim, config=IndexConfig(dim=dim, **settings), threads=2)
    index.add(
        [f"d{n}" for n in range(len(documents))],
        documents,
        metadata=[{"n": n} for n in range(len(documents))],
    )
    index.commit()
    return index


def recall(index: Index, queries: list[np.ndarray], **search: Any) -> float:
    """Return the share of what exact search has that approximate search has, too."""
    found = []
    for query in queries:
        exact, near = (
            {
                h.document_id
                for h in index.search(
                    [query], 10, parameters=SearchParameters(mode=mode), **search
                )[0]
            }
            for mode in ("exact", "approximate")
        )
        found.append(len(exact & near) / len(exact))
    return float(np.mean(found))


def test_vectors_without_structure_are_noticed(rng: np.random.Generator, tmp_path: Path) -> None:
    """No clustering tells them apart: what looks up too little finds less than half."""
    documents = [unit_rows(rng, 12, 32) for _ in range(12_000)]
    index = index_of(documents)
    (segment,) = index.snapshot.segments
    assert segment.source is not None and segment.source.quality is not None
    quality = segment.source.quality
    assert quality.widening != 1
    assert index.info().approximate_recall == quality.recall
    queries = [unit_rows(rng, 16, 32) for _ in range(8)]
    assert recall(index, queries) >= 0.9
    index.save(tmp_path / "index")
    with Index.load(tmp_path / "index") as loaded:
        assert loaded.info().approximate_recall == quality.recall
        assert recall(loaded, queries) >= 0.9
        assert loaded.snapshot.segments[0].source is not None
        assert loaded.snapshot.segments[0].source.quality == quality


def test_vectors_with_structure_need_no_more(rng: np.random.Generator) -> None:
    centres = unit_rows(rng, 300, 32)
    documents = []
    for _ in range(6000):
        topics = centres[rng.integers(300, size=3)]
        rows = np.repeat(topics, 5, axis=0) + 0.1 * rng.normal(size=(15, 32))
        documents.append((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))
    index = index_of(documents)
    (segment,) = index.snapshot.segments
    assert segment.source is not None and segment.source.quality is not None
    assert segment.source.quality.widening == 1
    assert index.info().approximate_recall >= 0.95  # type: ignore[operator]


def test_a_small_filter_is_scored_whole(rng: np.random.Generator) -> None:
    """A few allowed documents fit into what is scored anyway: none of them may be missed."""
    documents = [unit_rows(rng, 12, 32) for _ in range(9000)]
    index = index_of(documents)
    segment = index.snapshot.segments[0]
    assert segment.source is not None
    # As if it was measured to be good.
    poor = replace(segment, source=replace(segment.source, quality=RecallEntry(1.0, 1)))
    index._writer.state = replace(index._writer.state, snapshot=Snapshot((poor,)))
    queries = [unit_rows(rng, 4, 32) for _ in range(10)]
    for where in ({"n": {"$lt": 24}}, {"n": {"$gte": 8500}}):
        assert recall(index, queries, where=where) == 1
    assert recall(index, queries, subset=[f"d{n}" for n in range(30)]) == 1


def test_info_of_an_index_without_inverted_files(rng: np.random.Generator) -> None:
    index = index_of([unit_rows(rng, 3, 32)], inverted_file="never")
    assert index.info().approximate_recall is None


@pytest.mark.parametrize(
    "value", [{}, {"recall": 2, "widening": 1}, {"recall": "x", "widening": 1}, [1],
              {"recall": 1, "widening": -1}, {"recall": 1, "widening": 10**6}, "x"]
)  # fmt: skip
def test_a_recall_that_cannot_be_is_refused(
    rng: np.random.Generator, tmp_path: Path, value: object
) -> None:
    index_of([unit_rows(rng, 3, 32)]).save(tmp_path / "index")
    path = tmp_path / "index" / "manifest.json"
    content = json.loads(path.read_text())
    assert content["segments"][0]["approximate"] == {"recall": 1.0, "widening": 1}
    content["segments"][0]["approximate"] = value
    del content["checksum"]
    content["checksum"] = _checksum(content)
    path.write_text(json.dumps(content))
    with pytest.raises(IndexFormatError, match="not a valid manifest"):
        Index.load(tmp_path / "index")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs such a clock")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_while_centroids_are_looked_up_stays_what_it_is(threads: int) -> None:
    """It looks for signals itself, and would raise a RuntimeError in its place."""
    rng = np.random.default_rng(1)
    graph = CentroidGraph(rng.integers(-127, 127, (3000, 96)).astype(np.int8))
    vectors = rng.integers(-127, 127, (50_000, 96)).astype(np.int8)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            graph.nearest(vectors, threads)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
