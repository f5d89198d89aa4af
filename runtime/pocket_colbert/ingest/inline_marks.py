"""Marks inside a text while a reader works on it: where links, code and stress begin and end.

Marks are characters that Unicode keeps for use within a program. They are taken out before the
text is kept.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANY = re.compile("[\ufdd0-\ufdef]")
_START = re.compile("\ufdd0([0-9]{1,6})\ufdd1|[\ufdd3-\ufdd5]|\ufdd2")
_ADDRESS = re.compile("(?:https?://|mailto:)[^\\s\\x00-\\x20\\x7f-\\xa0\ufdd0-\ufdef]{1,490}", re.I)
_STARTS = {"code": "\ufdd3", "strong": "\ufdd4", "em": "\ufdd5"}
_KINDS = {start: kind for kind, start in _STARTS.items()}
_END = "\ufdd2"


@dataclass(frozen=True)
class InlineMark:
    """A part of a text that is shown in another way.

    Attributes:
        start: Its first character.
        end: The one after its last.
        kind: "link:ADDRESS", "span" for code, "strong" or "em".
    """

    start: int
    end: int
    kind: str


class InlineMarks:
    """Puts marks into texts, and takes them out again."""

    def __init__(self) -> None:
        self._addresses: list[str] = []

    @staticmethod
    def cleaned(text: str) -> str:
        """Return a text without characters that would be taken for marks."""
        return _ANY.sub("", text)

    def link(self, words: str, address: str) -> str:
        """Mark words that lead to an address, if it is one of the web or for mail."""
        if not words.strip() or not _ADDRESS.fullmatch(address):
            return words
        self._addresses.append(address)
        return f"\ufdd0{len(self._addresses) - 1}\ufdd1{words}{_END}"

    @staticmethod
    def styled(words: str, kind: str) -> str:
        """Mark words as "code", "strong" or "em"."""
        return f"{_STARTS[kind]}{words}{_END}"

    def taken_out(self, text: str) -> tuple[str, list[InlineMark]]:
        """Return a text without its marks, and where they were."""
        if not _ANY.search(text):
            return text, []
        parts: list[str] = []
        marks: list[InlineMark] = []
        opened: list[tuple[int, str]] = []
        length = at = 0
        for found in _START.finditer(text):
            parts.append(text[at : found.start()])
            length += len(parts[-1])
            at = found.end()
            if found[0] == _END:
                if opened:
                    start, kind = opened.pop()
                    if start < length:
                        marks.append(InlineMark(start, length, kind))
            elif found[1] is not None:
                opened.append((length, f"link:{self._addresses[int(found[1])]}"))
            else:
                kind = _KINDS[found[0]]
                opened.append((length, "span" if kind == "code" else kind))
        parts.append(text[at:])
        # What encloses comes before what it encloses.
        marks.sort(key=lambda mark: (mark.start, -mark.end))
        return _ANY.sub("", "".join(parts)), marks
