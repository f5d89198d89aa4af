"""What a terminal can show: colour, its width, and lines that fit it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from pocket_colbert.cli.command_group import printable

Span = tuple[int, int]

LEAST_WIDTH = 20
COLORS = ("auto", "always", "never")
_FULL, _PARTS = "█", " ▏▎▍▌▋▊▉"
_BAR = 5

color_option = click.option(
    "--color", type=click.Choice(COLORS), default="auto", show_default=True,
    help="Use colours. auto: on terminals, unless NO_COLOR is set.",
)  # fmt: skip


class Screen(NamedTuple):
    """Where output goes.

    Attributes:
        color: Whether it is coloured.
        width: Columns of the terminal; None where the output is not one.
        blocks: Whether it can show block characters.
    """

    color: bool
    width: int | None
    blocks: bool

    @classmethod
    def of(cls, color: str = "auto") -> Screen:
        """Return what standard output is.

        Args:
            color: One of `COLORS`.
        """
        terminal = sys.stdout.isatty()
        width = max(columns(), LEAST_WIDTH) if terminal else None
        encoding = str(getattr(sys.stdout, "encoding", None)).lower()
        colored = color == "always" or (color == "auto" and terminal and _wants_color())
        return cls(color=colored, width=width, blocks=encoding.startswith("utf"))

    def styled(self, text: str, **style: Any) -> str:
        """Return a text in colour, where there is any; see `click.style`."""
        return click.style(text, **style) if self.color else text

    def echo(self, line: str = "") -> None:
        """Print a line."""
        click.echo(line, color=self.color)

    def bar(self, share: float) -> str:
        """Return a bar for a number from 0 to 1, as wide for each."""
        eighths = round(share * _BAR * 8)
        if not self.blocks:
            return ("#" * round(share * _BAR)).ljust(_BAR, ".")
        part = _PARTS[eighths % 8] if eighths % 8 else ""
        return (_FULL * (eighths // 8) + part).ljust(_BAR)


def columns() -> int:
    """Return how many columns the terminal has."""
    import shutil  # here, as it brings archives of all kinds

    return shutil.get_terminal_size().columns


def _wants_color() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def squeezed(
    text: str, span: Span, marks: Sequence[Span], *, keep_spaces: bool = False
) -> tuple[str, list[Span]]:
    """Return a part of a text in one line, and where its marks are in that line.

    Args:
        text: The whole text.
        span: The part.
        marks: What to mark, as spans of the whole text.
        keep_spaces: Whether several spaces stay several, as those that code is indented by.
    """
    kept: list[str] = []
    places: list[int] = []
    for place in range(*span):
        character = text[place]
        if character.isspace():
            if keep_spaces or (kept and kept[-1] != " "):
                kept.append(" ")
                places.append(place)
        elif printable(character):
            kept.append(character)
            places.append(place)
    line = "".join(kept)
    found = []
    for start, end in _joined(marks):
        inside = [n for n, place in enumerate(places) if start <= place < end]
        if inside:
            found.append((inside[0], inside[-1] + 1))
    return line.rstrip(), found


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Return spans in order, those that touch or overlap as one."""
    joined: list[Span] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def marked(screen: Screen, line: str, marks: Sequence[Span], part: Span | None = None) -> str:
    """Return a line, or a part of it, with its marks in colour."""
    start, end = part or (0, len(line))
    if not screen.color:
        return line[start:end]
    pieces, last = [], start
    for first, after in marks:
        first, after = max(first, last), min(after, end)
        if first < after:
            pieces += [line[last:first], click.style(line[first:after], fg="yellow", bold=True)]
            last = after
    return "".join([*pieces, line[last:end]])


def cells(text: str) -> int:
    """Return how many columns a text takes: wide characters, as in Chinese, take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def wrapped(line: str, width: int) -> list[Span]:
    """Break a line into parts that fit a number of columns.

    Lines are broken at spaces and beside wide characters, and where they must be within a word.

    Returns:
        The parts, without the spaces between them; at least one.
    """
    parts: list[Span] = []
    start = 0
    while start < len(line):
        end = _fitting(line, start, width)
        parts.append((start, start + len(line[start:end].rstrip())))
        start = end
        while start < len(line) and line[start] == " ":
            start += 1
    return parts or [(0, 0)]


def _fitting(line: str, start: int, width: int) -> int:
    """Return where a part that starts there has to end."""
    taken, good = 0, start
    first = start + len(line[start:]) - len(line[start:].lstrip())  # no line of indentation alone
    for place in range(start, len(line)):
        size = cells(line[place])
        if place > first and (line[place] == " " or size == 2):
            good = place
        taken += size
        if taken > width and place > start and line[place] != " ":
            return good if good > start else place
        if size == 2:
            good = place + 1 if taken <= width else good
    return len(line)
