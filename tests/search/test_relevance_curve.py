"""Relevance by hand: what counts of a query, of a passage, and of their words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pocket_colbert.search.relevance import CURVES, RelevanceCurve, _shared, _stem, relevance
from pocket_colbert.types import Query, Token
from pocket_colbert.vectors.query_tokens import rarities

CURVE = RelevanceCurve(similarity=2.0, words=3.0, offset=-1.0)


def query_of(text: str, weights: list[float] | None, dim: int = 4) -> Query:
    """Make a query of one token a word, each a vector of its own."""
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    tokens = tuple(Token(text[slice(*span)], span) for span in spans)
    embedding = np.eye(dim, dtype=np.float32)[: len(tokens)]
    given = None if weights is None else np.array(weights, np.float32)
    return Query(text, embedding, tokens, weights=given)


def test_it_is_a_logistic_curve_of_two_measures() -> None:
    query = query_of("red wolf", [0.4, 0.6])
    passage = np.array([[0.6, 0.0, 0.8, 0.0], [0.0, 0.5, 0.0, 0.0]], np.float32)
    similarity = 1 - math.sqrt((0.4 * 0.4**2 + 0.6 * 0.5**2) / 1.0)
    value = 2.0 * similarity + 3.0 * 0.6 - 1.0
    found = relevance(query, passage, "a wolf", CURVE)
    assert found == pytest.approx(1 / (1 + math.exp(-value)), rel=1e-5)


def test_words_that_say_little_count_little() -> None:
    """Below half of a rare word's weight, in proportion."""
    passage = np.eye(4, dtype=np.float32)
    for weight, share in ((0.1, 0.2), (0.25, 0.5), (0.5, 1.0), (0.9, 1.0)):
        found = relevance(query_of("it", [weight]), passage, "it", CURVE)
        assert found == pytest.approx(share / (1 + math.exp(-4.0)), rel=1e-5)


def test_a_similarity_above_one_is_none_more() -> None:
    query, passage = query_of("it", [1.0]), 1.5 * np.eye(4, dtype=np.float32)
    assert relevance(query, passage, "", CURVE) == pytest.approx(1 / (1 + math.exp(-1.0)))


def test_without_vectors_or_weights_there_is_none() -> None:
    query = query_of("red wolf", [0.4, 0.6])
    assert relevance(query, np.empty((0, 4), np.float32), "red", CURVE) == 0.0
    assert relevance(query_of("red", [0.0]), np.eye(4, dtype=np.float32), "red", CURVE) == 0.0
    assert relevance(query_of("red", None), np.eye(4, dtype=np.float32), "red", CURVE) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("red", 0.25), ("WOLVES or wolf", 0.75), ("a red wolf", 1), ("wolfram reddish", 0)],
)
def test_the_share_of_words_is_by_weight(text: str, share: float) -> None:
    query = query_of("red wolf", [0.2, 0.6])
    assert _shared(query, query.weights, text) == pytest.approx(share)  # type: ignore[arg-type]


def test_a_word_of_several_tokens_weighs_as_its_rarest() -> None:
    tokens = (Token("wolf", (0, 4)), Token("##hound", (4, 9)), Token("red", (10, 13)))
    weights = np.array([0.1, 0.6, 0.2], np.float32)
    query = Query("wolfhound red", np.eye(3, dtype=np.float32), tokens, weights=weights)
    assert _shared(query, weights, "the wolfhound") == pytest.approx(0.6 / 0.8)
    assert _shared(query, weights, "red") == pytest.approx(0.2 / 0.8)


def test_tokens_beside_a_word_are_not_of_it() -> None:
    """Spans that touch a word's ends, and tokens that are not of the text."""
    tokens = (Token("[Q]", None), Token("a", (0, 1)), Token(" ", (1, 2)), Token("b", (2, 3)))
    weights = np.array([0.9, 0.1, 0.8, 0.3], np.float32)
    query = Query("a b", np.eye(4, dtype=np.float32), tokens, weights=weights)
    assert _shared(query, weights, "a") == pytest.approx(0.1 / 0.4)
    assert _shared(query, weights, "b") == pytest.approx(0.3 / 0.4)
    nothing = Query("??", np.eye(4, dtype=np.float32)[:1], tokens[:1], weights=weights[:1])
    assert _shared(nothing, weights[:1], "a") == 0


@pytest.mark.parametrize(
    ("word", "stem"),
    [("Wolves", "wolv"), ("running", "runn"), ("ring", "ring"), ("wings", "wing"), ("bus", "bus"),
     ("cats", "cat"), ("red", "red"), ("baked", "bak"), ("quickly", "quick"), ("only", "only"),
     ("fly", "fly"), ("as", "as"), ("boxes", "box"), ("eyes", "eye"), ("sing", "sing"),
     ("using", "using"), ("owing", "owing"), ("ending", "end")],
)  # fmt: skip
def test_stems(word: str, stem: str) -> None:
    assert _stem(word) == stem


def test_rare_tokens_weigh_most() -> None:
    """By the logarithm of the rank: 64 words weigh the least, the last one 1."""
    found = rarities([0, 10, 100, 100 + 62, 100 + 63, 100 + 1023, 100 + 16383], 100, 100 + 16384)
    span = math.log(16384) - math.log(64)
    wanted = [0.02, 0.02, 0.02, 0.02, 0.02, (math.log(1024) - math.log(64)) / span, 1.0]
    assert found.tolist() == pytest.approx(wanted) and found.dtype == np.float32
    assert rarities([100 + 99], 100, 100 + 16384)[0] == pytest.approx(math.log(100 / 64) / span)
    # A vocabulary of hardly any words has a scale too.
    small = rarities([0, 63, 127, 500], 0, 10)
    assert small.tolist() == pytest.approx([0.02, 0.02, 1.0, 1.0])
    assert rarities([], 0, 1000).shape == (0,)


def test_curves_are_of_bundled_models() -> None:
    from pocket_colbert.model.folder import bundled_models

    assert set(CURVES) <= set(bundled_models())
    for curve in CURVES.values():
        # Nothing in common is not relevant, everything is.
        assert curve.offset < -5 and curve.similarity + curve.words + curve.offset > 2
        assert curve.similarity > 0 and curve.words > 0
