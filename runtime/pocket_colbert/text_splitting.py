"""Long texts to passages: where they may be cut, and where they are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

_SLICE = 200_000
"""Characters of texts that are tokenized before the first of them is encoded."""

WORD, LINE, SENTENCE, PARAGRAPH = range(1, 5)
"""Kinds of borders, better ones larger. A line is worth less than a sentence, as many texts are
wrapped; a paragraph is a blank line, or a sentence that ends with its line."""

_CJK = "\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\U00020000-\U0003ffff"
_IS_CJK = re.compile(f"[{_CJK}]")
_STOPS, _CLOSERS, _FIRST_CJK = ".!?…؟।", "\"'”’»)]」』】》）", "\u3001"
_STOP = re.compile(f"[{_STOPS}]")
_CLOSING = f"[{re.escape(_CLOSERS)}]*"
_BORDER = re.compile(
    # The look-behind keeps a long row of dots from being tried from each of its dots.
    rf"(?:(?<![{_STOPS}])[{_STOPS}]+{_CLOSING}(?=[\s{_CJK}])|[。！？]+{_CLOSING})(\s*)"
    rf"|(\s+)|(?<=[{_CJK}])(?=\w)|(?<=\w)(?=[{_CJK}])(?=\w)"
)

_AMONG_CJK = re.compile(f"[{_FIRST_CJK}-\U0010ffff]")

_OTHER, _CLOSES, _STOPS_A_SENTENCE, _SPACE, _NEWLINE = range(5)
"""What a character is for `_borders_at_spaces`; the last two are white space."""


def is_cjk(character: str) -> bool:
    """Say whether a character is of a script that puts no spaces between words."""
    return _IS_CJK.match(character) is not None


def with_title(text: str, title: str | None) -> str:
    """Return what is encoded for a text and its title: title, a space, text, as BEIR does."""
    return f"{title or ''} {text}".strip()


def borders(
    text: str, start: int, end: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Find where a part of a text may be cut without cutting a word.

    Between CJK characters, which no spaces part, is a border too.

    Args:
        text: The whole text.
        start: Where the part starts.
        end: Where it ends.

    Returns:
        Where the words before the borders end, where those after start, and the kinds of the
        borders: (n,) int64 each, ascending but for the kinds.
    """
    part = text[start:end]
    if not _AMONG_CJK.search(part):
        return _borders_at_spaces(text, start, part)
    rows = []
    for match in _BORDER.finditer(text, start, end):
        after_stop, space = match.groups()
        if after_stop is not None:
            kind = PARAGRAPH if "\n" in after_stop else SENTENCE
        elif space is not None:
            kind = (WORD, LINE, PARAGRAPH)[min(space.count("\n"), 2)]
        else:
            kind = WORD
        rows.append((match.end() - len(after_stop or space or ""), match.end(), kind))
    before, after, kinds = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    return before, after, kinds


def _borders_at_spaces(
    text: str, start: int, part: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Do what `borders` does for a part without CJK characters: three times as fast as `_BORDER`.

    Args:
        text: The whole text.
        start: Where the part starts.
        part: The part.
    """
    codes = np.frombuffer(part.encode("utf-32-le", "surrogatepass"), "<u4")
    roles = _roles()[codes]
    edges = np.diff((roles >= _SPACE).astype(np.int8), prepend=0, append=0)
    firsts, lasts = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    lines = np.append(0, np.cumsum(roles == _NEWLINE))
    lines = lines[lasts] - lines[firsts]
    if start and _STOP.match(text[start - 1]):
        roles[: len(part) - len(part.lstrip(_STOPS))] = _OTHER  # of a row that starts before
    # What is before each run of white space, closing quotes and brackets aside.
    numbers = np.where(roles != _CLOSES, np.arange(len(roles)), -1)
    place = np.maximum.accumulate(numbers)[np.maximum(firsts - 1, 0)]
    stopped = (firsts > 0) & (place >= 0) & (roles[place] == _STOPS_A_SENTENCE)
    ends = np.where(lines > 0, PARAGRAPH, SENTENCE)
    lengths = np.array([WORD, LINE, PARAGRAPH])[np.minimum(lines, 2)]
    kinds = np.where(stopped, ends, lengths)
    return firsts + start, lasts + start, kinds


@cache
def _roles() -> NDArray[np.uint8]:
    """Return what each character below the first CJK one is, by its code."""
    roles = np.full(ord(_FIRST_CJK), _OTHER, np.uint8)
    roles[[code for code in range(len(roles)) if chr(code).isspace()]] = _SPACE
    roles[ord("\n")] = _NEWLINE
    roles[[ord(character) for character in _STOPS]] = _STOPS_A_SENTENCE
    roles[[ord(character) for character in _CLOSERS if character < _FIRST_CJK]] = _CLOSES
    return roles


def split(
    text: str, offsets: NDArray[np.int64], budget: int, overlap: int
) -> list[tuple[int, int]]:
    """Cut a text into passages that overlap.

    A passage ends at the best border in the last half of its budget, the last of equals; without
    one at the last border between words; inside a word only when it exceeds the budget alone. The
    next one starts at the best border among the last `overlap` tokens, the first of equals, a
    paragraph being no better than a sentence there; without one it does not overlap.

    Args:
        text: The text.
        offsets: (num_tokens, 2) int64, where each token starts and ends in it, ascending.
        budget: Tokens a passage has at most, >= 1.
        overlap: Tokens neighbouring passages share at most, >= 0; at most half the budget.

    Returns:
        (start, end) of each passage in characters, without white space around it, or of the
        whole text when it fits. Passages hold all that is not white space.
    """
    n = len(offsets)
    if n <= budget:
        return [(0, len(text))]
    starts, ends = (np.maximum.accumulate(column) for column in offsets.T)
    # Before these tokens no character is cut; byte-level tokens may be parts of one.
    whole = np.flatnonzero(np.append(True, starts[1:] >= ends[:-1]))
    spans: list[tuple[int, int]] = []

    def add(first: int, last: int) -> None:
        begin = int(starts[first]) if first else 0
        end = int(max(starts[last], ends[last - 1])) if last < n else len(text)
        part = text[begin:end]
        if part.strip():
            spans.append((end - len(part.lstrip()), begin + len(part.rstrip())))

    def borders_before(low: int, high: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the tokens in [low, high] that a border is before, and the borders' kinds."""
        before, after, kinds = borders(text, int(starts[low - 1]), int(ends[high]))
        tokens = np.searchsorted(ends, after, side="right")
        fits = (tokens >= low) & (tokens <= high)
        fits[fits] = starts[tokens[fits]] >= before[fits]
        return tokens[fits], kinds[fits]

    overlap = min(overlap, budget // 2)
    first = last = 0
    while n - first > budget:
        tokens, kinds = borders_before(last + 1, first + budget)
        kinds[tokens <= first + budget // 2] = WORD
        if not len(tokens) and first < last:
            first = last
            continue
        if len(tokens):
            last = int(tokens[np.lexsort((tokens, kinds))[-1]])
        else:
            cut = int(whole[np.searchsorted(whole, first + budget, side="right") - 1])
            last = cut if cut > last else first + budget
        add(first, last)
        low = max(last - overlap, first + 1)
        tokens, kinds = borders_before(low, last - 1) if low < last else (tokens[:0], kinds[:0])
        first = int(tokens[np.minimum(kinds, SENTENCE).argmax()]) if len(tokens) else last
    add(first, n)
    return spans or [(0, len(text))]


def slices_of(texts: Sequence[str]) -> Iterator[slice]:
    """Divide texts into slices of a bounded length, so that only so many are tokenized ahead.

    Args:
        texts: The texts.

    Yields:
        Slices in order, each of 200 000 characters at most, or of a single text.
    """
    start, characters = 0, 0
    for position, text in enumerate(texts):
        if position > start and characters + len(text) > _SLICE:
            yield slice(start, position)
            start, characters = position, 0
        characters += len(text)
    if len(texts) > start:
        yield slice(start, len(texts))
