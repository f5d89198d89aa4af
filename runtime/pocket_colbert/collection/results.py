"""Hits that print themselves: as a table in a terminal, and as HTML in a notebook."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from html import escape
from typing import Any

from pocket_colbert.types import Hit, Hits, Span

SNIPPET_LENGTH = 240
"""Characters of a snippet at most."""

_LEAST_WIDTH = 40


class Results(Hits):
    """The hits of one query, best first: a list of `Hit`, with snippets for people.

    Attributes:
        query: The text that was searched for.
        truncated: Whether the end of the query did not fit the model's window and was cut off.
    """

    def __init__(
        self,
        query: str,
        hits: Iterable[Hit] = (),
        truncated: bool = False,
        find_snippets: Callable[[Sequence[Hit]], Sequence[tuple[Span, Sequence[Span]]]]
        | None = None,
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
    def snippets(self) -> list[str]:
        """The part of each document's text that shows best why it matched, one a hit."""
        return [
            (hit.text or "")[slice(*span)] for hit, (span, _) in zip(self, self._spans, strict=True)
        ]

    @property
    def ids(self) -> list[str]:
        """The ids of the documents, best first."""
        return [hit.document_id for hit in self]

    def __repr__(self) -> str:
        if not self:
            return f"No hits for {self.query!r}."
        width = max(shutil.get_terminal_size((100, 24)).columns, _LEAST_WIDTH)
        lines = [f"{len(self)} hits for {self.query!r}"[:width]]
        for rank, (hit, shown) in enumerate(zip(self, self.snippets, strict=True), start=1):
            head = f"{rank:>3}  {_score(hit)}  {hit.title or hit.document_id}"
            lines += [head[:width], f"     {_one_line(shown)}"[:width]]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the hits as HTML, for notebooks."""
        if not self:
            return f"<p>No hits for <q>{escape(self.query)}</q>.</p>"
        rows = []
        for rank, (hit, (span, marks)) in enumerate(zip(self, self._spans, strict=True), start=1):
            title = f"<b>{escape(hit.title)}</b><br>" if hit.title else ""
            rows.append(
                f"<tr><td>{rank}</td><td>{_score(hit)}</td><td>{escape(hit.document_id)}</td>"
                f"<td style='text-align:left'>{title}{_marked(hit.text or '', span, marks)}</td>"
                "</tr>"
            )
        head = "<tr><th></th><th>score</th><th>id</th><th style='text-align:left'>text</th></tr>"
        return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _restored(
    query: str, hits: list[Hit], truncated: bool, spans: list[tuple[Span, Sequence[Span]]]
) -> Results:
    return Results(query, hits, truncated, lambda _: spans)


def _score(hit: Hit) -> str:
    return f"{hit.score:6.2f}" if hit.relevance is None else f"{hit.relevance:6.0%}"


def _one_line(text: str) -> str:
    """Return text without line breaks, and without characters that control a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _marked(text: str, span: Span, marks: Sequence[Span]) -> str:
    """Return the snippet as HTML, the marked parts in <mark>."""
    parts, last = [], span[0]
    for start, end in sorted(marks):
        start, end = max(start, last), min(end, span[1])
        if start < end:
            parts += [escape(text[last:start]), f"<mark>{escape(text[start:end])}</mark>"]
            last = end
    return "".join([*parts, escape(text[last : span[1]])])
