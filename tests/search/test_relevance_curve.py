"""Relevance by hand: what counts of a query, of a passage, and of their words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pocket_colbert.config import RelevanceCurve
from pocket_colbert.search.relevance import Evidence, _stem, falling, neighbours, weigh
from pocket_colbert.types import Query, Token
from pocket_colbert.vectors.query_tokens import rarities

CURVE = RelevanceCurve(similarity=2.0, score=3.0, lead=100.0, offset=-1.0, usual_lead=0.01)


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


def relevance(query: Query, hit: Evidence, others: list[float]) -> float:
    """Return the relevance of a hit by `CURVE`."""
    weighed = weigh(query)
    assert weighed is not None
    return weighed.relevance(hit, others, CURVE)


def test_it_is_a_logistic_curve_of_three_measures() -> None:
    weighed = weigh(query_of("red wolf", [0.4, 0.6]))
    assert weighed is not None
    red, wolf = weighed.token_weights
    assert wolf > red > 0
    mean = (red * 0.4**2 + wolf * 0.5**2) / (red + wolf)
    lead = (1.1 - 1.09) / 2 * (0.2 + 0.8 * wolf / (red + wolf))
    value = 2.0 * (1 - math.sqrt(mean)) + 3.0 * 1.1 / 2 + 100.0 * lead - 1.0
    found = weighed.relevance(Evidence("a wolf", (0.6, 0.5), 1.1), [1.09], CURVE)
    assert found == pytest.approx(1 / (1 + math.exp(-value)), rel=1e-5)


def test_a_lead_is_bounded_and_usual_without_others() -> None:
    query, hit = query_of("wolf", [0.5]), Evidence("wolf", (1.0,), 1.0)
    assert relevance(query, hit, [0.9]) == relevance(query, hit, [0.2])
    assert relevance(query, hit, [0.995]) < relevance(query, hit, [0.99])
    assert relevance(query, hit, []) == pytest.approx(relevance(query, hit, [0.99]))


def test_words_that_say_nothing_bound_it() -> None:
    hit = Evidence("what is it", (1.0, 1.0, 1.0), 3.0)
    assert relevance(query_of("what is it", [0.5, 0.5, 0.5]), hit, [2.0]) < 0.1
    assert relevance(query_of("what wolf it", [0.5, 0.5, 0.5]), hit, [2.0]) > 0.9


def test_without_vectors_or_weights_there_is_none() -> None:
    assert relevance(query_of("red", [0.4]), Evidence("red", (), 0.0), []) == 0.0
    assert weigh(query_of("red", None)) is None


def test_what_is_rare_in_the_index_weighs_more() -> None:
    query = query_of("red wolf", [0.5, 0.5])
    weighed = weigh(query, {"red": 900, "wolf": 2}, 1000)
    assert weighed is not None
    assert weighed.token_weights[1] > 3 * weighed.token_weights[0]


def test_neighbours_and_falling() -> None:
    assert neighbours([3.0, 2.0, -1.0, 1.0], 1) == [3.0, 1.0]
    assert len(neighbours([1.0] * 20, 0)) == 8
    assert falling([0.9, 0.2, 0.4, 0.4, 0.1]) == pytest.approx([0.9, 1 / 3, 1 / 3, 1 / 3, 0.1])


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
