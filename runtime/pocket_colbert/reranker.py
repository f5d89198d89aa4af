"""Texts in any number, ordered by their MaxSim with a query; no index is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_texts, check_whole_number
from pocket_colbert.config import SearchParameters
from pocket_colbert.model.encoder import Encoder, Progress
from pocket_colbert.search.relevance import NEIGHBOURS, Evidence, weigh, with_relevance
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


class _Scored(NamedTuple):
    """A passage, scored.

    Attributes:
        score: Its MaxSim.
        tokens: Its token vectors.
        similarities: The best cosine of each token of the query; () without token vectors.
    """

    score: float
    tokens: int
    similarities: tuple[float, ...]


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
    if not isinstance(query, Query):
        query = encoder.query(query)
    query_embedding = query.embedding
    scored: list[list[tuple[Span, float, _Scored]]] = []
    check_texts(texts)

    def score(embedding: NDArray[np.float32]) -> _Scored:
        if not len(embedding):  # a text without words
            return _Scored(-float(len(query_embedding)), 0, ())
        nearest = (query_embedding @ embedding.T).max(axis=1)
        return _Scored(maxsim(query_embedding, embedding), len(embedding), tuple(nearest.tolist()))

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(len(scored) + done, len(texts))

    for slice_ in slices_of(texts):
        scored += encoder.reduce_passages(texts[slice_], score, progress=report)
    scores = np.array([max(item.score for *_, item in parts) for parts in scored], np.float32)
    number = len(texts) if k is None else k
    hits: list[Hit] = []
    evidence: list[Evidence] = []
    for n in top_k(scores, max(number, NEIGHBOURS + 1)):
        passage_scores = np.array([item.score for *_, item in scored[n]], dtype=np.float32)
        order = top_k(passage_scores, SearchParameters().passages)
        best: list[PassageHit] = []
        for p in order:
            (start, end), _, item = scored[n][p]
            near = () if best else item.similarities
            best.append(PassageHit(start, end, item.score, similarities=near))
        hits.append(Hit(ids[n], float(scores[n]), texts[n], passages=tuple(best)))
        part = texts[n][best[0].start : best[0].end]
        evidence.append(Evidence(part, best[0].similarities, best[0].score))
    judged = with_relevance(weigh(query), hits, evidence[:number], encoder.relevance_curve)
    tokens = sum(item.tokens for parts in scored for *_, item in parts)
    return Reranking(Hits(judged, query.truncated), len(query_embedding), tokens)
