"""Texts in any number, ordered by their MaxSim with a query; no index is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import SearchParameters
from pocket_colbert.model.encoder import Encoder, Progress
from pocket_colbert.model.folder import bundled_model_of
from pocket_colbert.search.relevance import CURVES, relevance
from pocket_colbert.types import Hit, PassageHit, Query
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise
from pocket_colbert.vectors.top_k import top_k


@dataclass(frozen=True)
class Reranking:
    """Texts in order, and what it took.

    Attributes:
        hits: The texts, best first, equal scores in the order given.
        query_tokens: Token vectors of the query.
        document_tokens: Token vectors of the texts.
    """

    hits: list[Hit]
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

    A long text has the score of its best passage.

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
    asked = query if isinstance(query, Query) else encoder.query(query)
    curve = CURVES.get(bundled_model_of(encoder.card.fingerprint) or "")
    passages = encoder.encode_passages(texts, progress=progress)
    embeddings = [item.embedding for parts in passages for item in parts]
    flat = maxsim_pairwise(asked.embedding, embeddings)
    flat = np.where(np.isfinite(flat), flat, np.float32(0))  # of a text without words
    ends = np.cumsum([len(parts) for parts in passages], dtype=np.int64)
    passage_scores = np.split(flat, ends[:-1])[: len(passages)]
    scores = np.array([part.max() for part in passage_scores], dtype=np.float32)
    hits = []
    for n in top_k(scores, len(texts) if k is None else k):
        best = [
            PassageHit(passages[n][p].start, passages[n][p].end, float(passage_scores[n][p]))
            for p in top_k(passage_scores[n], SearchParameters().passages)
        ]
        first = passages[n][int(passage_scores[n].argmax())]
        text = texts[n][first.start : first.end]
        likely = None if curve is None else relevance(asked, first.embedding, text, curve)
        hits.append(Hit(ids[n], float(scores[n]), texts[n], passages=tuple(best), relevance=likely))
    return Reranking(hits, len(asked.embedding), sum(map(len, embeddings)))
