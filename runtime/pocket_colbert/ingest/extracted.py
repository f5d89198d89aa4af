"""What a reader makes of a file: texts in blocks, under headings, with where they came from."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pocket_colbert.errors import CorpusError
from pocket_colbert.ingest.inline_marks import InlineMark, InlineMarks
from pocket_colbert.types import Document, Section

BlockKind = Literal["paragraph", "item", "row", "code", "heading"]
_MOST_PARTS = 1000
_TIGHT: set[BlockKind] = {"item", "row"}
"""Kinds whose neighbours of the same kind stand on consecutive lines."""

_MOST_TEXT = 64_000_000
"""Characters of a document: a small file can name one text many times, as a spreadsheet's cells
and the labels of a table do."""
_DEEPEST_HEADING = 9
_PATHS = 1_000_000
"""Characters that heading paths may have beyond four times those of the text: every section
repeats the headings above it."""
_SHORT_HEADING = 200


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much work one file may cost, since files are not trusted.

    Attributes:
        file_bytes: Size of a file that is read as a whole.
        unpacked_bytes: Size of everything that a compressed file or an archive holds.
        entries: Number of files in an archive, or of messages in a mailbox.
        seconds: Time that one file may take.
    """

    file_bytes: int = 64_000_000
    unpacked_bytes: int = 256_000_000
    entries: int = 20_000
    seconds: float = 120.0


class UnreadableFileError(CorpusError):
    """A file cannot be read; the message says why, without the file's name.

    Attributes:
        advice: What to do about it.
    """

    def __init__(self, why: str, advice: str = "") -> None:
        super().__init__(why)
        self.advice = advice


class BinaryFileError(UnreadableFileError):
    """A file is not text, nor of a format that is read."""

    def __init__(self) -> None:
        super().__init__("it is binary", "convert it to text, or leave it")


class MissingExtraError(UnreadableFileError):
    """A file needs a library that is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "it needs an extra", "run: pip install 'pocket-colbert[files]', then index again"
        )


class Deadline:
    """When the time that a file may take is over."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise UnreadableFileError if the time is over."""
        if time.monotonic() > self._end:
            raise UnreadableFileError(
                f"reading it took longer than {self._seconds:g} seconds",
                "split it, or leave it out with --exclude",
            )


@dataclass(frozen=True)
class Extracted:
    """A document as a reader found it in a file.

    Attributes:
        text: Its readable text.
        title: Its title, None when the file gives none.
        sections: Where its sections start, and their headings.
        metadata: What the file says about itself, such as the front matter of Markdown.
        key: Which part of the file it is; "" for the whole file.
        lines: The source lines that lines of the text come from, see `line_map`; "" when they are
            the same.
        layout: Which parts of the text are code, tables or links, see `TextBuilder.layout`.
        row: The document that a row of a table is, whose id and metadata are its own.
    """

    text: str
    title: str | None = None
    sections: tuple[Section, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    key: str = ""
    lines: str = ""
    layout: str = ""
    row: Document | None = None


class TextBuilder:
    """Puts blocks together to a text that reads well, and notes its sections and source lines.

    Attributes:
        marks: What puts marks into the texts of blocks; they are taken out of the text.
    """

    def __init__(self, deadline: Deadline, *, visible_headings: bool = True) -> None:
        """Start an empty text.

        Args:
            deadline: When to give up.
            visible_headings: Whether headings are part of the text, too.
        """
        self._deadline = deadline
        self._visible_headings = visible_headings
        self._parts: list[str] = []
        self._length = 0
        self._last: BlockKind | None = None
        self._path: list[tuple[int, str]] = []
        self._sections: list[Section] = []
        self._starts: list[tuple[int, int]] = []
        self._laid_out: list[tuple[int, int, str]] = []
        self._inside: list[tuple[int, int, str]] = []
        self.marks = InlineMarks()
        self.first_heading: str | None = None

    @property
    def length(self) -> int:
        """Number of characters so far."""
        return self._length

    def heading(self, level: int, text: str, line: int | None = None) -> None:
        """Start a section.

        Args:
            level: 1 for the outermost; beyond 9 it counts as 9.
            text: The heading.
            line: Its line in the file.
        """
        level = min(level, _DEEPEST_HEADING)
        text = " ".join(self.marks.taken_out(text)[0].split())
        if not text:
            return
        self.first_heading = self.first_heading or text
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, text))
        self._section(line, text)

    def border(self, line: int | None = None) -> None:
        """Start another section under the same headings, for example on a new page."""
        self._section(line, "")

    def _section(self, line: int | None, text: str) -> None:
        headings = tuple(heading for _, heading in self._path)
        start = self._length + (2 if self._length else 0)
        section = Section(start, headings)
        if self._sections and self._sections[-1].start == start:
            self._sections[-1] = section
        else:
            self._sections.append(section)
        self._last = "heading" if not text else self._last
        if text and self._visible_headings:
            self.block(text, line, "heading")

    @property
    def layout(self) -> str:
        """Parts of the text that are shown in another way, in order.

        They are written as "start+length:kind" with a space between. Kinds are "code:python" or
        "code", "table", and in lines "link:https://example.com", "span" for code, "strong", "em".
        """
        parts = sorted(self._laid_out + self._inside, key=lambda part: (part[0], -part[1]))
        return " ".join(f"{start}+{length}:{kind}" for start, length, kind in parts)

    def block(
        self,
        text: str,
        line: int | None = None,
        kind: BlockKind = "paragraph",
        *,
        language: str = "",
    ) -> None:
        """Add a block.

        Args:
            text: Its text, one or more lines.
            line: The line in the file that it starts on, from 1; None when that says nothing.
            kind: What it is.
            language: Of code, the name of its language if the file says it.

        Raises:
            UnreadableFileError: The time is over, or the text becomes too long.
        """
        self._deadline.check()
        text, marks = self.marks.taken_out(text.strip("\n").rstrip())
        if not text.strip():
            return
        if self._parts:
            tight = kind in _TIGHT and self._last == kind
            self._append("\n" if tight else "\n\n")
        if line is not None:
            self._starts.append((self._length, line))
        self._lay_out(text, kind, language, marks)
        self._append(text)
        self._last = kind

    def _lay_out(self, text: str, kind: BlockKind, language: str, marks: list[InlineMark]) -> None:
        """Note where links and code are, and tables: rows with bars between cells."""
        for mark in marks[: max(_MOST_PARTS - len(self._inside), 0)]:
            self._inside.append((self._length + mark.start, mark.end - mark.start, mark.kind))
        if kind == "row" and self._last == kind and self._laid_out:
            start, length, named = self._laid_out[-1]
            if named == "table" and start + length + 1 == self._length:
                self._laid_out[-1] = start, length + 1 + len(text), named
        elif len(self._laid_out) < _MOST_PARTS:
            if kind == "code":
                name = f":{language}" if re.fullmatch(r"[\w+#.-]{1,30}", language) else ""
                self._laid_out.append((self._length, len(text), f"code{name}"))
            elif kind == "row" and " | " in text.partition("\n")[0]:
                self._laid_out.append((self._length, len(text), "table"))

    def _append(self, text: str) -> None:
        self._parts.append(text)
        self._length += len(text)
        if self._length > _MOST_TEXT:
            raise UnreadableFileError(
                f"its text is longer than {_MOST_TEXT:,} characters", "split it"
            )

    def result(
        self, title: str | None = None, metadata: Mapping[str, Any] | None = None, key: str = ""
    ) -> Extracted:
        """Return the document.

        Args:
            title: Its title; headings that only repeat it are no part of a heading path.
            metadata: See `Extracted`.
            key: See `Extracted`.
        """
        text = "".join(self._parts)
        sections = [section for section in self._sections if section.start < len(text)]
        paths = _paths([section.headings for section in sections], title, len(text))
        return Extracted(
            text,
            title,
            tuple(Section(*both) for both in zip((s.start for s in sections), paths, strict=True)),
            metadata or {},
            key,
            line_map(text, self._starts),
            self.layout,
        )


def _paths(
    headings: Sequence[tuple[str, ...]], title: str | None, length: int
) -> Iterator[tuple[str, ...]]:
    """Return the heading path of each section: without the title, and not too long in all."""
    known = (title or "").casefold()[:_SHORT_HEADING]
    left = 4 * length + _PATHS
    for path in headings:
        # A longer heading is not in it, and to fold its case takes time.
        if path and known and len(path[0]) <= len(known) and path[0].casefold() in known:
            path = path[1:]
        if left < 0:
            path = tuple(heading for heading in path[-1:] if len(heading) <= _SHORT_HEADING)
        left -= sum(map(len, path))
        yield path


def line_map(text: str, starts: list[tuple[int, int]]) -> str:
    """Write down which lines of a file the lines of a text come from.

    Args:
        text: The text.
        starts: Offsets in the text, ascending, and the lines in the file there.

    Returns:
        "offset:line" where the line is not what counting line breaks from the last such offset
        gives, with a space between; "" when it always is.
    """
    known, position, expected = [], 0, 1
    for offset, line in starts:
        expected += text.count("\n", position, offset)
        position = offset
        if expected != line:
            known.append(f"{offset}:{line}")
            expected = line
    return " ".join(known)


def mapped_line(text: str, lines: str, offset: int) -> int:
    """Return the line in the file that a place in a text comes from.

    Args:
        text: The text.
        lines: See `line_map`.
        offset: The place, in characters.
    """
    start, line = 0, 1
    for match in re.finditer(r"(\d+):(\d+)", lines):
        if int(match[1]) > offset:
            break
        start, line = int(match[1]), int(match[2])
    return line + text.count("\n", start, offset)


def place_in_file(document_id: str, text: str, metadata: Mapping[str, Any], offset: int) -> str:
    """Return where in its file a place in a document is, as "path:line" or "path, page 3".

    Args:
        document_id: The document's id, which is returned where it is not the path of a file.
        text: Its text.
        metadata: Its metadata.
        offset: The place, in characters.
    """
    path, pages = metadata.get("path"), metadata.get("pages")
    named_by_path = isinstance(path, str) and document_id.partition("#")[0].endswith(path)
    if not named_by_path or "kind" not in metadata:
        return document_id
    if isinstance(pages, str):
        starts = re.findall(r"(\d+):(\d+)", pages)
        before = [int(page) for start, page in starts if int(start) <= offset]
        return f"{path}, page {before[-1] if before else 1}"
    lines = metadata.get("lines", "")
    return f"{path}:{mapped_line(text, lines if isinstance(lines, str) else '', offset)}"
