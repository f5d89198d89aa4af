"""Show hits in a notebook, with a heat map over the tokens that matched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.retriever import Retriever
from pocket_colbert.search.explanation import Explanation, TokenMatch
from pocket_colbert.types import Hit, Query

_COLOUR = "255, 140, 0"
"""An orange background of varying opacity is legible on light and dark pages."""


@dataclass(frozen=True)
class HeatMap:
    """Hits for display in a notebook, with darker shades for tokens that add more to the score.

        >>> HeatMap.of(retriever, "who pays for the roof?", hits)

    A character's heat is the sum of the shares (`TokenMatch.share`, times its `weight`) of the
    query tokens whose best match it belongs to. Matches in the title are not shown. All text is
    escaped, so nothing in a document or query acts as markup.

    Attributes:
        query: The query.
        hits: Its hits, with their texts.
        explanations: One per hit, from `Retriever.explain`.
    """

    query: str
    hits: Sequence[Hit]
    explanations: Sequence[Explanation]

    def __post_init__(self) -> None:
        """Check that each hit has its explanation.

        Raises:
            InvalidInputError: A hit has no explanation or no text.
        """
        ids = [hit.document_id for hit in self.hits]
        if ids != [why.document_id for why in self.explanations]:
            raise InvalidInputError(
                f"explanations must be one per hit, in order, got {len(self.explanations)} for "
                f"{len(ids)} hits; HeatMap.of(retriever, query, hits) creates them."
            )
        for hit in self.hits:
            if hit.text is None:
                raise InvalidInputError(f"{hit.document_id!r} has no text to show.")

    @classmethod
    def of(cls, retriever: Retriever, query: str | Query, hits: Iterable[Hit]) -> HeatMap:
        """Explain hits and prepare them for display.

        Args:
            retriever: The retriever that found them.
            query: The query.
            hits: The hits.

        Raises:
            InvalidInputError: See `Retriever.explain`.
        """
        hits = list(hits)
        text = query.text if isinstance(query, Query) else query
        return cls(text, hits, retriever.explanations(query, hits))

    def __repr__(self) -> str:
        return f"<HeatMap of {len(self.hits)} hits for {self.query!r}>"

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_html(self) -> str:
        """Return the HTML that Jupyter displays: one `div` with inline styles and no script."""
        parts = [
            _hit(self.query, hit, why)
            for hit, why in zip(self.hits, self.explanations, strict=True)
        ]
        return f"<div>{''.join(parts) or 'no hits'}</div>"


def _hit(query: str, hit: Hit, why: Explanation) -> str:
    text = hit.text or ""
    name = hit.document_id if hit.title is None else f"{hit.title} ({hit.document_id})"
    matches = [match for match in why.matches if match.query_span is not None]
    asked = _painted(query, _heat(query, matches, "query_span"))
    shown = _painted(text, _heat(text, matches, "document_span"), why.start, why.end)
    before, after = "… " * (why.start > 0), " …" * (why.end < len(text))
    return (
        f'<div style="margin: 0.5em 0"><b>{escape(name)}</b> {why.score:.2f}<br>'
        f'<span style="font-size: 90%">{asked}</span>'
        f'<div style="white-space: pre-wrap">{before}{shown}{after}</div></div>'
    )


def _heat(text: str, matches: Iterable[TokenMatch], attribute: str) -> NDArray[np.float64]:
    """Return the heat of each character, (characters,) float64, scaled to at most 1."""
    heat = np.zeros(len(text))
    for match in matches:
        span = getattr(match, attribute)
        if span is not None:
            heat[slice(*span)] += match.share * match.weight
    return heat / heat.max() if heat.any() else heat


def _painted(text: str, heat: NDArray[np.float64], start: int = 0, end: int | None = None) -> str:
    """Return the HTML of part of a text; only escaped text and numbers go into it."""
    parts = []
    positions = range(start, len(text) if end is None else end)
    for level, run in groupby(positions, lambda position: round(float(heat[position]), 2)):
        characters = escape("".join(text[position] for position in run))
        if level > 0:
            colour = f"background: rgba({_COLOUR}, {0.6 * level:.2f})"
            characters = f'<span style="{colour}">{characters}</span>'
        parts.append(characters)
    return "".join(parts)
