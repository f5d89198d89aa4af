"""Codes: their layout, their error, and what each of them costs a ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pocket_colbert import Index, IndexConfig, Passage
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.array_checks import check_embedding
from pocket_colbert.vectors.codec import BITS, Codec
from pocket_colbert.vectors.maxsim_codes import ReferenceMaxima, maxsim_codes
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise
from tests.support.arrays import cone_documents, unit_rows

pytestmark = pytest.mark.slow


@given(
    bits=st.sampled_from([8, 4, 2, 1]),
    tokens=st.integers(0, 20),
    dim=st.integers(1, 130),
    seed=st.integers(0, 2**32 - 1),
)
def test_codes_come_back_as_vectors_of_the_same_length(
    bits: int, tokens: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    embedding = unit_rows(rng, tokens, dim)
    codec = Codec.fit(unit_rows(rng, 50, dim) * 0.3, bits)
    rows, scales = codec.encode(embedding)
    assert rows.dtype == np.uint8 and rows.shape == (-(-tokens // codec.planes), dim)
    assert scales.dtype == np.float16 and scales.shape == (len(rows), codec.planes)
    decoded = codec.decode(rows, scales, tokens)
    assert decoded.dtype == np.float32 and decoded.shape == (tokens, dim)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, atol=0.01)


@pytest.mark.parametrize(("bits", "cosine"), [(8, 0.9999), (4, 0.994), (2, 0.94), (1, 0.799)])
def test_error_is_what_the_bits_allow(rng: np.random.Generator, bits: int, cosine: float) -> None:
    """Without a mean to take off, cosines are those of the levels: sqrt(1 - distortion)."""
    embedding = unit_rows(rng, 500, 96)
    codec = Codec(bits, np.zeros(96, np.float32))
    decoded = codec.decode(*codec.encode(embedding), 500)
    assert np.einsum("td,td->t", decoded, embedding).mean() == pytest.approx(cosine, abs=0.004)


def test_taking_the_mean_off_makes_codes_finer(rng: np.random.Generator) -> None:
    embedding = cone_documents(rng, [500], 96)[0]
    errors = {
        fitted: np.linalg.norm(codec.decode(*codec.encode(embedding), 500) - embedding, axis=1)
        for fitted, codec in (
            (True, Codec.fit(embedding, 4)), (False, Codec(4, np.zeros(96, np.float32))),
        )
    }  # fmt: skip
    assert errors[True].mean() < 0.55 * errors[False].mean()


def test_lengths_other_than_one_are_kept(rng: np.random.Generator) -> None:
    embedding = unit_rows(rng, 40, 32) * rng.uniform(0.5, 3, size=(40, 1)).astype(np.float32)
    codec = Codec.fit(embedding, 8)
    np.testing.assert_allclose(codec.decode(*codec.encode(embedding), 40), embedding, atol=0.02)


def test_strange_vectors_stay_finite() -> None:
    for bits in BITS.values():
        for embedding in (np.zeros((3, 8)), np.eye(8)[:3] * 1e-20, np.full((2, 8), 1e3)):
            codec = Codec.fit(embedding.astype(np.float32), bits)
            rows, scales = codec.encode(embedding.astype(np.float32))
            assert np.isfinite(codec.decode(rows, scales, len(embedding))).all()
    query = Codec(4, np.zeros(8, np.float32)).encode_query(np.zeros((2, 8), np.float32))
    assert np.isfinite(query.scales).all() and not query.codes.any()


@given(
    bits=st.sampled_from([8, 4, 2, 1]), tokens=st.integers(1, 20), seed=st.integers(0, 2**32 - 1)
)
def test_levels_unpack_to_what_was_packed(bits: int, tokens: int, seed: int) -> None:
    """Token t is in row t % rows and plane t // rows; what is left over repeats the last."""
    rng = np.random.default_rng(seed)
    embedding = unit_rows(rng, tokens, 24)
    codec = Codec.fit(embedding, bits)
    rows, scales = codec.encode(embedding)
    levels = codec.levels(rows).astype(int)
    assert set(np.unique(levels)) <= set(
        range(-128, 128) if bits == 8 else range(1 - (1 << bits), 1 << bits, 2)
    )
    for token in range(tokens):
        alone, scale = codec.encode(embedding[token : token + 1])
        assert (codec.levels(alone)[0] == levels[token]).all()
        assert scale[0, 0] == scales[token % len(rows), token // len(rows)]
    assert (levels[tokens:] == levels[tokens - 1]).all()


def test_a_documents_codes_depend_on_it_alone(rng: np.random.Generator) -> None:
    documents = cone_documents(rng, [7, 1, 30], 48)
    codec = Codec.fit(np.concatenate(documents), 4)
    together = TokenVectors.encode(codec, documents)
    for number, document in enumerate(documents):
        begin, end = together.offsets[number : number + 2]
        rows, scales = codec.encode(document)
        assert (rows == together.codes[begin:end]).all()
        assert (scales == together.scales[begin:end]).all()


def test_dot_products_need_no_decoding(rng: np.random.Generator) -> None:
    """Query . decoded = constant + query scale * token scale * (codes . levels)."""
    documents = cone_documents(rng, [30], 48)
    for bits in BITS.values():
        codec = Codec.fit(documents[0], bits)
        rows, scales = codec.encode(documents[0])
        query = unit_rows(rng, 5, 48)
        codes = codec.encode_query(query)
        whole = codec.levels(rows)[:30].astype(np.float64) @ codes.codes
        products = whole * scales.T.reshape(-1)[:30, None] * codes.scales + codes.constants
        np.testing.assert_allclose(products.T, query @ codec.decode(rows, scales, 30).T, atol=0.01)


@pytest.mark.parametrize(
    ("codes", "overlap"), [("int8", 0.98), ("int4", 0.93), ("int2", 0.8), ("int1", 0.65)]
)
def test_ranking_survives(rng: np.random.Generator, codes: str, overlap: float) -> None:
    """The gate of this lossy step: overlap of the first 10 with float32's."""
    documents = cone_documents(rng, [60] * 400, 96)
    rows = TokenVectors.encode(Codec.fit(np.concatenate(documents), BITS[codes]), documents)
    found = []
    for query in cone_documents(rng, [16] * 20, 96):
        exact = maxsim_pairwise(query, documents)
        scores = maxsim_codes(
            rows.codec.encode_query(query), rows.codec, rows.codes, rows.scales, rows.offsets,
            kernel=ReferenceMaxima,
        )  # fmt: skip
        found.append(len(set(np.argsort(-exact)[:10]) & set(np.argsort(-scores)[:10])) / 10)
    assert np.mean(found) >= overlap


def test_bits_are_checked() -> None:
    with pytest.raises(InvalidInputError, match="bits must be"):
        Codec(3, np.zeros(4, np.float32))


@pytest.mark.parametrize(
    "bad",
    [np.zeros(4), np.zeros((2, 5)), np.array([["a"] * 4]), np.full((1, 4), np.nan), [[1j] * 4]],
)
def test_bad_embeddings_are_refused(bad: object) -> None:
    with pytest.raises(InvalidInputError, match="query must"):
        check_embedding(bad, 4, "query")


@pytest.mark.parametrize("length", [0.0, 0.98, 1.02, 2.0, 1e-30, 1e30])
def test_an_index_refuses_rows_that_are_not_of_length_one(
    rng: np.random.Generator, length: float
) -> None:
    index = Index(96)
    index.add(["good"], [unit_rows(rng, 3, 96)])
    bad = unit_rows(rng, 3, 96)
    bad[1] *= np.float32(length)
    for embedding in (bad, [Passage(0, 0, bad)]):
        with pytest.raises(InvalidInputError, match=r"'bad' must have rows of length 1, .* row 1;"):
            index.add(["bad"], [embedding])
    assert list(index.search([unit_rows(rng, 3, 96)])[0])[0].document_id == "good"


@pytest.mark.parametrize("codes", list(BITS))
def test_an_index_takes_rounded_and_decoded_rows(rng: np.random.Generator, codes: str) -> None:
    (rows,) = cone_documents(rng, [50], 32)
    index = Index(32, config=IndexConfig(dim=32, codes=codes))
    index.add(["whole", "rounded"], [rows, rows.astype(np.float16)])
    index.commit()
    index.add(["decoded"], [index.passages("whole")])
    assert len(index) == 3
