"""Quality and speed of a model on a retrieval set, through the same path users take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pocket_colbert.config import DEFAULT_CODES, Codes, IndexConfig, Pruning, SearchParameters
from pocket_colbert.errors import OptionalDependencyError
from pocket_colbert.evaluation.beir import BeirFolder
from pocket_colbert.index.index import Index
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever
from pocket_colbert.types import Hit

DEPTH = 100


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Attributes:
        metrics: "nDCG@10", "Recall@100" and "MRR@10" by a standard evaluator, means over the
            judged queries.
        documents: Documents indexed.
        queries: Queries judged.
        documents_per_second: Documents encoded and added a second.
        tokens_per_document: Token vectors kept of a document, mean.
        bytes_per_document: Stored vectors and offsets of a document, without text, mean.
        query_ms_p50: Median milliseconds from query text to hits, one query at a time.
        query_ms_p95: The 95 % quantile of the same.
        threads: Threads used.
        mode: How was searched.
        truncated_documents: Documents longer than the window.
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
    """Index a retrieval set, search it with all its queries, and judge the answers.

    Args:
        encoder: The model.
        data: The set.
        pruning: Which token vectors of a document are stored; all by default.
        codes: How they are stored; see `IndexConfig`.
        parameters: How to search; exact by default.
        progress: Told "documents" or "queries", how many are done, and how many there are.

    Returns:
        The figures.

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
    metrics = judge(data.qrels, to_run(data.queries, hits))
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


def judge(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Return "nDCG@10", "Recall@100" and "MRR@10" of a run, means over the judged queries."""
    import ir_measures

    wanted = {
        "nDCG@10": ir_measures.nDCG @ 10,
        "Recall@100": ir_measures.R @ 100,
        "MRR@10": ir_measures.RR @ 10,
    }
    found = ir_measures.calc_aggregate(list(wanted.values()), qrels, run)
    return {name: float(found[measure]) for name, measure in wanted.items()}


def ndcg_of_queries(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> list[float]:
    """Return nDCG@10 of every judged query, in the order of the judgements."""
    import ir_measures

    found = {
        item.query_id: float(item.value)
        for item in ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run)
    }
    return [found.get(query_id, 0.0) for query_id in qrels]


def require_evaluator(what: str) -> None:
    """Raise OptionalDependencyError unless the evaluator (extra "eval") is installed."""
    try:
        import ir_measures  # noqa: F401
    except ImportError as error:
        raise OptionalDependencyError.of(what, "eval") from error


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
