"""What to mark in a text that matched: whole words, rare ones more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

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
        (num_tokens,) float32, see `Words.weight`.
    """
    words = Words(tokens)
    return np.array([words.weight(number) for number in range(len(tokens))], dtype=np.float32)


class Words:
    """The words that the tokens of a text make up, as they are asked for.

    A passage has hundreds of tokens, each made when it is asked for, and an explanation names a
    few: only these are made, and those of the same words.
    """

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Take the tokens of one text, in order."""
        self._tokens = tokens
        self._made: dict[int, Token] = {}
        self._weights: dict[int, float] = {}

    def weight(self, number: int) -> float:
        """Weigh a token by how rare its word is.

        Returns:
            From 0, of stop words, punctuation and what is not in the text, to 1. Tokens that make
            up a word have the weight of the rarest.
        """
        if number not in self._weights:
            word = self._word(number)
            rarity = max((self.token(n).rarity for n in word), default=0.0)
            weight = rarity if rarity > STOP_WORD else 0.0
            self._weights.update(dict.fromkeys(word or [number], weight))
        return self._weights[number]

    def token(self, number: int) -> Token:
        """Return a token."""
        if number not in self._made:
            self._made[number] = self._tokens[number]
        return self._made[number]

    def _word(self, number: int) -> list[int]:
        """Return the tokens of a token's word, in any order; none if it is not in one."""
        token = self.token(number)
        if token.span is None or not _WORD.search(token.label):
            return []
        word = []
        for step in (-1, 1):
            neighbour = self._neighbour(number, step)
            while neighbour is not None:
                word.append(neighbour)
                neighbour = self._neighbour(neighbour, step)
        return [number, *word]

    def _neighbour(self, number: int, step: int) -> int | None:
        """Return the next token of a word before or after one of its tokens, if there is one."""
        token, other = self.token(number), number + step
        while 0 <= other < len(self._tokens):
            span = self.token(other).span
            if span is not None:
                pair = (token, self.token(other))[::step]
                return other if _joined(*pair) else None
            other += step  # one that only has a name parts nothing
        return None


def _joined(token: Token, following: Token) -> bool:
    """Say whether two tokens of a text, in order, are of one word."""
    return (
        token.span is not None
        and following.span is not None
        and token.span[1] == following.span[0]
        and bool(_WORD.search(token.label) and _WORD.search(following.label))
        and not is_cjk(token.label[-1])
        and not is_cjk(following.label[0])
    )


def match_weights(query: Sequence[Token], matched: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weigh what matched for marking it.

    Args:
        query: The tokens of the query.
        matched: (query_tokens,) float32, the `word_weights` of what each matched.

    Returns:
        (query_tokens,) float32, 0 for what is not to be marked: matches of stop words and
        punctuation, or with them, unless the query has nothing else.
    """
    weights = _query_weights(tuple(query))
    if weights.any():
        return np.where(matched > 0, weights, np.float32(0))
    words = [token.span is not None and bool(_WORD.search(token.label)) for token in query]
    spans = [token.span is not None for token in query]
    return np.array(words if any(words) else spans, dtype=np.float32)


@lru_cache(maxsize=16)
def _query_weights(query: tuple[Token, ...]) -> NDArray[np.float32]:
    """Return the `word_weights` of a query, which is asked for each of its hits."""
    weights = word_weights(query)
    weights.flags.writeable = False
    return weights


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
