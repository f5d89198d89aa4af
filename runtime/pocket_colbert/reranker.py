"""Texts in any number, ordered by their MaxSim with a query; no index is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_query, check_texts, check_whole_number
from pocket_colbert.config import SearchParameters
from pocket_colbert.model.encoder import Encoder, Progress
from pocket_colbert.text_splitting import slices_of
from pocket_colbert.types import Hit, Hits, PassageHit, Query, Span
from pocket_colbert.vectors.maxsim_float import maxsim
from pocket_colbert.vectors.top_k import top_k


@dataclass(frozen=True)
class Reranking:
    """Texts in order, and what it took.

    Attributes:
        hits: The texts, best first, equal scores in the order given.
        query_tokens: Token vectors of the query.
        document_tokens: Token vectors of the texts.
    """

    hits: Hits
    query_tokens: int
    document_tokens: int


def rerank(
    encoder: Encoder,
    query: str | Query,
    documents: Sequence[str] | Mapping[str, str],
    k: int | None = None,
    *,
    progress: Progress | None = None,
) -> Reranking:
    """Order texts of any length by their MaxSim with a query.

    A long text has the score of its best passage. One that is empty or blank comes last, with the
    lowest score that there can be: minus the number of query tokens.

    Args:
        encoder: Encodes the texts, and the query unless it is encoded already.
        query: The query.
        documents: Texts, whose ids are then "0", "1", ..., or a mapping of ids to texts.
        k: How many to return at most, all by default.
        progress: Called with the number of texts done and of all. If it raises, the work stops.

    Returns:
        The best k texts as hits.

    Raises:
        InvalidInputError: An argument breaks its rule.
    """
    check_whole_number("k", k, optional=True)
    if isinstance(documents, Mapping):
        ids, texts = list(documents), list(documents.values())
    else:
        texts = documents if isinstance(documents, str) else list(documents)  # type: ignore[assignment]
        ids = [str(position) for position in range(len(texts))]
    query_embedding, truncated = embedding_of(encoder, query)
    scored: list[list[tuple[Span, tuple[float, int]]]] = []
    check_texts(texts)

    def score(embedding: NDArray[np.float32]) -> tuple[float, int]:
        lowest = -float(len(query_embedding))  # of a text without words
        return maxsim(query_embedding, embedding) if len(embedding) else lowest, len(embedding)

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(len(scored) + done, len(texts))

    for slice_ in slices_of(texts):
        scored += encoder.reduce_passages(texts[slice_], score, progress=report)
    scores = np.array([max(s for _, (s, _) in parts) for parts in scored], dtype=np.float32)
    hits = Hits(truncated=truncated)
    for n in top_k(scores, len(texts) if k is None else k):
        passage_scores = np.array([s for _, (s, _) in scored[n]], dtype=np.float32)
        best = [
            PassageHit(start, end, float(passage_scores[p]))
            for p in top_k(passage_scores, SearchParameters().passages)
            for start, end in [scored[n][p][0]]
        ]
        hits.append(Hit(ids[n], float(scores[n]), texts[n], passages=tuple(best)))
    tokens = sum(length for parts in scored for _, (_, length) in parts)
    return Reranking(hits, len(query_embedding), tokens)


def embedding_of(encoder: Encoder, query: str | Query) -> tuple[NDArray[np.float32], bool]:
    """Return a query's token vectors, (query_tokens, dim) float32, and whether its end was cut."""
    if isinstance(query, Query):
        return query.embedding, query.truncated
    check_query(query)
    encoded = encoder.encode_query([query])
    return encoded[0], encoded.truncated
