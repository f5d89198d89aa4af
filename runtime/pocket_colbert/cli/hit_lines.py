"""Hits as people and programs read them: blocks on a terminal, lines in a pipe, JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

import click

from pocket_colbert.cli.command_group import printable
from pocket_colbert.cli.common import json_text
from pocket_colbert.cli.hit_places import Place, Places
from pocket_colbert.cli.terminal import Screen, cells, marked, squeezed, wrapped
from pocket_colbert.config import is_weak

if TYPE_CHECKING:
    from pocket_colbert.retriever import Retriever
    from pocket_colbert.search.explanation import Explanation
    from pocket_colbert.types import Hit, Query, Span

_SNIPPET = 160
_ON_TERMINALS = (80, 300)
"""Characters of a snippet, at least and at most; three lines between."""
_LONGEST_LINE = 2000
"""Characters of a line of context; in longer ones something else than a reader is at work."""


class ShownHit(NamedTuple):
    """A hit, and all that is shown of it.

    Attributes:
        hit: The hit.
        place: Where it is.
        snippet: The part of its text to show, None where it has none.
        marks: The parts of its text to highlight.
        explanation: Why it matched, if that is asked for.
    """

    hit: Hit
    place: Place
    snippet: Span | None = None
    marks: tuple[Span, ...] = ()
    explanation: Explanation | None = None

    @property
    def headings(self) -> str:
        """Its title and the headings of its best passage."""
        headings = list(self.hit.passages[0].headings) if self.hit.passages else []
        title = self.hit.title
        if title and title not in headings[:1] and not self._is_name(title):
            headings.insert(0, title)
        return " > ".join(headings)

    def _is_name(self, title: str) -> bool:
        """Return whether a title says no more than the name of the file."""
        stem = PurePath(self.place.name).stem
        return self.place.is_path and _letters(title) == _letters(stem)


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def shown_hits(
    retriever: Retriever,
    query: Query,
    hits: Sequence[Hit],
    places: Places,
    screen: Screen,
    *,
    explain: bool = False,
    as_json: bool = False,
) -> list[ShownHit]:
    """Find snippets, highlights and places of hits."""
    from pocket_colbert.search.explanation import explain_match
    from pocket_colbert.search.highlights import whole_word
    from pocket_colbert.search.snippets import snippet

    places.look_up(hits)
    least, most = _ON_TERMINALS
    fixed = as_json or screen.width is None
    length = _SNIPPET if fixed else min(max(3 * ((screen.width or 0) - 4), least), most)
    passages = {
        passage.document_id: passage
        for passage in retriever.matched_passages([hit for hit in hits if hit.text is not None])
    }
    shown = []
    for hit in hits:
        passage = passages.get(hit.document_id)
        if passage is None:
            shown.append(ShownHit(hit, places.of(hit, 0)))
            continue
        why = explain_match(query, passage) if explain or screen.color else None
        marks = tuple(
            whole_word(hit.text or "", match.document_span)
            for match in (why.matches if why else ())
            if match.document_span is not None and match.share * match.weight > 0
        )
        span = snippet(query, passage, length)
        start = span[1] - len((hit.text or "")[slice(*span)].lstrip())
        shown.append(ShownHit(hit, places.of(hit, start), span, marks, why if explain else None))
    return shown


def print_paths(shown: Sequence[ShownHit]) -> None:
    """Print each file, or the id of what is from none, once."""
    for name in dict.fromkeys(item.place.name for item in shown):
        click.echo(printable(name))


def print_json_lines(shown: Sequence[ShownHit], ranked_by: str) -> None:
    """Print each hit as JSON on a line of its own."""
    for item in shown:
        place = item.place
        values = item.hit.to_json() | {
            "path": place.name if place.is_path else None, "line": place.line,
            "snippet": item.snippet, "ranked_by": ranked_by,
        }  # fmt: skip
        if item.explanation is not None:
            values["explanation"] = asdict(item.explanation)
        click.echo(json_text(values))


def print_hits(shown: Sequence[ShownHit], screen: Screen, context: int | None = None) -> None:
    """Print hits for people: blocks that fit a terminal, and a line each elsewhere.

    Args:
        shown: The hits.
        screen: Where to.
        context: How many lines to show around the snippet; None for the snippet alone.
    """
    if shown and all(is_weak(item.hit.relevance) for item in shown):
        click.echo("Weak matches: nothing here is likely to be what you ask for.", err=True)
    for number, item in enumerate(shown):
        if screen.width is not None:
            if number:
                screen.echo()
            _print_block(item, screen, screen.width, context)
        else:
            _print_line(item, screen, context)
        if item.explanation is not None:
            _print_explanation(item.explanation, screen)


def _print_line(item: ShownHit, screen: Screen, context: int | None) -> None:
    """Print "path:line: 87% headings: snippet", as tools that read grep's output expect."""
    text = "(no text)"
    if item.snippet is not None:
        line, marks = _snippet(item)
        text = marked(screen, line, marks)
    headings = _one_line(item.headings)
    parts = [f"{_place(item, screen)}: {_likely(item.hit, screen)}"]
    if headings:
        parts.append(screen.styled(f"{headings}:", dim=True))
    if context is None and text:
        parts.append(text)
    screen.echo(" ".join(parts))
    if context is not None:
        _print_context(item, screen, None, context)


def _print_block(item: ShownHit, screen: Screen, width: int, context: int | None) -> None:
    """Print where a hit is, how likely it is right, and its snippet below."""
    indent = " " * (4 if width >= 40 else 2)
    head = _place(item, screen)
    used = cells(printable(item.place.name + item.place.suffix))
    likely = _likely(item.hit, screen)
    bar = "" if item.hit.relevance is None else screen.bar(item.hit.relevance) + " "
    room = len(bar) + cells(click.unstyle(likely)) + 2
    if used + room <= width:
        head, used = f"{head}  {screen.styled(bar, fg='cyan')}{likely}", used + room
        below = ""
    else:
        below = f"{screen.styled(bar, fg='cyan')}{likely}"
    headings = _one_line(item.headings)
    if headings and not below and used + 2 + cells(headings) <= width:
        head, headings = f"{head}  {screen.styled(headings, bold=True)}", ""
    screen.echo(head)
    if below:
        screen.echo(indent + below)
    room = width - len(indent)
    for part in wrapped(headings, room) if headings else ():
        screen.echo(indent + screen.styled(headings[slice(*part)], bold=True))
    if context is not None:
        _print_context(item, screen, width, context)
        return
    if item.snippet is None:
        screen.echo(f"{indent}(no text)")
        return
    line, marks = _snippet(item)
    for part in wrapped(line, room) if line else ():
        screen.echo(indent + marked(screen, line, marks, part))


def _print_context(item: ShownHit, screen: Screen, width: int | None, context: int) -> None:
    """Print the lines that a snippet is on and some around it, numbered as grep does."""
    text, span = item.hit.text, item.snippet
    if text is None or span is None:
        screen.echo("    (no text)")
        return
    lines = _lines_around(text, span, context)
    numbers = [_line_number(item, start) for (start, _), _ in lines]
    digits = max(len(str(number)) for number in numbers)
    for ((start, end), matches), number in zip(lines, numbers, strict=True):
        line, marks = squeezed(
            text, (start, min(end, start + _LONGEST_LINE)), item.marks, keep_spaces=True
        )
        gutter = f"  {number:>{digits}}{':' if matches else '-'} "
        room = len(line) + 1 if width is None else max(width - len(gutter), 8)
        for count, part in enumerate(wrapped(line, room)):
            before = (
                " " * len(gutter) if count else screen.styled(gutter, fg="green", dim=not matches)
            )
            screen.echo((before + marked(screen, line, marks if matches else (), part)).rstrip())


def _lines_around(text: str, span: Span, context: int) -> list[tuple[Span, bool]]:
    """Return the lines of a text that a span is on, and those around; whether each is on it."""
    starts = [0, *(place + 1 for place, letter in enumerate(text) if letter == "\n")]
    first_shown = span[1] - len(text[slice(*span)].lstrip())
    last_shown = span[0] + len(text[slice(*span)].rstrip())
    on = [n for n, start in enumerate(starts) if start < max(last_shown, first_shown + 1)]
    on = [n for n in on if n + 1 == len(starts) or starts[n + 1] > first_shown]
    found = []
    for n in range(max(on[0] - context, 0), min(on[-1] + context + 1, len(starts))):
        end = starts[n + 1] - 1 if n + 1 < len(starts) else len(text)
        found.append(((starts[n], end), on[0] <= n <= on[-1]))
    while len(found) > 1 and found[-1][0][0] == len(text) and not found[-1][1]:
        found.pop()  # no line follows the last line feed
    return found


def _line_number(item: ShownHit, start: int) -> int:
    from pocket_colbert.ingest.extracted import mapped_line

    lines = item.hit.metadata.get("lines", "") if item.place.line is not None else ""
    return mapped_line(item.hit.text or "", lines if isinstance(lines, str) else "", start)


def _place(item: ShownHit, screen: Screen) -> str:
    name, suffix = printable(item.place.name), printable(item.place.suffix)
    return screen.styled(name, fg="magenta") + screen.styled(suffix, fg="green")


def _likely(hit: Hit, screen: Screen) -> str:
    """Return how likely a hit is right, or its score where that is not known."""
    if hit.relevance is None:
        return f"{hit.score:.3f}"
    weak = is_weak(hit.relevance)
    return screen.styled(f"{hit.relevance:.0%}", fg="yellow" if weak else "green")


def _one_line(text: str) -> str:
    return " ".join(printable(text).split())


def _snippet(item: ShownHit) -> tuple[str, list[Span]]:
    """Return the snippet as one line, with dots where the text goes on, and its marks."""
    text, span = item.hit.text or "", item.snippet or (0, 0)
    line, marks = squeezed(text, span, item.marks)
    before = "..." if text[: span[0]].strip() else ""
    after = "..." if text[span[1] :].strip() else ""
    if not line:
        return "", []
    # The heading that the text begins with stands before it already.
    heading = f"{_one_line(item.headings.rpartition(' > ')[2])} "
    cut = len(heading) if heading != " " and line.startswith(heading) else 0
    moved = [(start - cut, end - cut) for start, end in marks if start >= cut]
    moved = [(start + len(before), end + len(before)) for start, end in moved]
    return f"{before}{line[cut:]}{after}", moved


def _print_explanation(why: Explanation, screen: Screen) -> None:
    """Say what the query's words matched, and what the tokens that are no words add."""
    others = []
    for match in why.matches:
        if match.query_span is None:
            others.append(match.similarity)
            continue
        place = f"at {match.document_span[0]}" if match.document_span else "title or marker"
        screen.echo(
            f"    {match.share:6.1%}  {printable(match.query_token)} - "
            f"{printable(match.document_token)} ({match.similarity:.2f}, {place})"
        )
    if others:
        screen.echo(
            f"    {'':6}  {len(others)} markers and fillers add {sum(others):.2f} of "
            f"{why.score:.2f}"
        )
