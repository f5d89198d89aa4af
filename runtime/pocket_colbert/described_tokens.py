"""What the tokens of a text stand for: where they are in it, and, when asked for, their labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.types import Span, Token

_ASCII_SPACE = np.array([chr(code).isspace() for code in range(128)])


@dataclass(frozen=True, eq=False)
class DescribedTokens(Sequence[Token]):
    """The tokens that a text has vectors of, one a row; each is made when it is asked for.

    A passage has hundreds, and an explanation names a few.

    Attributes:
        text: What was tokenised.
        ids: (num_tokens,) int64.
        rarities: (num_tokens,) float32, see `Token.rarity`.
        places: (num_tokens, 2) int64, where each is in it; -1 for one that only has a name.
        spans: (num_tokens, 2) int64, where each is in what is shown of the text; -1 for one that
            is not in it.
        name_of: Returns the name of a token id.
    """

    text: str
    ids: NDArray[np.int64]
    rarities: NDArray[np.float32]
    places: NDArray[np.int64]
    spans: NDArray[np.int64]
    name_of: Callable[[int], str | None]

    def __len__(self) -> int:
        """Return the number of tokens."""
        return len(self.ids)

    def __iter__(self) -> Iterator[Token]:
        """Make one token after the other."""
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, number: int) -> Token: ...

    @overload
    def __getitem__(self, number: slice) -> list[Token]: ...

    def __getitem__(self, number: int | slice) -> Token | list[Token]:
        """Return a token, or several."""
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        (start, end), (first, last) = self.places[number].tolist(), self.spans[number].tolist()
        span: Span | None = (first, last) if first >= 0 else None
        if start >= 0:
            return Token(self.text[start:end], span, float(self.rarities[number]))
        return Token(self.name_of(int(self.ids[number])) or "", None)

    def shifted(self, by: int) -> DescribedTokens:
        """Return the same with spans in what is left of the text behind its first characters.

        Args:
            by: How many characters are not shown; spans that end there become -1.
        """
        spans = np.maximum(self.places - by, 0)
        spans[(self.places[:, 0] < 0) | (self.places[:, 1] <= by)] = -1
        return DescribedTokens(self.text, self.ids, self.rarities, self.places, spans, self.name_of)


def places_of(text: str, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Find the part of a text that each token stands for.

    Byte-level tokens start with their space, which is left off, and the library leaves off last
    accents, which are added.

    Args:
        text: The text.
        offsets: (num_tokens, 2) int64, where tokens are according to the library.

    Returns:
        (num_tokens, 2) int64; -1 for a token that stands for nothing, or for white space.
    """
    space, accent = _kinds(text)
    # For each character, and the end: the next one that is not white space, or not an accent.
    size = len(text)
    starts, ends = offsets[:, 0].copy(), offsets[:, 1].copy()
    if space.any():
        forward = _next(~space, size)
        starts = forward[starts]
        backward = size - _next(~space[::-1], size)[::-1]
        ends = backward[ends]
    if accent.any():
        ends = np.where(ends > starts, _next(~accent, size)[np.clip(ends, 0, size)], ends)
    places = np.stack([starts, ends], axis=1)
    places[ends <= starts] = -1
    return places


def _kinds(text: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Say which characters are white space and which are accents, (len(text),) bool each."""
    if text.isascii():
        letters = np.frombuffer(text.encode(), np.uint8)
        return _ASCII_SPACE[letters], np.zeros(len(letters), dtype=bool)
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    space = _ASCII_SPACE[np.minimum(codes, 127)] & (codes < 128)
    accent = np.zeros(len(codes), dtype=bool)
    for position in np.flatnonzero(codes > 127).tolist():
        space[position] = text[position].isspace()
        accent[position] = unicodedata.combining(text[position]) > 0
    return space, accent


def _next(wanted: NDArray[np.bool_], end: int) -> NDArray[np.int64]:
    """Return the first position at or after each that is wanted, (end + 1,) int64; else the end."""
    positions = np.append(np.where(wanted, np.arange(end), end), end)
    return np.asarray(np.minimum.accumulate(positions[::-1])[::-1])
