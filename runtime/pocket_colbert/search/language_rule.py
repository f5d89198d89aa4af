"""Whether a query is ranked by meaning, by keywords or by both: by how much of it a model reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from pocket_colbert.config import READ, UNREAD, SearchParameters

RankedBy = Literal["meaning", "keywords", "both"]
"""What documents are ordered by: MaxSim, BM25, or both."""

KEYWORD_WEIGHT = 0.5
"""Of BM25 beside MaxSim where a model knows the letters of a language, but not its words: half of
each is best or nearly so in each language of benchmarks/studies/languages.py."""

FEW = 0.03
"""Share of passages that a model reads in part from which on a collection is no accident: English
has such passages, too, of names and numbers."""


def parameters_for(
    readable: float, parameters: SearchParameters, share_in_part: Callable[[], float]
) -> SearchParameters:
    """Return how to search for a query where `SearchParameters.hybrid` is "auto".

    Args:
        readable: How much of the query the model can read.
        parameters: How to search otherwise.
        share_in_part: Returns the share of the passages of which the model can read less than
            `READ`. It is asked only for queries that could be English about something rare.

    Returns:
        The parameters, with another `hybrid` than "auto".
    """
    if parameters.hybrid != "auto":
        return parameters
    if readable < UNREAD:
        return replace(parameters, hybrid="keywords", word_starts=True)
    if readable < READ and share_in_part() >= FEW:
        return replace(
            parameters, hybrid="weighted", keyword_weight=KEYWORD_WEIGHT, word_starts=True
        )
    return replace(parameters, hybrid="off")
