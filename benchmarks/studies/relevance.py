"""What `relevance` is worth: is it right as often as it says, and does it know what has no answer?

    python -m benchmarks.studies.relevance DATA/squad-dev DATA/cranfield DATA/scifact \
        --pages PAGES --json benchmarks/results/relevance.json

A folder is a judged set in BEIR form. --pages is the folder that
`benchmarks.harness.documentation_pages` makes, for the questions in benchmarks/questions. None of
these sets was used to fit the curves.

"Calibration error" is the expected one over ten bins: how far the share of right hits is from the
relevance they are shown with. "AUROC" tells the relevance of the first hit of a question from that
of the first hit of the same question once all documents that answer it are left out ("removed"),
and from that of questions of the other sets ("other set"); "plain" is that of MaxSim per token of
the query.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.results import ROOT, Run
from benchmarks.harness.tables import markdown
from pocket_colbert import Document, Encoder, Hit, Index, IndexConfig, Retriever
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.ingest.readers import read_documents

DEPTH = 10
BINS = 10
QUESTIONS = ROOT / "benchmarks" / "questions" / "documentation.jsonl"


@dataclass(frozen=True)
class JudgedSet:
    """Documents, and questions with the ids of the documents that answer them."""

    name: str
    documents: Sequence[Document]
    questions: Sequence[tuple[str, frozenset[str]]]


def read_set(folder: Path, number: int) -> JudgedSet:
    """Read a set in BEIR form, with so many of its questions at most, evenly spread."""
    data = read_beir(folder)
    questions = []
    for query_id, text in data.queries.items():
        right = frozenset(name for name, grade in data.qrels[query_id].items() if grade > 0)
        if right:
            questions.append((text, right))
    return JudgedSet(folder.name, data.documents, some(questions, number))


def read_pages(folder: Path, number: int) -> JudgedSet:
    """Read pages of documentation, and the questions about them."""
    documents = list(read_documents([folder]))
    ids = {document.document_id for document in documents}
    rows = [json.loads(line) for line in QUESTIONS.read_text("utf-8").splitlines()]
    questions = [
        (row["question"], frozenset([row["document"]])) for row in rows if row["document"] in ids
    ]
    return JudgedSet("documentation", documents, some(questions, number))


def some(items: Sequence[Any], number: int) -> list[Any]:
    """Return so many items at most, evenly spread."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(number, len(items))).astype(int))
    return [items[n] for n in chosen]


def opened(judged: JudgedSet, encoder: Encoder, folder: Path | None) -> Index:
    """Return an index of the set, the one that is in a folder already if there is one."""
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    path = None if folder is None else folder / f"{judged.name}.index"
    if path is not None and path.exists():
        return Index.load(path)
    index = Index(encoder.dim, config=config) if path is None else Index.create(path, config)
    Retriever(encoder, index).add(judged.documents)
    index.commit()
    return index


def measure(
    judged: JudgedSet, others: Sequence[str], encoder: Encoder, index: Index
) -> dict[str, Any]:
    """Ask a set's own questions, the same without their documents, and those of other sets."""
    retriever = Retriever(encoder, index)
    ids = [document.document_id for document in index]
    known, removed, strange = [], [], []
    relevances: list[list[float]] = []
    right: list[list[bool]] = []
    for text, answering in judged.questions:
        query = encoder.query(text)
        (hits,) = retriever.retrieve([query], DEPTH)
        tokens = len(query.embedding)
        known.append(first(hits, tokens))
        rest = [name for name in ids if name not in answering]
        removed.append(first(retriever.retrieve([query], DEPTH, subset=rest)[0], tokens))
        relevances.append([hit.relevance or 0.0 for hit in hits])
        right.append([hit.document_id in answering for hit in hits])
    for text in others:
        query = encoder.query(text)
        strange.append(first(retriever.retrieve([query], DEPTH)[0], len(query.embedding)))
    first_ones = [np.array([row[0] for row in rows]) for rows in (relevances, right)]
    all_of_them = [np.array([item for row in rows for item in row]) for rows in (relevances, right)]
    return {
        "questions": len(judged.questions),
        "documents": len(ids),
        "first right": float(first_ones[1].mean()),
        "calibration error, first hits": calibration_error(*first_ones),
        f"calibration error, first {DEPTH}": calibration_error(*all_of_them),
        "first hits": reliability(*first_ones),
        f"first {DEPTH}": reliability(*all_of_them),
        **{
            f"AUROC {kind}{name}": auroc(known, against, column)
            for kind, against in (("removed", removed), ("other set", strange))
            for column, name in enumerate(("", ", plain"))
        },
    }


def first(hits: Sequence[Hit], tokens: int) -> tuple[float, float]:
    """Return the relevance of the first hit and its MaxSim per token, 0 without hits."""
    return (hits[0].relevance or 0.0, hits[0].score / tokens) if hits else (0.0, 0.0)


def auroc(
    known: Sequence[tuple[float, float]], unknown: Sequence[tuple[float, float]], column: int
) -> float | None:
    """Return how often what is known has the larger of two values, ties counting half."""
    if not unknown:
        return None
    a = np.array([row[column] for row in known])[:, None]
    b = np.array([row[column] for row in unknown])[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def reliability(
    relevances: NDArray[np.float64], right: NDArray[np.bool_]
) -> list[tuple[int, float, float]]:
    """Return of each bin how many hits it has, their mean relevance, and the right share."""
    bins = np.minimum((relevances * BINS).astype(int), BINS - 1)
    rows = []
    for number in range(BINS):
        inside = bins == number
        count = int(inside.sum())
        rows.append((
            count,
            float(relevances[inside].mean()) if count else 0.0,
            float(right[inside].mean()) if count else 0.0,
        ))  # fmt: skip
    return rows


def calibration_error(relevances: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Return the expected calibration error."""
    rows = reliability(relevances, right)
    return sum(count * abs(mean - share) for count, mean, share in rows) / max(len(right), 1)


def table(results: Mapping[str, Any]) -> str:
    """Return the measures of each set, and the reliability over all of them."""
    sets = results["sets"]
    numbers = [
        key for key in next(iter(sets.values())) if key not in ("first hits", f"first {DEPTH}")
    ]
    lines = [[name, *(_shown(values[name]) for values in sets.values())] for name in numbers]
    bins = []
    for number in range(BINS):
        cells = [f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}"]
        for values in sets.values():
            for key in ("first hits", f"first {DEPTH}"):
                count, _, share = values[key][number]
                cells.append(f"{share:.2f} of {count}" if count else "")
        bins.append(cells)
    heads = [f"{name}, {key}" for name in sets for key in ("first hits", f"first {DEPTH}")]
    return (
        markdown(["", *sets], lines) + "\n\n" + markdown(["right, of hits shown at", *heads], bins)
    )


def _shown(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--pages", type=Path, help="folder of documentation pages")
    parser.add_argument("--questions", type=int, default=300, help="of each set at most")
    parser.add_argument("--indexes", type=Path, help="folder to keep indexes in, and to use them")
    parser.add_argument("--model", default="small")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not options.folders and options.pages is None:
        parser.error("give a judged set, or --pages.")
    run = Run.begin("relevance", options)
    encoder = Encoder.load(options.model, threads=options.threads)
    sets = [read_set(folder, options.questions) for folder in options.folders]
    if options.pages is not None:
        sets.append(read_pages(options.pages, options.questions))
    results: dict[str, Any] = {}
    for judged in sets:
        others = [text for other in sets if other is not judged for text, _ in other.questions]
        with opened(judged, encoder, options.indexes) as index:
            results[judged.name] = measure(judged, some(others, options.questions), encoder, index)
    run.save(options.json, {"sets": results})
    print(table({"sets": results}))


if __name__ == "__main__":
    main()
