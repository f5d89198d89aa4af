"""What typing errors, capitals and missing accents cost a model, on retrieval sets.

    python -m benchmarks.studies.robustness DATA/squad-dev DATA/cranfield DATA/scifact \
        --model small=small --model tiny=tiny --json benchmarks/results/robustness.json

Each set is indexed once a model, as `pocket-colbert evaluate` does it; then its queries are asked
as they are and changed. A typing error is a letter beside its key, left out, doubled, or swapped
with the next, in one word of four letters or more a query: the same errors for every model. Sets
with more than --queries queries are thinned evenly. `keywords` beside each model is BM25 over the
same changed queries, which shows how much of the loss any search by words would have.
"""

from __future__ import annotations

import argparse
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import markdown
from benchmarks.studies.models import read
from pocket_colbert import Encoder, Index, IndexConfig, Retriever, SearchParameters
from pocket_colbert.config import DEFAULT_CODES
from pocket_colbert.evaluation.beir import BeirFolder
from pocket_colbert.evaluation.evaluate import DEPTH
from pocket_colbert.evaluation.metrics import compute_metrics, to_run
from pocket_colbert_export.distillation.queries import mistype

SEED = 5
SEARCHES = {
    "MaxSim": SearchParameters(mode="exact"),
    "keywords": SearchParameters(mode="exact", hybrid="keywords"),
}


def without_accents(text: str) -> str:
    """Return a text whose letters have lost their marks."""
    parts = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def changes() -> dict[str, Callable[[str], str]]:
    """Return the ways to change a query, by name; made again they draw the same errors."""
    generator = np.random.default_rng(SEED)
    return {
        "as it is": str,
        "one typing error": lambda text: mistype(text, generator),
        "capitals": str.upper,
        "no accents": without_accents,
    }


def measure(encoder: Encoder, data: BeirFolder) -> dict[str, dict[str, float]]:
    """Return nDCG@10 of each search under each change."""
    config = IndexConfig(dim=encoder.dim, codes=DEFAULT_CODES, inverted_file="never")
    found: dict[str, dict[str, float]] = {name: {} for name in SEARCHES}
    with Index(encoder.dim, config=config, threads=encoder.threads) as index:
        retriever = Retriever(encoder, index)
        retriever.add(data.documents)
        index.commit()
        for change, apply in changes().items():
            texts = [apply(text) for text in data.queries.values()]
            for name, parameters in SEARCHES.items():
                hits = retriever.retrieve(texts, DEPTH, parameters=parameters)
                metrics = compute_metrics(data.qrels, to_run(data.queries, hits))
                found[name][change] = metrics["nDCG@10"]
    return found


def table(results: dict[str, dict[str, dict[str, dict[str, float]]]]) -> str:
    """Return nDCG@10 as it is, and in per cent what each change costs."""
    names = list(changes())
    lines = []
    for model, sets in results.items():
        for data, searches in sets.items():
            for search, values in searches.items():
                plain = values[names[0]]
                losses = [f"{100 * (values[name] / plain - 1):+.1f} %" for name in names[1:]]
                lines.append((f"{model}, {search}", data, f"{plain:.4f}", *losses))
    return markdown(("", "set", *names), lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("robustness", options)
    results: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for name, _, folder in (item.partition("=") for item in options.model):
        encoder = Encoder.load(folder, threads=options.threads)
        for path in options.datasets:
            found = measure(encoder, read(path, options.queries))
            results.setdefault(name, {})[path.name] = found
            if options.json:
                run.save(options.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
