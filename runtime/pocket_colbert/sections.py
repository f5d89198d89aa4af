"""Sections of documents: which headings a passage stands under, and sections as JSON."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

from pocket_colbert.checks import are_strings, is_whole_number
from pocket_colbert.types import Section, Span

SMALL = 0

_WORD = re.compile(r"\w+")


def headings_of(sections: Sequence[Section], start: int, end: int) -> tuple[str, ...]:
    """Return the headings that a part of a document stands under.

    Args:
        sections: The document's sections.
        start: The part's first character.
        end: The character after its last.

    Returns:
        Its heading path, outermost first: what the paths of all its sections begin with.
    """
    if not sections:
        return ()
    first = bisect_right(sections, start, key=lambda section: section.start) - 1
    last = bisect_left(sections, end, key=lambda section: section.start)
    if first < 0 and last <= 0:
        return ()
    paths = [section.headings for section in sections[max(first, 0) : max(last, first + 1)]]
    if first < 0:
        paths.append(())
    return tuple(commonprefix(paths))


def context_of(title: str | None, headings: Sequence[str]) -> str:
    """Return what a passage is encoded and searched with: the title and the heading path.

    A first heading that repeats the title is left out.
    """
    title = (title or "").strip()
    path = headings[1:] if headings and headings[0].strip() == title else headings
    return f"{title} {' > '.join(path)}".strip()


def parts_of(text: str, sections: Sequence[Section], sizes: Sequence[int], room: int) -> list[Span]:
    """Put the sections of a document into the parts that are split into passages.

    Each section is a part of its own, but for those that are of no use alone: a section that is
    only its heading is joined with the next one, or with the one before if it is the last.

    Args:
        text: The document's text.
        sections: Its sections, at least one.
        sizes: How many tokens each has, the text before the first included as the first.
        room: How many tokens sections that are joined may have together.

    Returns:
        Where each part starts and ends in the text; together they hold all that is not white space.
    """
    starts = [0, *(section.start for section in sections)]
    headings: list[tuple[str, ...]] = [(), *(section.headings for section in sections)]
    parts: list[Span] = []
    bare, size, path = False, 0, headings[0]
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
        body = text[start:end]
        if not body.strip():
            continue
        alone = _is_heading(body, headings[number])
        last = alone and number == len(starts) - 1
        if parts and (
            bare
            or (last or _small(size, sizes[number])
                and headings[number][:-1] == path[:-1]) and size + sizes[number] <= room
        ):  # fmt: skip
            parts[-1] = parts[-1][0], end
            size += sizes[number]
        else:
            parts.append((start, end))
            size = sizes[number]
        bare, path = alone, headings[number]
    return parts


def _small(size: int, following: int) -> bool:
    return min(size, following) <= SMALL


def _is_heading(body: str, headings: Sequence[str]) -> bool:
    return bool(headings) and _WORD.findall(body) == _WORD.findall(headings[-1])


def sections_to_json(sections: Sequence[Section]) -> list[list[Any]]:
    """Return sections as lists that JSON can hold; see `sections_from_json`."""
    return [[start, list(headings)] for start, headings in sections]


def sections_from_json(values: object) -> tuple[Section, ...]:
    """Return the sections that `sections_to_json` turned into lists.

    Raises:
        ValueError: They are something else.
    """
    if not isinstance(values, list):
        raise ValueError(f"sections must be a list, got {values!r:.40}")
    sections = []
    for item in values:
        if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], list):
            raise ValueError(f"a section must be [start, headings], got {item!r:.40}")
        section = Section(item[0], tuple(item[1]))
        if not is_whole_number(section.start, 0) or not are_strings(section.headings):
            raise ValueError(f"a section must be [start, headings], got {item!r:.40}")
        sections.append(section)
    return tuple(sections)
