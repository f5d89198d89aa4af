"""Find the codes and pruning that suit a collection by measuring them on a sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import CODES, Codes, IndexConfig, Pruning, SearchParameters, Splitting
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.evaluation.beir import BeirFolder
from pocket_colbert.evaluation.evaluate import DEPTH
from pocket_colbert.evaluation.metrics import (
    compute_metrics,
    ndcg_per_query,
    require_evaluator,
    to_run,
)
from pocket_colbert.index.index import Index
from pocket_colbert.ingest.frequent_tokens import most_frequent
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.types import Document, Passage
from pocket_colbert.vectors.maxsim_float import maxsim_ragged
from pocket_colbert.vectors.pruning import apply_pruning
from pocket_colbert.vectors.top_k import top_k

PRUNINGS: Mapping[str, Pruning] = {
    "all": Pruning(),
    "pool 1.5": Pruning(pool_factor=1.5),
    "pool 2": Pruning(pool_factor=2.0),
    "pool 3": Pruning(pool_factor=3.0),
    "pool 4": Pruning(pool_factor=4.0),
    "keep 0.75": Pruning(keep=0.75),
    "keep 0.5": Pruning(keep=0.5),
    "keep 0.33": Pruning(keep=0.33),
    "keep 0.25": Pruning(keep=0.25),
}
"""Prunings to try with each kind of codes, besides dropping frequent tokens."""

_CONFIDENCE = 1.645
"""Standard errors below the mean that a normal variable exceeds with 95 % probability."""

DROP_FREQUENT = 100
"""How many of the most frequent tokens are dropped: Acquavia et al. 2023 settle on 100."""

_PASSAGE = 1300
"""Approximate number of characters in a window of 300 tokens."""


@dataclass(frozen=True)
class Measurement:
    """One setting and its results.

    Attributes:
        codes: How components are stored.
        label: Name of the pruning.
        pruning: The pruning.
        bytes_per_document: Mean size of codes, scales and lengths per document.
        tokens_per_document: Mean number of token vectors stored per document.
        metrics: "nDCG@10", "Recall@100" and "MRR@10".
        overlap: Share of the top 10 of unpruned float32 search that is also in this top 10.
        quality: Share of the quality of unpruned float32 vectors that is kept with 95 %
            confidence: the lower of the ratios for nDCG@10 and Recall@100, capped at 1, minus
            1.645 standard errors of the per-query differences in nDCG@10. The cap is there because
            a gain on a sample is as likely to be luck as a loss, and must not hide one.
    """

    codes: Codes
    label: str
    pruning: Pruning
    bytes_per_document: float
    tokens_per_document: float
    metrics: Mapping[str, float]
    overlap: float
    quality: float


@dataclass(frozen=True)
class Tuning:
    """The outcome of `tune`.

    Attributes:
        measured: All settings, smallest first.
        baseline: Metrics of unpruned float32 vectors.
        documents: Number of documents in the sample.
        queries: Number of queries in the sample.
    """

    measured: Sequence[Measurement]
    baseline: Mapping[str, float]
    documents: int
    queries: int

    def recommend(
        self, *, min_quality: float | None = None, max_bytes_per_document: float | None = None
    ) -> Measurement:
        """Choose a setting within a budget.

        Args:
            min_quality: Choose the smallest setting that keeps at least this share of the quality.
            max_bytes_per_document: Choose the best setting that is no larger than this.

        Raises:
            InvalidInputError: Neither or both are given, or no setting is within the budget; the
                message names the closest one.
        """
        if (min_quality is None) == (max_bytes_per_document is None):
            raise InvalidInputError(
                "exactly one of min_quality and max_bytes_per_document must be given, got "
                f"{min_quality!r} and {max_bytes_per_document!r}."
            )
        if min_quality is not None:
            good = [item for item in self.measured if item.quality >= min_quality]
            if good:
                return min(good, key=lambda item: item.bytes_per_document)
            best = max(self.measured, key=lambda item: item.quality)
            raise InvalidInputError(
                f"no setting keeps {min_quality:.1%} of the quality; the best, {best.codes} with "
                f"{best.label}, keeps {best.quality:.1%}."
            )
        assert max_bytes_per_document is not None  # the check above leaves nothing else
        small = [m for m in self.measured if m.bytes_per_document <= max_bytes_per_document]
        if small:
            return max(small, key=lambda item: item.quality)
        least = min(self.measured, key=lambda item: item.bytes_per_document)
        raise InvalidInputError(
            f"no setting fits in {max_bytes_per_document:.0f} bytes per document; the smallest, "
            f"{least.codes} with {least.label}, takes {least.bytes_per_document:.0f}."
        )

    def frontier(self) -> list[Measurement]:
        """Return the settings that no other setting beats in size and quality, smallest first."""
        best: list[Measurement] = []
        for item in sorted(self.measured, key=lambda m: (m.bytes_per_document, -m.quality)):
            if not best or item.quality > best[-1].quality:
                best.append(item)
        return best


def tune(
    encoder: Encoder,
    data: BeirFolder,
    *,
    max_documents: int = 2000,
    max_queries: int = 200,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuning:
    """Measure every combination of codes and pruning on a sample of a judged collection.

    Args:
        encoder: The model.
        data: The collection.
        max_documents: Size of the sample: all documents that are relevant to its queries, and
            others spread evenly over the collection. A document longer than a window counts as
            roughly the number of windows it fills, so that the sample stays small.
        max_queries: Number of queries in the sample, spread evenly.
        progress: Called with the number of settings measured so far and the total.

    Returns:
        The measurements.

    Raises:
        OptionalDependencyError: The evaluator (extra "eval") is not installed.
        InvalidInputError: max_documents or max_queries is below 1.
    """
    require_evaluator("tune")
    sample = _sample(data, max_documents, max_queries)
    texts = [document.text or "" for document in sample.documents]
    titles = [document.title for document in sample.documents]
    documents = encoder.encode_passages(texts, titles=titles)
    queries = encoder.encode_query(list(sample.queries.values()))
    token_ids = encoder.document_token_ids(texts, titles=titles, splitting=Splitting())
    judge = Judge(sample, queries, documents)
    prunings = dict(PRUNINGS)
    frequent = Pruning(skiplist_ids=most_frequent(token_ids, DROP_FREQUENT))
    prunings["drop frequent"] = frequent
    prunings["drop frequent, pool 2"] = replace(frequent, pool_factor=2.0)
    if encoder.config.pool_factor > 1:  # the model pools, so token ids no longer match vectors
        prunings = {k: v for k, v in prunings.items() if not v.skiplist_ids}
    measured: list[Measurement] = []
    total = len(prunings) * len(CODES)
    for label, pruning in prunings.items():
        kept = [
            prune_passages(passages, pruning, ids)
            for passages, ids in zip(documents, token_ids, strict=True)
        ]
        for codes in CODES:
            measured.append(judge.measure(codes, label, pruning, kept, encoder.threads))
            progress(len(measured), total)
    measured.sort(key=lambda item: item.bytes_per_document)
    return Tuning(measured, judge.baseline, len(texts), len(queries))


def prune_passages(
    passages: Sequence[Passage], pruning: Pruning, token_ids: NDArray[np.int64]
) -> list[Passage]:
    """Prune a document's passages as `Encoder.encode_passages` does.

    Args:
        passages: The passages, unpruned.
        pruning: What to do.
        token_ids: (num_tokens,) int64, of all passages one after the other.

    Returns:
        The passages with the token vectors that are kept.
    """
    ends = np.cumsum([len(passage.embedding) for passage in passages])
    return [
        replace(passage, embedding=apply_pruning(passage.embedding, ids, pruning))
        for passage, ids in zip(passages, np.split(token_ids, ends[:-1]), strict=True)
    ]


class Judge:
    """Searches a sample under any setting and compares with unpruned float32 vectors."""

    def __init__(
        self,
        sample: BeirFolder,
        queries: Sequence[NDArray[np.float32]],
        documents: Sequence[Sequence[Passage]],
    ) -> None:
        """Search the unpruned vectors exactly, as the baseline.

        Args:
            sample: Documents, queries and judgements.
            queries: One (query_tokens, dim) float32 array per query.
            documents: The passages of each document, at least one each.
        """
        self._sample = sample
        self._queries = queries
        self._ids = [document.document_id for document in sample.documents]
        embeddings = [passage.embedding for passages in documents for passage in passages]
        offsets = np.cumsum([0, *map(len, embeddings)])
        tokens = np.concatenate(embeddings)
        firsts = np.cumsum([0, *map(len, documents)])[:-1]
        run, self._first = {}, []
        for query_id, query in zip(sample.queries, queries, strict=True):
            scores = np.maximum.reduceat(maxsim_ragged(query, tokens, offsets), firsts)
            best = top_k(scores, DEPTH)
            run[query_id] = {self._ids[n]: float(scores[n]) for n in best}
            self._first.append({self._ids[n] for n in best[:10]})
        self.baseline: dict[str, float] = compute_metrics(sample.qrels, run)
        self._ndcg = np.array(ndcg_per_query(sample.qrels, run))

    def measure(
        self,
        codes: Codes,
        label: str,
        pruning: Pruning,
        kept: Sequence[Sequence[Passage]],
        threads: int,
    ) -> Measurement:
        """Store pruned documents as codes, search them exactly, and compare with the baseline."""
        dim = self._queries[0].shape[1]
        config = IndexConfig(dim=dim, codes=codes, inverted_file="never")
        with Index(dim, config=config, threads=threads) as index:
            index.add(self._ids, kept)
            hits = index.search(self._queries, DEPTH, parameters=SearchParameters(mode="exact"))
            info = index.info()
        run = to_run(self._sample.queries, hits)
        metrics = compute_metrics(self._sample.qrels, run)
        same = [
            len({hit.document_id for hit in query_hits[:10]} & first) / max(len(first), 1)
            for query_hits, first in zip(hits, self._first, strict=True)
        ]
        differences = np.array(ndcg_per_query(self._sample.qrels, run)) - self._ndcg
        error = float(differences.std() / np.sqrt(len(differences)))
        shares = [
            metrics[name] / self.baseline[name]
            for name in ("nDCG@10", "Recall@100")
            if self.baseline[name]
        ]
        quality = min(1.0, *shares) if shares else 1.0
        quality -= _CONFIDENCE * error / max(self.baseline["nDCG@10"], 1e-9)
        return Measurement(
            codes,
            label,
            pruning,
            sum(info.bytes.values()) / max(info.documents, 1),
            info.tokens / max(info.documents, 1),
            metrics,
            float(np.mean(same)),
            quality,
        )


def _sample(data: BeirFolder, max_documents: int, max_queries: int) -> BeirFolder:
    """Sample a collection, with every document that is relevant to a sampled query."""
    for name, value in (("max_documents", max_documents), ("max_queries", max_queries)):
        check_whole_number(name, value)
    names = list(data.queries)
    chosen = [names[n] for n in _evenly(len(names), max_queries)]
    relevant = {i for name in chosen for i, grade in data.qrels[name].items() if grade > 0}
    sizes = np.array([_size(item) for item in data.documents])
    needed = np.array([item.document_id in relevant for item in data.documents])
    others = np.flatnonzero(~needed)
    room = max(max_documents - sizes[needed].sum(), 0)
    wanted = int(room / sizes[others].mean()) if len(others) else 0
    rest = {int(others[n]) for n in _evenly(len(others), wanted)}
    documents = [
        item for n, item in enumerate(data.documents) if item.document_id in relevant or n in rest
    ]
    return BeirFolder(
        documents,
        {name: data.queries[name] for name in chosen},
        {name: data.qrels[name] for name in chosen},
        data.split,
    )


def _size(document: Document) -> float:
    """Return roughly how many windows a document fills, at least 1."""
    return max(len(document.text or "") / _PASSAGE, 1.0)


def _evenly(count: int, wanted: int) -> list[int]:
    if wanted >= count:
        return list(range(count))
    return [int(n) for n in np.linspace(0, count - 1, wanted)] if wanted else []
