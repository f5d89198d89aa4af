"""How likely a hit is right, from 0 to 1, whatever the length of the query."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.types import Query

_WORD = re.compile(r"\w+")
_ENDINGS = ("ing", "ed", "es", "s", "ly")
_ENOUGH = 0.5
"""Weight of all words of a query from which on they say enough about what is asked."""


@dataclass(frozen=True)
class RelevanceCurve:
    """How a model's similarities turn into relevance: a logistic curve of two measures.

    Attributes:
        similarity: Weight of how near the words of the query are to the passage.
        words: Weight of how many of them are in the passage as they are.
        offset: What is added.
    """

    similarity: float
    words: float
    offset: float


CURVES = {"small": RelevanceCurve(24.2, 3.29, -24.7)}
"""Of the bundled models. Fitted on hits for questions of squad-dev and cranfield, half of squad-dev
left out, and on questions of each asked of the other: 'right' is what is judged so."""


def relevance(
    query: Query, embedding: NDArray[np.float32], text: str, curve: RelevanceCurve
) -> float | None:
    """Say how likely a passage is right.

    Only the words of the query count, each by its rarity in the language, not markers and [MASK]
    tokens: their similarities are high whatever the passage says.

    Args:
        query: The query, with the weights of its tokens.
        embedding: (num_tokens, dim) float32, the passage's token vectors.
        text: What they were made from, the title and headings included.
        curve: The model's.

    Returns:
        From 0 to 1, 0 without token vectors; None for a query without weights.
    """
    weights = query.weights
    if weights is None:
        return None
    total = float(weights.sum())
    if not len(embedding) or not total:
        return 0.0
    nearest = (query.embedding @ embedding.T).max(axis=1)
    distances = np.maximum(1 - nearest, 0) ** 2
    similarity = 1 - math.sqrt(float(weights @ distances) / total)
    value = (
        curve.similarity * similarity + curve.words * _shared(query, weights, text) + curve.offset
    )
    return min(total / _ENOUGH, 1) / (1 + math.exp(-value))


def _shared(query: Query, token_weights: NDArray[np.float32], text: str) -> float:
    """Return the share of a query's words, by weight, that are in a text."""
    weights: dict[str, float] = {}
    for match in _WORD.finditer(query.text):
        inside = [
            weight
            for token, weight in zip(query.tokens, token_weights.tolist(), strict=True)
            if token.span and token.span[0] < match.end() and token.span[1] > match.start()
        ]
        if inside:
            word = _stem(match.group())
            weights[word] = max(inside)
    there = {_stem(word) for word in _WORD.findall(text)}
    total = sum(weights.values())
    return sum(weight for word, weight in weights.items() if word in there) / (total or 1)


def _stem(word: str) -> str:
    word = word.lower()
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)]
    return word
