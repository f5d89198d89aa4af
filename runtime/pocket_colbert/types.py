"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PassageHit:
    """A passage of a document that matched.

    Attributes:
        start: Its first character in the document's text.
        end: The character after its last.
        score: MaxSim of the passage alone.
    """

    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Hit:
    """One document that matched, best first in the list it comes in.

    Attributes:
        document_id: The id the document was added under.
        score: What the list is ordered by, larger is better. MaxSim, for every query token the
            best cosine over the tokens of the document's best passage, summed, which is at most
            the number of query tokens; for a hybrid search the fused score or BM25.
        text: The document's text, None when the index holds none.
        title: The document's title, None when it has none.
        metadata: The document's metadata.
        passages: Its best passages by MaxSim, best first; a short document is one passage.
    """

    document_id: str
    score: float
    text: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    passages: tuple[PassageHit, ...] = ()


def to_run(
    query_ids: Iterable[str], hits: Iterable[Sequence[Hit]]
) -> Mapping[str, Mapping[str, float]]:
    """Turn hits into a BEIR run, `{query_id: {document_id: score}}`.

    Args:
        query_ids: One id a query, in the order the queries were searched in.
        hits: One list of hits a query.

    Returns:
        The run, ready for a standard evaluator.
    """
    return {
        query_id: {hit.document_id: hit.score for hit in query_hits}
        for query_id, query_hits in zip(query_ids, hits, strict=True)
    }
