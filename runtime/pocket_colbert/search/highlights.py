"""What to mark in a text that matched: whole words, rare ones more."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.text_splitting import is_cjk
from pocket_colbert.types import Span, Token

STOP_WORD = 0.15
"""Rarity up to which a word is too frequent to be marked, for example "the" or "how"."""

_WORD = re.compile(r"\w")
_PART = re.compile(r"[\w\u0300-\u036f]")


def word_weights(tokens: Sequence[Token]) -> NDArray[np.float32]:
    """Weigh tokens by how rare their words are.

    Args:
        tokens: Tokens of one text, in order.

    Returns:
        (num_tokens,) float32 from 0, of stop words, punctuation and what is not in the text, to 1.
        Tokens that make up a word have the weight of the rarest.
    """
    tokens = list(tokens)  # described ones are made once for all below
    weights = np.zeros(len(tokens), dtype=np.float32)
    words: list[list[int]] = []
    for number, token in enumerate(tokens):
        if token.span is None or not _WORD.search(token.label):
            continue
        before = tokens[words[-1][-1]] if words else None
        joined = (
            before is not None
            and before.span is not None
            and before.span[1] == token.span[0]
            and not is_cjk(before.label[-1])
            and not is_cjk(token.label[0])
        )
        if joined:
            words[-1].append(number)
        else:
            words.append([number])
    for word in words:
        rarity = max(tokens[number].rarity for number in word)
        weights[word] = rarity if rarity > STOP_WORD else 0
    return weights


def match_weights(query: Sequence[Token], matched: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh what matched for marking it.

    Args:
        query: The tokens of the query.
        matched: (query_tokens,) float32, the `word_weights` of what each matched.

    Returns:
        (query_tokens,) float32, 0 for what is not to be marked: matches of stop words and
        punctuation, or with them, unless the query has nothing else.
    """
    weights = word_weights(query)
    if weights.any():
        return np.where(matched > 0, weights, np.float32(0))
    words = [token.span is not None and bool(_WORD.search(token.label)) for token in query]
    spans = [token.span is not None for token in query]
    return np.array(words if any(words) else spans, dtype=np.float32)


def whole_word(text: str, span: Span) -> Span:
    """Widen a span to the word that it is part of; CJK characters, which no space parts, stay."""
    start, end = span
    while 0 < start < end and _inside(text, start):
        start -= 1
    while start < end < len(text) and _inside(text, end):
        end += 1
    return start, end


def _inside(text: str, place: int) -> bool:
    """Say whether a word goes on across a place in a text."""
    pair = text[place - 1], text[place]
    return all(_PART.match(letter) is not None and not is_cjk(letter) for letter in pair)
