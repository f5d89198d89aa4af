"""Hits that print themselves: as a list in a terminal, and as a table in a notebook."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from html import escape
from typing import Any
from unicodedata import combining, east_asian_width

from pocket_colbert.ingest.extracted import place_in_file
from pocket_colbert.types import Hit, Hits, Span

SNIPPET_LENGTH = 240
"""Characters of a snippet at most."""

_LEAST_WIDTH = 40
_LONGEST_NAME = 120
"""Characters of an id or a title that a table shows at most."""

FindSnippets = Callable[[Sequence[Hit]], Sequence[tuple[Span, Sequence[Span]]]]
"""Finds, for each hit, its snippet in its text, and the parts of the text to highlight."""


class Results(Hits):
    """The hits of one query, best first: a list of `Hit`, with snippets for people.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add(["The landlord repairs the roof.", "Rent is due on the first."], ids=[1, 2])
        2
        >>> found = notes.search("who repairs the roof?", k=1)
        >>> found.ids, found.highlighted()
        (['1'], ['The landlord **repairs** the **roof**.'])

    Attributes:
        query: The text that was searched for.
        truncated: Whether the end of the query did not fit the model's window and was cut off.
    """

    def __init__(
        self,
        query: str,
        hits: Iterable[Hit] = (),
        truncated: bool = False,
        find_snippets: FindSnippets | None = None,
    ) -> None:
        """Hold hits.

        Args:
            query: The text that was searched for.
            hits: What was found.
            truncated: See the class.
            find_snippets: Finds the snippet of each hit in its text, and what to highlight in it;
                called once, when snippets are first looked at.
        """
        super().__init__(hits, truncated)
        self.query = query
        self._find_snippets = find_snippets

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the hits; their snippets are found first, while the collection is at hand."""
        return _restored, (self.query, list(self), self.truncated, self._spans)

    @cached_property
    def _spans(self) -> list[tuple[Span, Sequence[Span]]]:
        if self._find_snippets is None:
            return [((0, min(len(hit.text or ""), SNIPPET_LENGTH)), ()) for hit in self]
        return list(self._find_snippets(self))

    @property
    def ids(self) -> list[str]:
        """The ids of the documents, best first."""
        return [hit.document_id for hit in self]

    @property
    def snippets(self) -> list[str]:
        """The part of each document's text that shows best why it matched, one a hit."""
        return self.highlighted("", "")

    @property
    def passages(self) -> list[str]:
        """The best passage of each document, one a hit: what to give a language model.

        A short document is one passage.
        """
        return [
            (hit.text or "")[hit.passages[0].start : hit.passages[0].end]
            if hit.passages
            else (hit.text or "")
            for hit in self
        ]

    @property
    def places(self) -> list[str]:
        """Where each snippet stands, one a hit, to be cited: "path:line" or "path, page 3".

        Of documents that are not from files, their ids.
        """
        return [
            place_in_file(hit.document_id, hit.text or "", hit.metadata, start)
            for hit, ((start, _), _) in zip(self, self._spans, strict=True)
        ]

    def highlighted(self, before: str = "**", after: str = "**") -> list[str]:
        """Return the snippets with what matched between two marks.

        The texts are left as they are: for a page, `to_html` escapes them.

        Args:
            before: What to put before a match.
            after: What to put behind it.

        Returns:
            One text a hit.
        """
        return [
            _marked(hit.text or "", span, marks, before, after).strip()
            for hit, (span, marks) in zip(self, self._spans, strict=True)
        ]

    def __repr__(self) -> str:
        if not self:
            return f"No hits for {self.query!r}."
        width = max(shutil.get_terminal_size((100, 24)).columns, _LEAST_WIDTH)
        hits = "1 hit" if len(self) == 1 else f"{len(self)} hits"
        lines = [_cut(f"{hits} for {self.query!r}", width)]
        for rank, (hit, shown) in enumerate(zip(self, self.snippets, strict=True), start=1):
            name = _one_line(hit.title or hit.document_id)
            lines.append(_cut(f"{rank:>3}  {_score(hit)}  {name}", width))
            lines.append(_cut(f"     {_one_line(shown)}", width))
        return "\n".join(lines)

    def to_html(self) -> str:
        """Return the hits as an HTML table with highlights, safe whatever the texts are.

        Notebooks show it.
        """
        if not self:
            return f"<p>No hits for <q>{escape(_named(self.query))}</q>.</p>"
        rows = []
        for rank, (hit, (span, marks)) in enumerate(zip(self, self._spans, strict=True), start=1):
            title = f"<b>{escape(_named(hit.title))}</b><br>" if hit.title else ""
            text = _marked(hit.text or "", span, marks, "<mark>", "</mark>", escape)
            rows.append(
                f"<tr><td>{rank}</td><td>{_score(hit)}</td>"
                f"<td>{escape(_named(hit.document_id))}</td>"
                f"<td dir='auto' style='text-align:left'>{title}{text}</td></tr>"
            )
        score = "score" if self[0].relevance is None else "relevance"
        head = f"<tr><th></th><th>{score}</th><th>id</th><th style='text-align:left'>text</th></tr>"
        # The classes keep notebooks from setting what stands between dollar signs as formulas.
        return (
            "<table class='mathjax_ignore tex2jax_ignore'>"
            f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"
        )

    def _repr_html_(self) -> str:
        """Return the hits as notebooks show them."""
        return self.to_html()


def _restored(
    query: str, hits: list[Hit], truncated: bool, spans: list[tuple[Span, Sequence[Span]]]
) -> Results:
    return Results(query, hits, truncated, lambda _: spans)


def _score(hit: Hit) -> str:
    return f"{hit.score:6.2f}" if hit.relevance is None else f"{hit.relevance:6.0%}"


def _one_line(text: str) -> str:
    """Return text without line breaks, and without characters that control a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _named(text: str) -> str:
    """Return an id or a title as a table shows it."""
    text = _one_line(text)
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…"


def _cut(line: str, width: int) -> str:
    """Return as much of a line as fits a terminal, where some characters are two cells wide."""
    used, fits = 0, 0
    for position, character in enumerate(line, start=1):
        used += 0 if combining(character) else 2 if east_asian_width(character) in "WF" else 1
        if used > width:
            return f"{line[:fits]}…"
        if used < width:
            fits = position
    return line


def _marked(
    text: str,
    span: Span,
    marks: Sequence[Span],
    before: str,
    after: str,
    escaped: Callable[[str], str] = str,
) -> str:
    """Return the snippet, with the marked parts between two marks."""
    parts, last = [], span[0]
    for start, end in sorted(marks):
        start, end = max(start, last), min(end, span[1])
        if start < end:
            parts += [escaped(text[last:start]), before, escaped(text[start:end]), after]
            last = end
    return "".join([*parts, escaped(text[last : span[1]])])
