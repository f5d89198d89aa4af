"""Questions in words, answered by functions: nDCG@10 a language.

    mkdir projects; cd projects    # one folder a project, of sources with doc comments
    pip download --no-deps --only-binary :all: networkx werkzeug boltons more-itertools pendulum
    npm pack lodash async validator
    apt-get download golang-github-miekg-dns-dev librust-petgraph-dev ruby-rack ruby-addressable
    python -m benchmarks.studies.code PROJECTS --model small=small --model tiny=tiny \
        --json benchmarks/results/code.json

Every wheel and archive above is unpacked into a folder of its own under PROJECTS. A question is the
first sentence of a function's doc comment, and the function, without the comment, is the one right
answer among all functions of its language. `keywords` is BM25 over the same texts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.harness.code_questions import Function, functions
from benchmarks.harness.results import Run
from benchmarks.harness.tables import markdown
from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever, SearchParameters
from pocket_colbert.config import DEFAULT_CODES
from pocket_colbert.evaluation.evaluate import DEPTH
from pocket_colbert.evaluation.metrics import compute_metrics, to_run

SEARCHES = {
    "MaxSim": SearchParameters(mode="exact"),
    "keywords": SearchParameters(mode="exact", hybrid="keywords"),
}


def thinned(items: Sequence[Function], most: int) -> list[Function]:
    """Return at most so many, the same number of each project as far as it goes."""
    generator = np.random.default_rng(7)
    turns: dict[str, int] = {}
    order = []
    for number in generator.permutation(len(items)):
        turn = turns[items[number].project] = turns.get(items[number].project, 0) + 1
        order.append((turn, int(number)))
    return [items[number] for number in sorted(number for _, number in sorted(order)[:most])]


def measure(
    encoder: Encoder, items: Sequence[Function], asked: Sequence[Function]
) -> dict[str, float]:
    """Return nDCG@10 of each search over the functions of one language."""
    names = {id(item): str(number) for number, item in enumerate(items)}
    queries = {names[id(item)]: item.question for item in asked}
    qrels = {query: {query: 1} for query in queries}
    config = IndexConfig(dim=encoder.dim, codes=DEFAULT_CODES, inverted_file="never")
    with Index(encoder.dim, config=config, threads=encoder.threads) as index:
        retriever = Retriever(encoder, index)
        retriever.add([Document(names[id(item)], item.code) for item in items])
        index.commit()
        found = {}
        for name, parameters in SEARCHES.items():
            hits = retriever.retrieve(list(queries.values()), DEPTH, parameters=parameters)
            found[name] = compute_metrics(qrels, to_run(queries, hits))["nDCG@10"]
    return found


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return nDCG@10 of each model and search on each language."""
    languages = list(next(iter(results.values())))
    lines = []
    for model, values in results.items():
        for search in SEARCHES:
            row = [values[language][search] for language in languages]
            cells = [f"{value:.4f}" for value in row]
            lines.append((f"{model}, {search}", *cells, f"**{np.mean(row):.4f}**"))
    return markdown(("", *languages, "mean"), lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("projects", type=Path)
    parser.add_argument("--model", action="append", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--functions", type=int, default=1000, help="of each language, at most")
    parser.add_argument("--queries", type=int, default=200, help="of each language, at most")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("code", options)
    every = list(functions(options.projects))
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, _, folder in (item.partition("=") for item in options.model):
        encoder = Encoder.load(folder, threads=options.threads)
        for language in sorted({item.language for item in every}):
            items = thinned([e for e in every if e.language == language], options.functions)
            asked = thinned(items, options.queries)
            results.setdefault(name, {})[language] = measure(encoder, items, asked)
        if options.json:
            run.save(options.json, results)
    print(table(results))


if __name__ == "__main__":
    main()
