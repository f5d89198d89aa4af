"""Fitting how likely hits are right to a model, on queries whose passages are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import RelevanceCurve
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import RECIPE_FILE, RELEVANCE_FILE, ModelFiles, load_model_files
from pocket_colbert.model.recipe import OWN_SECTION
from pocket_colbert.search.relevance import (
    NEIGHBOURS,
    Evidence,
    WeighedQuery,
    asked_words,
    neighbours,
    weigh,
)
from pocket_colbert.types import Document, EncodedDocument, Hit, Passage, Query
from pocket_colbert.vectors.pruning import first_components
from pocket_colbert_export.errors import CalibrationError
from pocket_colbert_export.folder.write_folder import add_file
from pocket_colbert_export.proof.probe_texts import probe_pairs
from pocket_colbert_export.text_files import read_objects

_DEPTH = 10
"""Hits of a query that the curve is fitted to."""

_LEAST_PAIRS = 50
_LEAST_AUROC = 0.65
"""A model that tells right hits from wrong ones less well gets no curve."""

_RIDGE = 3.0
"""Penalty on squared weights of measures in standard deviations."""


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Read queries and the passages that answer them.

    Args:
        path: A `.jsonl` file whose objects have `query` and `passage`; it may be gzipped.

    Raises:
        CalibrationError: The file is missing or not of that form.
    """
    pairs = []
    for where, row in read_objects(path, CalibrationError):
        texts = (row.get("query"), row.get("passage"))
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise CalibrationError(
                f"{where}: expected 'query' and 'passage' with text, got {sorted(row)}."
            )
        pairs.append((str(texts[0]), str(texts[1])))
    return pairs


def fit_relevance(
    files: ModelFiles, pairs: Sequence[tuple[str, str]] | None = None
) -> dict[int, RelevanceCurve]:
    """Fit a curve for each width that a model's vectors may have.

    Each query is asked twice of all passages: as it is, and with its own passages left out, so that
    nothing answers it. The curve is fitted to the first hits of both.

    Args:
        files: The model.
        pairs: Queries and passages that answer them; by default those that ship with the exporter.

    Returns:
        The curves by width, without those at which the model does not tell right hits from
        wrong ones.

    Raises:
        CalibrationError: There are fewer than 50 different passages.
    """
    pairs = list(probe_pairs() if pairs is None else pairs)
    passages = list(dict.fromkeys(passage for _, passage in pairs))
    if len(passages) < _LEAST_PAIRS:
        raise CalibrationError(
            f"relevance needs at least {_LEAST_PAIRS} different passages to fit a curve on, got "
            f"{len(passages)}."
        )
    encoder = Encoder.load(files)
    encoded = encoder.encode_passages(passages)
    right: dict[str, set[str]] = {}
    for query, passage in pairs:
        right.setdefault(query, set()).add(str(passages.index(passage)))
    queries = encoder.queries(list(right))
    curves = {}
    for width in (files.config.embedding_dim, *files.config.matryoshka_dims):
        documents = [
            EncodedDocument(
                Document(str(n), text),
                [Passage(p.start, p.end, first_components(p.embedding, width)) for p in parts],
            )
            for n, (text, parts) in enumerate(zip(passages, encoded, strict=True))
        ]
        with Index(width) as index:
            index.add_documents(documents)
            index.commit()
            curve = _fitted([
                row for query in queries
                for row in _rows(index, _cut(query, width), right[query.text])
            ])  # fmt: skip
        if curve is not None:
            curves[width] = curve
    return curves


def add_relevance(model: str | Path, pairs: Path | None = None) -> ModelFiles:
    """Fit the relevance of a model folder, and write it into the folder.

    Nothing else of the model changes, so indexes made with it stay as they are.

    Args:
        model: A folder of this package's exporter.
        pairs: See `read_pairs`; by default those that ship with the exporter.

    Returns:
        The folder, checked as a user's load checks it.

    Raises:
        CalibrationError: The pairs are unusable, or the model does not tell right hits from wrong.
        InvalidInputError: Another exporter made the folder.
        OutputError: The disk refuses.
    """
    files = load_model_files(model)
    recipe = json.loads((files.folder / RECIPE_FILE).read_text(encoding="utf-8"))
    if OWN_SECTION not in recipe:
        raise InvalidInputError(
            f"{files.folder} was made by another exporter and lists no files; export the "
            "checkpoint with pocket-colbert-export instead."
        )
    curves = fit_relevance(files, None if pairs is None else read_pairs(pairs))
    if not curves:
        raise CalibrationError(
            f"{files.folder} does not tell right hits from wrong ones well enough for a curve; "
            "nothing was written. Fit it on other pairs (--pairs)."
        )
    add_file(files.folder, RELEVANCE_FILE, {
        "curves": {str(width): curve.to_json() for width, curve in curves.items()},
        "fitted_on": "pairs of the exporter" if pairs is None else pairs.name,
    })  # fmt: skip
    return load_model_files(files.folder)


def _cut(query: Query, width: int) -> Query:
    """Return a query with the first components of its token vectors only."""
    return Query(
        query.text, first_components(query.embedding, width), query.tokens, weights=query.weights
    )


def _rows(index: Index, query: Query, right: set[str]) -> list[tuple[float, ...]]:
    """Measure the first hits of a query, with its own passages and without.

    Returns:
        For each hit similarity, score, lead, the lead without words, whether it is right, and
        whether it is the first of its list.
    """
    weighed = weigh(query, *index.word_counts(asked_words(query)))
    if weighed is None or not weighed.says:
        return []
    (hits,) = index.search([query.embedding], max(_DEPTH, NEIGHBOURS + 1) + len(right))
    others = [hit for hit in hits if hit.document_id not in right]
    rows = []
    for among in (hits, others):
        scores = [hit.passages[0].score for hit in among[: NEIGHBOURS + 1]]
        for n, hit in enumerate(among[:_DEPTH]):
            measured = _measured(weighed, hit, neighbours(scores, n))
            rows.append((*measured, float(hit.document_id in right), float(n == 0)))
    return rows


def _measured(weighed: WeighedQuery, hit: Hit, others: Sequence[float]) -> tuple[float, ...]:
    first = hit.passages[0]
    text = (hit.text or "")[first.start : first.end]
    return tuple(weighed.measures(Evidence(text, first.similarities, first.score), others))


def _fitted(rows: Sequence[tuple[float, ...]]) -> RelevanceCurve | None:
    """Fit a curve to what `_rows` measured, None where it would say nothing."""
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    measures, leads, right, first = table[:, :3], table[:, 3], table[:, 4], table[:, 5] > 0
    if not 0 < right[first].sum() < first.sum():
        return None
    similarity, score, lead, offset = _logistic(measures, right).tolist()
    values = measures @ np.array([similarity, score, lead])
    if auroc(values[first], right[first] > 0) < _LEAST_AUROC:
        return None
    usual = float(np.median(leads[first]))
    return RelevanceCurve(
        similarity=round(similarity, 4),
        score=round(score, 4),
        lead=round(lead, 4),
        usual_lead=round(usual, 6),
        offset=round(offset, 4),
    )


def auroc(values: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return how often a right item has the larger value than a wrong one, ties counting half."""
    good, bad = values[right][:, None], values[~right][None]
    return float(((good > bad) + 0.5 * (good == bad)).mean())


def _logistic(measures: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a logistic curve whose weights are not negative.

    Args:
        measures: (n, m) float64.
        right: (n,) float64, 1 where it is right.

    Returns:
        (m + 1,) float64: the weights, and the offset.
    """
    mean, spread = measures.mean(axis=0), measures.std(axis=0) + 1e-9
    scaled = np.column_stack([(measures - mean) / spread, np.ones(len(measures))])
    penalty = np.append(np.full(measures.shape[1], _RIDGE), 1e-6)
    used = list(range(measures.shape[1]))
    weights = np.zeros(scaled.shape[1])
    while True:
        columns = [*used, measures.shape[1]]
        weights[:] = 0
        weights[columns] = _newton(scaled[:, columns], right, penalty[columns])
        if (weights[used] >= 0).all():
            break
        used.remove(min(used, key=lambda n: weights[n]))
    weights[:-1] /= spread
    weights[-1] -= float(weights[:-1] @ mean)
    return weights


def _newton(
    columns: NDArray[np.float64], right: NDArray[np.float64], penalty: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise the logistic loss with a penalty on squared weights."""
    weights = np.zeros(columns.shape[1])
    for _ in range(50):
        likely = 1 / (1 + np.exp(-np.clip(columns @ weights, -50, 50)))
        gradient = columns.T @ (likely - right) + penalty * weights
        curvature = (columns * (likely * (1 - likely))[:, None]).T @ columns + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-9:
            break
    return weights
