"""Texts that read well as they are: plain text, source code, logs, subtitles."""

from __future__ import annotations

import re

from pocket_colbert.ingest.extracted import Deadline, Extracted, TextBuilder, line_map
from pocket_colbert.types import Section

_DEFINITION = re.compile(
    r"^([ \t]*)(?:(?:export|default|declare|public|private|protected|internal|static|final|"
    r"abstract|sealed|async|pub(?:\([a-z]{1,10}\))?|open|override|inline|virtual|unsafe|const|"
    r"partial|data)[ \t]+){0,6}"
    r"(?:class|def|function\*?|func|fn|struct|interface|trait|impl|enum|module|namespace|object|"
    r"protocol|extension|record|defmodule|defp?|sub|proc)[ \t]+"
    r"(?:\([^()\n]{0,80}\)[ \t]*)?([A-Za-z_$][\w$.:]{0,80})",
    re.M,
)
_ABOVE = re.compile(r"[ \t]*(?:@|#|//|/\*|\*|--|\[[A-Za-z])")
"""How a line above a definition begins that belongs to it: decorators and comments."""
_TIMES = re.compile(r"(?:\d{1,3}:)?\d{1,2}:\d{2}[.,]\d{1,3}[ \t]*-->")
_CUE_TAGS = re.compile(r"<[^<>\n]{0,200}>|\{\\[^{}\n]{0,100}\}")


def read_plain(source: str) -> Extracted:
    """Return a text as it is, without white space around it."""
    text = source.strip()
    line = 1 + source[: len(source) - len(source.lstrip())].count("\n")
    return Extracted(text, lines=line_map(text, [(0, line)]))


def read_code(source: str, deadline: Deadline) -> Extracted:
    """Return source code as it is; its functions and classes are sections."""
    text = source.rstrip().lstrip("\n")
    first = 1 + len(source) - len(source.lstrip("\n"))
    path: list[tuple[int, str]] = []
    sections: list[Section] = []
    previous = 0
    for match in _DEFINITION.finditer(text):
        deadline.check()
        indent = len(match[1].expandtabs())
        while path and path[-1][0] >= indent:
            path.pop()
        path.append((indent, match[2].rstrip(":.")))
        start = _with_comments(text, match.start(), previous)
        section = Section(start, tuple(name for _, name in path))
        if sections and sections[-1].start >= start:
            continue
        sections.append(section)
        previous = match.end()
    return Extracted(text, sections=tuple(sections), lines=line_map(text, [(0, first)]))


def _with_comments(text: str, start: int, previous: int) -> int:
    """Return where the comments and decorators right above a line start, at most 40 lines."""
    for _ in range(40):
        above = text.rfind("\n", previous, max(start - 1, previous)) + 1
        if above <= previous or above >= start or not _ABOVE.match(text, above, start):
            break
        start = above
    return start


def read_subtitles(source: str, deadline: Deadline) -> Extracted:
    """Return what is said in .srt or .vtt subtitles, without numbers, times and tags."""
    builder = TextBuilder(deadline)
    lines = source.split("\n")
    at = 0
    last = ""
    while at < len(lines):
        if not _TIMES.match(lines[at].strip()):
            at += 1
            continue
        start = at = at + 1
        said = []
        while at < len(lines) and lines[at].strip() and not _TIMES.match(lines[at].strip()):
            said.append(_CUE_TAGS.sub("", lines[at]).strip())
            at += 1
        text = " ".join(filter(None, said))
        if text != last:  # captions that roll repeat themselves
            builder.block(text, start + 1, "row")
        last = text
    return builder.result()
