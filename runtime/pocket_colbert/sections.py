"""Sections of documents: which headings a passage stands under, and sections as JSON."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from os.path import commonprefix
from typing import Any

from pocket_colbert.checks import are_strings, is_whole_number
from pocket_colbert.types import Section


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
