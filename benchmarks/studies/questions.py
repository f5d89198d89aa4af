"""Questions over a folder of files, stage by stage: document, passage, snippet, relevance.

    python -m benchmarks.studies.questions FOLDER QUESTIONS.jsonl --json \
        benchmarks/results/questions.json

A line of a questions file has `question`, `document` (its path below the folder) and `answers`,
parts of the document word for word, any of which will do. White space does not matter.

"relevance AUROC" tells a question's first hit from the first hit it has once its document is
removed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import markdown
from pocket_colbert import (
    Encoder,
    Hit,
    Index,
    IndexConfig,
    Pruning,
    Retriever,
    SearchParameters,
)
from pocket_colbert.config import CODES, DEFAULT_CODES
from pocket_colbert.ingest.readers import read_documents

FIRST = 5
LENGTHS = (300, 160)
DEPTHS = (5, 10, 30)


def folded(text: str) -> str:
    """Return a text with single spaces for all white space."""
    return " ".join(text.split())


def shows(question: Mapping[str, Any], hit: Hit, start: int, end: int) -> bool:
    """Say whether a part of a hit's text holds an answer."""
    part = folded((hit.text or "")[start:end])
    return hit.document_id == question["document"] and any(
        folded(answer) in part for answer in question["answers"]
    )


def measure(retriever: Retriever, questions: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Measure every stage, as shares of the questions."""
    rows: list[dict[str, bool]] = []
    known, unknown = [], []
    for question in questions:
        query = retriever.encoder.query(question["question"])
        parameters = SearchParameters(passages=max(DEPTHS))
        wide = retriever.retrieve([query], max(DEPTHS), parameters=parameters, min_relevance=0)[0]
        hits = wide[:FIRST]
        right = [hit.document_id == question["document"] for hit in hits]
        best = [shows(question, hit, hit.passages[0].start, hit.passages[0].end) for hit in hits]
        row = {
            "document first": right[0],
            "document in five": any(right),
            "best passage of the first": best[0],
            "best passage of five": any(best),
        }
        passages = [(part.score, hit, part) for hit in wide for part in hit.passages]
        passages.sort(key=lambda item: -item[0])
        for depth in DEPTHS:
            row[f"among {depth} passages"] = any(
                shows(question, hit, part.start, part.end) for _, hit, part in passages[:depth]
            )
        for length in LENGTHS:
            spans = retriever.snippets(query, hits, length)
            row[f"snippet of {length} among five"] = any(
                shows(question, hit, *span) for hit, span in zip(hits, spans, strict=True)
            )
        rows.append(row)
        others = [hit for hit in wide if hit.document_id != question["document"]]
        known.append(hits[0].relevance or 0.0)
        unknown.append((others or hits)[0].relevance or 0.0)
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return means | {"relevance AUROC": auroc(known, unknown)}


def auroc(known: Sequence[float], unknown: Sequence[float]) -> float:
    """Return how often what is known has the larger of two scores, ties counting half."""
    a, b = np.array(known)[:, None], np.array(unknown)[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def table(results: Mapping[str, Any]) -> str:
    """Return the shares as a table."""
    rows = [[name, f"{value:.3f}"] for name, value in results["shares"].items()]
    rows += [[name, f"{results[name]:,}"] for name in ("questions", "documents", "vectors")]
    return markdown(["", "share or number"], rows)


def main() -> None:
    """Index the folder, ask the questions and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path, nargs="+")
    parser.add_argument("--model", default="small")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--codes", choices=CODES, default=DEFAULT_CODES)
    parser.add_argument("--pool-factor", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("questions", options)
    encoder = Encoder.load(options.model, threads=options.threads)
    documents = list(read_documents([options.folder]))
    ids = {document.document_id for document in documents}
    lines = [line for path in options.questions for line in path.read_text("utf-8").splitlines()]
    questions = [json.loads(line) for line in lines if line.strip()]
    asked = [question for question in questions if question["document"] in ids]
    if not asked:
        parser.error("no question is about a document of the folder.")
    config = IndexConfig(
        dim=encoder.dim,
        model=encoder.card.fingerprint,
        codes=options.codes,
        pruning=Pruning(pool_factor=options.pool_factor),
    )
    retriever = Retriever(encoder, Index(encoder.dim, config=config))
    vectors = retriever.add(documents)
    results = {
        "shares": measure(retriever, asked),
        "questions": len(asked),
        "documents": len(documents),
        "vectors": vectors,
    }
    run.save(options.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
