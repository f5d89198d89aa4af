"""What the integrations share: checking settings, searching, and turning hits into results."""

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

OWN_KEYS = ("document_id", "start", "end", "document_score", "passages", "relevance")
"""Metadata keys that the search sets; a document's own values under these names are replaced."""

QUERY_KEYS = ("relevance_score", "score", "relevance", "document_score", "passages")
"""Metadata keys whose values depend on the query: they do not make two results differ."""


@dataclass(frozen=True)
class SearchResult:
    """A document, or one of its passages, as a framework receives it.

    Attributes:
        result_id: The document's id; for a passage, followed by ":start-end".
        text: The document's text (its title if it has no text), or the passage's text.
        score: The document's score, or the passage's MaxSim.
        metadata: The document's metadata with its title as "title", unless it has such a field.
            Both have "document_id", and "relevance", how likely the document is right, from 0 to 1,
            None for a model that does not say it. A document also has "passages", a list of start,
            end and score; a passage also has "document_score", "start" and "end". Offsets are in
            characters.
        document_id: The document's id.
        span: Start and end offset of the passage in the document's text; None for a document.
    """

    result_id: str
    text: str
    score: float
    metadata: dict[str, Any]
    document_id: str
    span: tuple[int, int] | None = None


def search_parameters(
    k: int,
    where: Mapping[str, Any] | None,
    hybrid: Hybrid | None,
    parameters: SearchParameters | None,
    passages: int,
) -> SearchParameters:
    """Check search settings early, so that a wrong one fails where it is set.

    Args:
        k: Maximum number of documents.
        where: See `filters.parse_filter`.
        hybrid: Short for `SearchParameters(hybrid=hybrid)`.
        parameters: All search settings, instead of `hybrid`.
        passages: 0 for whole documents, otherwise the maximum number of passages per document.

    Returns:
        The search parameters, including `passages`.

    Raises:
        InvalidInputError: An argument breaks its rule, or both hybrid and parameters are given.
    """
    for name, value, least in (("k", k, 1), ("passages", passages, 0)):
        check_whole_number(name, value, least=least)
    if where is not None:
        parse_filter(where)
    if hybrid is not None and parameters is not None:
        raise InvalidInputError(
            f"hybrid and parameters must not both be given; put hybrid={hybrid!r} in parameters."
        )
    chosen = parameters or SearchParameters(hybrid=hybrid or "auto")
    if passages == 0:
        return chosen
    if chosen.hybrid == "keywords":
        raise InvalidInputError(
            "passages need MaxSim scores, got passages with hybrid='keywords'; "
            "use hybrid='weighted' or passages=0."
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
    min_relevance: float | None = None,
) -> list[SearchResult]:
    """Find documents, or their passages, for one query.

    Args:
        retriever: A retriever with an index.
        query: The query.
        k: See `search_parameters`.
        where: See `search_parameters`.
        parameters: What `search_parameters` returned.
        passages: See `search_parameters`.
        min_relevance: See `Retriever.retrieve`.

    Returns:
        Documents, best first; or passages, grouped by document, best document first and best
        passage of each first.

    Raises:
        InvalidInputError: There is no index, an argument breaks its rule, or a document has
            neither text nor title.
    """
    hits = retriever.retrieve(
        [query], k, parameters=parameters, where=where, min_relevance=min_relevance
    )[0]
    if passages == 0:
        return [_document(hit) for hit in hits]
    return [result for hit in hits for result in _passages(hit)]


def only_one(settings: Mapping[str, Any]) -> Any:
    """Return the one setting that is not None, of several names of the same setting.

    Args:
        settings: Each name and its value.

    Returns:
        The value, or None if all are None.

    Raises:
        InvalidInputError: More than one is given; the message names them.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    if len(given) > 1:
        names = " and ".join(f"{name}={value!r:.40}" for name, value in given.items())
        raise InvalidInputError(f"{names} set the same thing; give only one of them.")
    return next(iter(given.values()), None)


def without_query_keys(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata without what depends on the query, to compare results of two queries."""
    return {key: value for key, value in metadata.items() if key not in QUERY_KEYS}


def combine_filters(*filters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Combine filters so that all must match; None if none is given."""
    given = [dict(item) for item in filters if item is not None]
    if len(given) < 2:
        return given[0] if given else None
    return {"$and": given}


def rerank(
    encoder: Encoder, query: str, texts: Sequence[str], k: int | None
) -> list[tuple[int, float, float | None]]:
    """Order texts by MaxSim with a query; see `Retriever.rerank`.

    Args:
        encoder: The model.
        query: The query.
        texts: The texts.
        k: Maximum number of texts to return, None for all.

    Returns:
        Position in `texts`, score and relevance, best first, equal scores in the order given.
    """
    hits = Retriever(encoder).rerank(query, texts, k)
    return [(int(hit.document_id), hit.score, hit.relevance) for hit in hits]


def _metadata(hit: Hit) -> dict[str, Any]:
    title = {} if hit.title is None else {"title": hit.title}
    return {**title, **hit.metadata, "relevance": hit.relevance}


def _text(hit: Hit) -> str:
    text = hit.text if hit.text is not None else hit.title
    if text is None:
        raise InvalidInputError(
            f"{hit.document_id!r} has no text to return; add documents with their texts."
        )
    return text


def _document(hit: Hit) -> SearchResult:
    passages = [{"start": p.start, "end": p.end, "score": p.score} for p in hit.passages]
    metadata = {**_metadata(hit), "document_id": hit.document_id, "passages": passages}
    return SearchResult(hit.document_id, _text(hit), hit.score, metadata, hit.document_id)


def _passages(hit: Hit) -> list[SearchResult]:
    text = _text(hit)
    return [
        SearchResult(
            f"{hit.document_id}:{part.start}-{part.end}",
            # A document without a text has its title as its only passage.
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
