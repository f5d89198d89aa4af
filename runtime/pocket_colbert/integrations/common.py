"""What the integrations share: how they search, and what becomes of hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import Hybrid, SearchParameters
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever
from pocket_colbert.storage.filters import parse_filter
from pocket_colbert.types import Hit

"""See `SearchParameters.hybrid`."""

OWN_KEYS = ("document_id", "start", "end", "document_score", "passages")
"""Metadata that comes from the search; it takes the place of a document's own of these names."""


@dataclass(frozen=True)
class Found:
    """What a framework gets: a document, or one of its passages.

    Attributes:
        found_id: The document's id; for a passage followed by ":" and its place, "start-end".
        text: The document's text (its title if it has no text), or the passage's.
        score: The document's score, or the passage's MaxSim.
        metadata: The document's, with its title as "title" where it has no such field, and:
            for a document "passages", a list of start, end and score; for a passage
            "document_id", "document_score", "start" and "end". Places are in characters.
        document_id: The document's id.
        place: First character of the passage in the document's text, and the one after its
            last; None for a document.
    """

    found_id: str
    text: str
    score: float
    metadata: dict[str, Any]
    document_id: str
    place: tuple[int, int] | None = None


def search_parameters(
    k: int,
    where: Mapping[str, Any] | None,
    hybrid: Hybrid | None,
    parameters: SearchParameters | None,
    passages: int,
) -> SearchParameters:
    """Check how to search, so that a wrong setting fails where it is made.

    Args:
        k: How many documents at most.
        where: See `filters.parse_filter`.
        hybrid: Short for `SearchParameters(hybrid=hybrid)`.
        parameters: All the settings, in place of `hybrid`.
        passages: 0 for whole documents, else how many passages of each document at most.

    Returns:
        The parameters, `passages` being part of them.

    Raises:
        InvalidInputError: An argument breaks its rule, or both hybrid and parameters are given.
    """
    for name, value, least in (("k", k, 1), ("passages", passages, 0)):
        check_whole_number(name, value, least=least)
    if where is not None:
        parse_filter(where)
    if hybrid is not None and parameters is not None:
        raise InvalidInputError(
            f"give hybrid or parameters, got both; put hybrid={hybrid!r} into the parameters."
        )
    chosen = parameters or SearchParameters(hybrid=hybrid or "off")
    if passages == 0:
        return chosen
    if chosen.hybrid == "keywords":
        raise InvalidInputError(
            "passages are found by MaxSim, got passages with hybrid='keywords'; "
            "use 'weighted', or passages=0."
        )
    return replace(chosen, passages=passages)


def search(
    retriever: Retriever,
    query: str,
    *,
    k: int,
    where: Mapping[str, Any] | None,
    parameters: SearchParameters,
    passages: int,
) -> list[Found]:
    """Find documents, or their passages, for one query.

    Args:
        retriever: With an index.
        query: The query.
        k: See `search_parameters`.
        where: See `search_parameters`.
        parameters: What `search_parameters` returned.
        passages: See `search_parameters`.

    Returns:
        Documents, best first; or passages, those of the best document first, each document's
        own in the order of their scores.

    Raises:
        InvalidInputError: There is no index, an argument breaks its rule, or a document has
            neither text nor title.
    """
    hits = retriever.retrieve([query], k, parameters=parameters, where=where)[0]
    if passages == 0:
        return [_document(hit) for hit in hits]
    return [found for hit in hits for found in _passages(hit)]


def both(*filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the filter that holds where all of those given do; None for none."""
    given = [dict(item) for item in filters if item is not None]
    if len(given) < 2:
        return given[0] if given else None
    return {"$and": given}


def rerank(
    encoder: Encoder, query: str, texts: Sequence[str], k: int | None
) -> list[tuple[int, float]]:
    """Order texts by MaxSim with a query; see `Retriever.rerank`.

    Returns:
        Position in `texts` and score, best first, equal scores in the order given.
    """
    return [(int(hit.document_id), hit.score) for hit in Retriever(encoder).rerank(query, texts, k)]


def _metadata(hit: Hit) -> dict[str, Any]:
    title = {} if hit.title is None else {"title": hit.title}
    return {**title, **hit.metadata}


def _text(hit: Hit) -> str:
    text = hit.text if hit.text is not None else hit.title
    if text is None:
        raise InvalidInputError(
            f"{hit.document_id!r} has no text to return; add documents with their texts."
        )
    return text


def _document(hit: Hit) -> Found:
    places = [{"start": p.start, "end": p.end, "score": p.score} for p in hit.passages]
    metadata = {**_metadata(hit), "passages": places}
    return Found(hit.document_id, _text(hit), hit.score, metadata, hit.document_id)


def _passages(hit: Hit) -> list[Found]:
    text = _text(hit)
    return [
        Found(
            f"{hit.document_id}:{part.start}-{part.end}",
            # A document that has a title only is one passage, without a place in its text.
            text if hit.text is None else text[part.start : part.end],
            part.score,
            {
                **_metadata(hit),
                "document_id": hit.document_id,
                "document_score": hit.score,
                "start": part.start,
                "end": part.end,
            },
            hit.document_id,
            (part.start, part.end),
        )
        for part in hit.passages
    ]
