"""One query over the segments of an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import SearchParameters
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.search.fusion import fuse
from pocket_colbert.search.keyword_scores import bm25
from pocket_colbert.search.segment_search import Scored, SegmentSearch
from pocket_colbert.sections import headings_of
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.selection import Selection
from pocket_colbert.types import Hit, PassageHit
from pocket_colbert.vectors.array_checks import check_embedding
from pocket_colbert.vectors.codec import QueryCodes
from pocket_colbert.vectors.query_tokens import merge_duplicate_query_tokens
from pocket_colbert.vectors.top_k import top_k

_DEFAULT_PARAMETERS = SearchParameters()


@dataclass(frozen=True, eq=False)
class Searcher:
    """Searches the segments of an index as one.

    Attributes:
        segments: The segments, oldest first.
        allowed: The documents of each that may be returned.
        k: How many documents at most.
        parameters: How to search.
        exact: Whether every allowed document is scored, whatever the parameters say.
        threads: Threads that one search may use.
    """

    segments: Sequence[Segment]
    allowed: Sequence[Selection]
    k: int
    parameters: SearchParameters
    exact: bool
    threads: int

    def run(
        self, query: NDArray[np.float32], text: str | None, executor: Executor | None
    ) -> list[Hit]:
        """Find the best documents for one query.

        Args:
            query: (query_tokens, dim) float32.
            text: The query's text, needed for keywords.
            executor: Scores parts side by side when given.
        """
        codes = list(self._codes(query)) if len(query) else []
        by_words: list[NDArray[np.float32]] | None = None
        if self.parameters.hybrid not in ("auto", "off"):
            starts = self.parameters.word_starts
            by_words = bm25(self.segments, text or "", starts=starts)
            scored = self._with_keywords(codes, by_words, executor)
        else:
            # An approximate search may have missed a document's best passage.
            scored = [
                self._rescored(number, codes, *part)
                for number, part in enumerate(self._by_maxsim(codes, self.k, executor))
            ]
        addresses = [
            (number, int(position))
            for number, (documents, _) in enumerate(scored)
            for position in documents
        ]
        scores = np.concatenate([np.empty(0, np.float32), *(scores for _, scores in scored)])
        order = top_k(scores, self.k)
        leading = by_words if self.parameters.hybrid == "keywords" else None
        return self._hits([addresses[n] for n in order], scores[order], codes, query, leading)

    def _codes(self, query: NDArray[np.float32]) -> Iterator[QueryCodes]:
        """Encode a query for each segment, vectors that are near enough as one."""
        weights = None
        if self.parameters.query_tolerance > 0:
            query, weights = merge_duplicate_query_tokens(query, self.parameters.query_tolerance)
        return self._each_token(query, weights)

    def _each_token(
        self, query: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> Iterator[QueryCodes]:
        """Encode a query for each segment as it is."""
        codec, codes = None, None
        for segment in self.segments:
            if codec is None or codes is None or not segment.rows.codec.same_as(codec):
                codec = segment.rows.codec
                codes = codec.encode_query(query, weights)
            yield codes

    @cached_property
    def _searches(self) -> list[SegmentSearch]:
        """What scores a few documents: on the thread that asks."""
        return [
            SegmentSearch(segment, allowed, self.parameters)
            for segment, allowed in zip(self.segments, self.allowed, strict=True)
        ]

    def _by_maxsim(
        self, codes: Sequence[QueryCodes], k: int, executor: Executor | None
    ) -> list[Scored]:
        """Return the best documents of each segment, none for a query without tokens."""
        if not codes:
            return []
        scored = []
        for search, query in zip(self._searches, codes, strict=True):
            whole = replace(search, executor=executor, threads=self.threads)
            scored.append(whole.exact(query, k) if self.exact else whole.best(query, k))
        return scored

    def _rescored(
        self, number: int, codes: Sequence[QueryCodes], documents: NDArray[np.int64],
        scores: NDArray[np.float32],
    ) -> Scored:  # fmt: skip
        if self.segments[number].passages.one_each or not len(documents):
            return documents, scores
        documents = np.sort(documents)
        return documents, self._maxsim_of(number, codes, documents)

    def _maxsim_of(
        self, number: int, codes: Sequence[QueryCodes], documents: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Score some documents (ascending) of a segment exactly; -inf without query tokens."""
        if not codes or not len(documents):
            return np.full(len(documents), -np.inf, np.float32)
        return self._searches[number].maxsim(codes[number], documents)

    def _with_keywords(
        self,
        codes: Sequence[QueryCodes],
        of_passages: Sequence[NDArray[np.float32]],
        executor: Executor | None,
    ) -> list[Scored]:
        by_words = [
            allowed.scores(segment.passages.best_of_all(scores), otherwise=0)
            for segment, allowed, scores in zip(
                self.segments, self.allowed, of_passages, strict=True
            )
        ]
        with_words = [
            (np.arange(len(scores)), np.where(scores > 0, scores, np.float32(-np.inf)))
            for scores in by_words
        ]
        if self.parameters.hybrid == "keywords":
            return with_words
        depth = max(self.parameters.depth, self.k)
        chosen = [
            np.union1d(maxsim, words)
            for maxsim, words in zip(
                _best(self._by_maxsim(codes, depth, executor), depth, by_words),
                _best(with_words, depth, by_words),
                strict=True,
            )
        ]
        maxsim_scores = [self._maxsim_of(n, codes, part) for n, part in enumerate(chosen)]
        fused = fuse(
            np.concatenate([np.empty(0, np.float32), *maxsim_scores]),
            np.concatenate(
                [np.empty(0, np.float32)]
                + [scores[n] for scores, n in zip(by_words, chosen, strict=True)]
            ),
            self.parameters.hybrid,
            self.parameters.keyword_weight,
        )
        ends = np.cumsum([len(documents) for documents in chosen])
        return list(zip(chosen, np.split(fused, ends[:-1]), strict=True)) if len(ends) else []

    def _best_passages(
        self,
        number: int,
        position: int,
        scores: NDArray[np.float32],
        by_words: Sequence[NDArray[np.float32]] | None,
    ) -> NDArray[np.int64]:
        """Return which passages of a document come with it, best first."""
        if by_words is None or len(scores) < 2:
            return top_k(scores, self.parameters.passages)
        words = by_words[number][slice(*self.segments[number].passages.bounds(position))]
        return np.lexsort((-scores, -words))[: self.parameters.passages]

    def _hits(
        self,
        addresses: Sequence[tuple[int, int]],
        scores: NDArray[np.float32],
        codes: Sequence[QueryCodes],
        query: NDArray[np.float32],
        by_words: Sequence[NDArray[np.float32]] | None,
    ) -> list[Hit]:
        """Return hits, with their best passages by MaxSim or, where they lead, by keywords."""
        each_token = codes if not self.parameters.query_tolerance else list(self._each_token(query))
        known = dict(zip(addresses, scores.tolist(), strict=True))
        hits = {}
        for number in {segment for segment, _ in addresses}:
            segment = self.segments[number]
            positions = sorted(position for n, position in addresses if n == number)
            documents = segment.documents.get(positions)
            spans = segment.spans(documents)
            if segment.passages.one_each and self.parameters.hybrid in ("auto", "off"):
                scored = [np.array([known[number, p]], np.float32) for p in positions]
            elif codes:
                scored = self._searches[number].passage_scores(codes[number], np.array(positions))
            else:
                scored = [np.empty(0, np.float32) for _ in positions]
            best_of = [
                self._best_passages(number, position, each, by_words)
                for position, each in zip(positions, scored, strict=True)
            ]
            near = self._similarities(number, each_token, positions, best_of)
            for position, each, best in zip(positions, scored, best_of, strict=True):
                document = documents[position]
                hits[number, position] = Hit(
                    document.document_id,
                    known[number, position],
                    document.text,
                    document.title,
                    document.metadata,
                    tuple(
                        PassageHit(
                            start,
                            end,
                            float(each[n]),
                            headings_of(document.sections, start, end),
                            near[position] if n == best[0] else (),
                        )
                        for n, (start, end) in ((n, spans[position][n]) for n in best)
                    ),
                )
        return [hits[address] for address in addresses]

    def _similarities(
        self,
        number: int,
        codes: Sequence[QueryCodes],
        positions: Sequence[int],
        best_of: Sequence[NDArray[np.int64]],
    ) -> dict[int, tuple[float, ...]]:
        """Say how near the best passage of some documents is to each token of the query.

        Args:
            number: The segment.
            codes: The query, not merged, for each segment.
            positions: The documents.
            best_of: The passages of each to show, best first; may be none.

        Returns:
            The best cosine of each token, by position.
        """
        segment = self.segments[number]
        best = {
            position: segment.passages.bounds(position)[0] + int(passages[0])
            for position, passages in zip(positions, best_of, strict=True)
            if len(passages)
        }
        if not best or not codes:
            return {}
        rows = segment.rows.similarities(codes[number], np.array(list(best.values()), np.int64))
        return dict(zip(best, map(tuple, rows.tolist()), strict=True))


def _best(scored: Sequence[Scored], k: int, segments: Sequence[object]) -> list[NDArray[np.int64]]:
    """Return the documents, a segment each, that are among the best k of all segments."""
    if not scored:
        return [np.empty(0, np.int64) for _ in segments]
    scores = np.concatenate([scores for _, scores in scored])
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[top_k(scores, k)] = True
    ends = np.cumsum([len(scores) for _, scores in scored])
    return [
        documents[part]
        for (documents, _), part in zip(scored, np.split(chosen, ends[:-1]), strict=True)
    ]


def checked_queries(
    query_embeddings: Sequence[NDArray[Any]], k: int, dim: int
) -> list[NDArray[np.float32]]:
    """Return what is searched for, as one (query_tokens, dim) float32 array a query.

    Raises:
        InvalidInputError: k is below 1, or a query is not such an array.
    """
    check_whole_number("k", k)
    if isinstance(query_embeddings, np.ndarray) and query_embeddings.ndim == 2:
        raise InvalidInputError("query_embeddings must be a list of arrays, got one array.")
    return [check_embedding(query, dim, "query embedding") for query in query_embeddings]


def checked_parameters(parameters: SearchParameters | None) -> SearchParameters:
    """Return how to search, by default as `SearchParameters()` says.

    Raises:
        InvalidInputError: It is something else, such as a dictionary.
    """
    if not isinstance(parameters, SearchParameters | None):
        raise InvalidInputError(
            f"parameters must be SearchParameters(...), got {type(parameters).__name__}."
        )
    return parameters or _DEFAULT_PARAMETERS


def query_texts_of(
    texts: Sequence[str] | None, count: int, parameters: SearchParameters, keywords: str
) -> Sequence[str]:
    """Return the texts of queries, which only a hybrid search needs.

    Raises:
        InvalidInputError: They are needed and missing, or the index has no keywords.
    """
    if parameters.hybrid in ("auto", "off"):
        return [""] * count
    if keywords == "none":
        raise InvalidInputError(
            "hybrid search needs an index with keywords, this one was made with keywords='none'."
        )
    queries = None if texts is None or isinstance(texts, str) else list(texts)
    if (
        queries is None
        or len(queries) != count
        or not all(isinstance(query, str) for query in queries)
    ):
        raise InvalidInputError(
            f"hybrid search needs texts, a list of the texts of the {count} queries, got {texts!r}."
        )
    return queries
