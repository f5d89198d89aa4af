"""Ranking metrics of a search run, by a standard evaluator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pocket_colbert.errors import OptionalDependencyError
from pocket_colbert.types import Hit


def compute_metrics(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    """Return a run's "nDCG@10", "Recall@100" and "MRR@10", averaged over the judged queries."""
    import ir_measures

    measures = {
        "nDCG@10": ir_measures.nDCG @ 10,
        "Recall@100": ir_measures.R @ 100,
        "MRR@10": ir_measures.RR @ 10,
    }
    values = ir_measures.calc_aggregate(list(measures.values()), qrels, run)
    return {name: float(values[measure]) for name, measure in measures.items()}


def ndcg_per_query(
    qrels: Mapping[str, Mapping[str, int]], run: Mapping[str, Mapping[str, float]]
) -> list[float]:
    """Return nDCG@10 of each judged query, in the order of `qrels`."""
    import ir_measures

    values = {
        item.query_id: float(item.value)
        for item in ir_measures.iter_calc([ir_measures.nDCG @ 10], qrels, run)
    }
    return [values.get(query_id, 0.0) for query_id in qrels]


def require_evaluator(what: str) -> None:
    """Raise OptionalDependencyError unless the evaluator (extra "eval") is installed.

    Args:
        what: The feature that needs it, for the message.
    """
    try:
        import ir_measures  # noqa: F401
    except ImportError as error:
        raise OptionalDependencyError.of(what, "eval") from error


def to_run(
    query_ids: Iterable[str], hits: Iterable[Sequence[Hit]]
) -> Mapping[str, Mapping[str, float]]:
    """Turn hits into a BEIR run, `{query_id: {document_id: score}}`.

    Examples:
        >>> from pocket_colbert import Hit, to_run
        >>> to_run(["q1"], [[Hit("d1", 31.5), Hit("d2", 30.25)]])
        {'q1': {'d1': 31.5, 'd2': 30.25}}

    Args:
        query_ids: One id per query, in the order in which the queries were searched.
        hits: One list of hits per query.

    Returns:
        The run, in the form that standard evaluators read.
    """
    return {
        query_id: {hit.document_id: hit.score for hit in query_hits}
        for query_id, query_hits in zip(query_ids, hits, strict=True)
    }
