"""The inverted file: who is a candidate, judged by what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert.storage.inverted_file import (
    InvertedFile,
    _largest,
    build,
    list_dtype,
    num_centroids,
)
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.maxsim_codes import ReferenceKernel
from pocket_colbert.vectors.ragged import rows_of
from tests.support.arrays import cone_documents

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
            query, Selection(3), lookups=6, limit=limit, kernel=ReferenceKernel
        )
        return list(found)

    assert candidates(1) == [1]
    assert candidates(2) == [0, 1]
    assert candidates(9) == [0, 1, 2]


def test_a_document_counts_with_its_best_centroid() -> None:
    """It is in several lists of one query token: the best of them counts, and counts once."""
    inverted = toy([[0], [0, 1], [0], [1]])
    query = query_of({0: 50, 1: 40, 2: 30, 3: 20}, {3: 60})
    found = inverted.candidates(query, Selection(2), lookups=8, limit=1, kernel=ReferenceKernel)
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
        query, Selection(30), lookups=lookups, limit=5, kernel=ReferenceKernel
    )
    assert 7 in found and len(found) <= 5
