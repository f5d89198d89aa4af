"""What codes and pruning cost: nDCG@10, Recall@100 and the first 10, against bytes.

    python -m benchmarks.studies.frontier VECTORS/scifact VECTORS/cranfield ... [--json FILE]

Every combination on all documents and up to 200 queries of each set, against exact float32 MaxSim
over unpruned vectors. Bytes are those of the stored vectors as a share of unpruned float16.
VECTORS come from `benchmarks.harness.vectors`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import markdown
from benchmarks.harness.vectors import Vectors
from pocket_colbert import Document, Passage, Pruning
from pocket_colbert.config import CODES
from pocket_colbert.evaluation.beir import BeirFolder
from pocket_colbert.evaluation.tuning import (
    DROP_FREQUENT,
    PRUNINGS,
    Judge,
    Measurement,
    most_frequent,
)
from pocket_colbert.vectors.pruning import apply_pruning

QUERIES = 200


def measure(
    folder: Path, codes: list[str], labels: list[str]
) -> tuple[dict[str, float], list[tuple[Measurement, float]]]:
    """Measure all settings on one set; returns the baseline, and settings with their share."""
    data = Vectors.load(folder)
    chosen = data.sample(QUERIES)
    names = [data.query_ids[n] for n in chosen]
    sample = BeirFolder(
        [Document(name) for name in data.document_ids],
        {name: "" for name in names},
        {name: data.qrels[name] for name in names},
    )
    documents = [np.asarray(data.document(n)) for n in range(len(data.document_ids))]
    token_ids = np.load(folder / "token_ids.npy").astype(np.int64)
    ids = [token_ids[a:b] for a, b in zip(data.offsets, data.offsets[1:], strict=False)]
    queries = [data.queries[n] for n in chosen]
    judge = Judge(sample, queries, [[Passage(0, 0, item)] for item in documents])
    full = len(data.tokens) * data.tokens.shape[1] * 2 / len(documents)
    frequent = most_frequent([token_ids], DROP_FREQUENT)
    found = []
    for label in labels:
        pruning = PRUNINGS.get(label) or Pruning(skiplist_ids=frequent)
        kept = [
            [Passage(0, 0, apply_pruning(item, i, pruning))]
            for item, i in zip(documents, ids, strict=True)
        ]
        for name in codes:
            item = judge.measure(name, label, pruning, kept, 2)
            found.append((item, item.bytes_per_document / full))
            print(data.name, name, label, file=sys.stderr, flush=True)
    return dict(judge.baseline), found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", nargs="+", type=Path)
    parser.add_argument("--codes", nargs="+", default=list(CODES))
    parser.add_argument("--prunings", nargs="+", default=[*PRUNINGS, "drop frequent"])
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    run = Run.begin("frontier", options)
    results = {}
    for folder in options.vectors:
        baseline, found = measure(folder, options.codes, options.prunings)
        results[folder.name] = {
            "baseline": baseline,
            "settings": [asdict(item) | {"share_of_float16": share} for item, share in found],
        }
    for values in results.values():
        for setting in values["settings"]:
            setting["pruning"]["skiplist_ids"] = len(setting["pruning"]["skiplist_ids"])
    print(table(results))
    run.save(options.json, results)


def table(results: Mapping[str, Any]) -> str:
    """Return a row for each setting on each set."""
    rows = []
    for name, values in results.items():
        exact = values["baseline"]
        rows.append(
            (name, "float32", "all", "200%", f"{exact['nDCG@10']:.4f}",
             f"{exact['Recall@100']:.4f}", "1")
        )  # fmt: skip
        for item in values["settings"]:
            ndcg, overlap = item["metrics"]["nDCG@10"], item["overlap"]
            rows.append(
                (name, item["codes"], item["label"], f"{item['share_of_float16']:.1%}",
                 f"{ndcg:.4f} ({ndcg / exact['nDCG@10']:.1%})",
                 f"{item['metrics']['Recall@100']:.4f}", f"{overlap:.3f}")
            )  # fmt: skip
    heads = ("set", "codes", "pruning", "bytes", "nDCG@10", "Recall@100", "first 10 the same")
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
