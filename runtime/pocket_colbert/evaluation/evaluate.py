"""Measure the quality and speed of a model on a retrieval set, as users would search it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pocket_colbert.config import DEFAULT_CODES, Codes, IndexConfig, Pruning, SearchParameters
from pocket_colbert.evaluation.beir import BeirFolder
from pocket_colbert.evaluation.metrics import compute_metrics, require_evaluator, to_run
from pocket_colbert.index.index import Index
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever
from pocket_colbert.types import Hit

DEPTH = 100
"""Hits per query, enough for Recall@100."""


@dataclass(frozen=True)
class Evaluation:
    """The results of `evaluate`.

    Attributes:
        metrics: "nDCG@10", "Recall@100" and "MRR@10" by a standard evaluator, averaged over the
            judged queries.
        documents: Documents indexed.
        queries: Queries judged.
        documents_per_second: Documents encoded and added per second.
        tokens_per_document: Mean number of token vectors kept per document.
        bytes_per_document: Mean size of the vectors and offsets stored per document, without text.
        query_ms_p50: Median milliseconds from query text to hits, one query at a time.
        query_ms_p95: 95th percentile of the same.
        threads: Number of threads.
        mode: Search mode.
        truncated_documents: Number of documents longer than the window.
    """

    metrics: Mapping[str, float]
    documents: int
    queries: int
    documents_per_second: float
    tokens_per_document: float
    bytes_per_document: float
    query_ms_p50: float
    query_ms_p95: float
    threads: int
    mode: str
    truncated_documents: int


def evaluate(
    encoder: Encoder,
    data: BeirFolder,
    *,
    pruning: Pruning | None = None,
    codes: Codes = DEFAULT_CODES,
    parameters: SearchParameters | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Evaluation:
    """Index a retrieval set, run all its queries, and score the results.

    Args:
        encoder: The model.
        data: The retrieval set.
        pruning: Which token vectors of a document to store; all by default.
        codes: How to store them; see `IndexConfig`.
        parameters: How to search; exact by default.
        progress: Called with "documents" or "queries", the number done so far, and the total.

    Returns:
        The results.

    Raises:
        OptionalDependencyError: The evaluator (extra "eval") is not installed.
    """
    require_evaluator("evaluate")
    index = Index(
        encoder.dim,
        config=IndexConfig(
            dim=encoder.dim, codes=codes, pruning=pruning or Pruning(), inverted_file="never"
        ),
        threads=encoder.threads,
    )
    truncated = encoder.truncated
    started = time.perf_counter()
    retriever = Retriever(encoder, index)
    retriever.add(data.documents, progress=lambda done, total: progress("documents", done, total))
    index.commit()
    seconds = time.perf_counter() - started
    truncated = encoder.truncated - truncated
    hits: list[list[Hit]] = []
    times: list[float] = []
    for number, text in enumerate(data.queries.values(), start=1):
        started = time.perf_counter()
        hits += retriever.retrieve([text], DEPTH, parameters=parameters)
        times.append(1000 * (time.perf_counter() - started))
        progress("queries", number, len(data.queries))
    metrics = compute_metrics(data.qrels, to_run(data.queries, hits))
    info = index.info()
    index.close()
    return Evaluation(
        metrics=metrics,
        documents=info.documents,
        queries=len(data.queries),
        documents_per_second=info.documents / seconds,
        tokens_per_document=info.tokens / info.documents,
        bytes_per_document=sum(info.bytes.values()) / info.documents,
        query_ms_p50=float(np.quantile(times, 0.5)),
        query_ms_p95=float(np.quantile(times, 0.95)),
        threads=encoder.threads,
        mode="exact" if parameters is None else parameters.mode,
        truncated_documents=truncated,
    )
