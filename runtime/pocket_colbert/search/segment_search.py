"""One query against the documents of one segment."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import SearchParameters
from pocket_colbert.storage.inverted_file import default_candidates
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_graph import TokenGraph
from pocket_colbert.vectors.codec import QueryCodes
from pocket_colbert.vectors.int8_matmul import Product
from pocket_colbert.vectors.top_k import top_k

Scored = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Documents of a segment and their scores."""

LOOKUP_TOKENS = 100_000
"""What looking into an inverted file costs, in token vectors that could be scored instead: about
2 ms of 20 ns on the machine of `benchmarks/README.md`. The ratio moves little between machines."""

GRAPH_TOKENS = 500
"""The same for a graph, a lookup: 128 neighbours of each of 32 query tokens, 512 lookups, took 5
ms."""

_MOSTLY = 0.5
"""From this share of the documents on it is faster to score them all than to gather some."""


@dataclass(frozen=True, eq=False)
class SegmentSearch:
    """Scores documents of a segment by MaxSim.

    Attributes:
        segment: The segment.
        allowed: The documents that may be returned.
        parameters: How to search.
        executor: Scores parts side by side when given.
        threads: How many of its threads to keep busy.
    """

    segment: Segment
    allowed: Selection
    parameters: SearchParameters = SearchParameters()
    executor: Executor | None = None
    threads: int = 1

    def best(self, query: QueryCodes, k: int) -> Scored:
        """Find the best documents as the parameters say.

        Args:
            query: The query, encoded with the segment's codec.
            k: How many documents at most.

        Returns:
            Document positions (n,) int64, best first, and scores (n,) float32. Approximate
            search, too, returns k where that many documents are allowed and have token vectors.
        """
        if self.approximates(k):
            documents, scores = self._approximate(query, k)
            if len(documents) >= min(k, len(self.allowed)):
                return documents, scores
        return self.exact(query, k)

    def exact(self, query: QueryCodes, k: int) -> Scored:
        """Find the best documents by scoring all that are allowed; see `best`."""
        segment = self.segment
        if self.allowed.share < _MOSTLY:
            return self._best_of(query, segment.passages.of(self.allowed.positions()), k)
        scores = segment.rows.score_all(query, self.executor, self.threads)
        scores = self.allowed.scores(segment.passages.best_of_all(scores))
        documents = top_k(scores, k)
        return documents, scores[documents]

    def approximates(self, k: int) -> bool:
        """Say whether a search looks for candidates rather than scoring all documents."""
        source = self.segment.source
        if source is None or self.parameters.mode == "exact" or not source.widening:
            return False
        if self._fit(self.candidates(k)):
            return False
        if self.parameters.mode == "approximate":
            return True
        passages = len(self.segment.passages) * self.allowed.share
        share = min(self.candidates(k) / max(passages, 1.0), 1.0)
        cost = LOOKUP_TOKENS
        if isinstance(source, TokenGraph):
            cost = GRAPH_TOKENS * self.parameters.lookups * source.widening
        return (1 - share) * passages * self._mean_length() > cost

    def candidates(self, k: int) -> int:
        """Return how many passages an approximate search scores exactly."""
        wanted = self.parameters.candidates
        if wanted is None:
            wanted = default_candidates(self._mean_length())
        if self.segment.source is not None:
            wanted *= max(self.segment.source.widening, 1)
        if not self.segment.passages.one_each:
            k = k * len(self.segment.passages) // self.segment.num_documents
        return max(wanted, k)

    def _fit(self, limit: int) -> bool:
        """Say whether no more passages are allowed than would be scored anyway."""
        if len(self.allowed) > limit:
            return False
        passages = self.segment.passages
        if passages.one_each:
            return True
        return int(passages.counts(self.allowed.positions()).sum()) <= limit

    def maxsim(self, query: QueryCodes, documents: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the exact scores of some documents (ascending)."""
        passages = self.segment.passages.of(documents)
        return self.segment.passages.best(passages, self.segment.rows.score(query, passages))[1]

    def passage_scores(
        self, query: QueryCodes, documents: NDArray[np.int64]
    ) -> list[NDArray[np.float32]]:
        """Return the scores of the passages of each of some documents (ascending)."""
        passages = self.segment.passages
        scores = self.segment.rows.score(query, passages.of(documents))
        return np.split(scores, np.cumsum(passages.counts(documents))[:-1])

    def _approximate(self, query: QueryCodes, k: int) -> Scored:
        source, limit = self.segment.source, self.candidates(k)
        assert source is not None
        allowed = self.segment.passages.selection(self.allowed)
        lookups = self.parameters.lookups * source.widening
        chosen = self.parameters.query_tokens
        if isinstance(source, TokenGraph):
            passages = source.candidates(
                query, allowed, lookups=lookups, limit=limit, query_tokens=chosen,
                threads=self.threads,
            )  # fmt: skip
        else:
            passages = source.candidates(
                query, allowed, lookups=lookups, limit=limit, query_tokens=chosen, product=Product
            )
        return self._best_of(query, passages, k)

    def _best_of(self, query: QueryCodes, passages: NDArray[np.int64], k: int) -> Scored:
        """Score passages (ascending) and return the best k of their documents."""
        scores = self.segment.rows.score(query, passages, self.executor, self.threads)
        documents, scores = self.segment.passages.best(passages, scores)
        best = top_k(scores, k)
        return documents[best], scores[best]

    def _mean_length(self) -> float:
        """Return about how many token vectors a passage has."""
        rows = self.segment.rows
        return len(rows.codes) * rows.codec.planes / max(len(self.segment.passages), 1)
