"""The bundled models against their teacher and what they are made from, on retrieval sets.

    python -m benchmarks.studies.models DATA/scifact DATA/cranfield DATA/cisi DATA/squad-dev \
        DATA/legalbench-rag --model small=small --model tiny=tiny \
        --model teacher=TEACHER_INT8 --model untrained=MINILM_INT8 --one-vector MINILM_384 \
        --json benchmarks/results/models.json

Every model folder goes through the path that users take: documents split into passages where they
are longer than the window, int4 codes (the default), exact search. Sets with more than --queries
queries are thinned evenly. legalbench-rag has no judgements of documents: its contracts are cut
into passages of 1 000 characters, titled by their file's name, and those that hold a part of an
answer are right.

"one vector" is the mean of a model's token vectors, one a text. BM25 is this package's keyword
search. Speed is measured apart, models taking turns. What the JSON file holds already is not
measured again.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.contracts import Contracts
from benchmarks.harness.results import Run, read_results
from benchmarks.harness.tables import markdown
from benchmarks.harness.timing import in_turns, seconds_of
from pocket_colbert import Document, Encoder, Index, IndexConfig, SearchParameters
from pocket_colbert.evaluation.beir import BeirFolder, read_beir
from pocket_colbert.evaluation.evaluate import DEPTH, evaluate
from pocket_colbert.evaluation.metrics import compute_metrics, to_run
from pocket_colbert.ingest.readers import text_to_encode
from pocket_colbert.types import Hit
from pocket_colbert.vectors.top_k import top_k

CHARACTERS = 1000
ROUNDS = 3
SPEED_DOCUMENTS = 150


def read(folder: Path, queries: int) -> BeirFolder:
    """Read a set, with at most so many queries."""
    data = contracts(folder) if folder.name == "legalbench-rag" else read_beir(folder)
    every = np.linspace(0, len(data.queries) - 1, min(queries, len(data.queries)))
    ids = list(data.queries)
    chosen = [ids[int(n)] for n in every]
    return BeirFolder(
        data.documents,
        {query_id: data.queries[query_id] for query_id in chosen},
        {query_id: data.qrels[query_id] for query_id in chosen},
        data.split,
    )


def contracts(folder: Path) -> BeirFolder:
    """Cut contracts into passages, and judge those right that hold a part of an answer."""
    data = Contracts.read(folder)
    documents = [
        Document(f"{n}/{start}", text[start : start + CHARACTERS], title=title)
        for n, (text, title) in enumerate(zip(data.texts, data.names(), strict=True))
        for start in range(0, len(text), CHARACTERS)
    ]
    qrels = {
        str(number): {
            f"{n}/{first}": 1
            for n, start, end in answers
            for first in range(start - start % CHARACTERS, end, CHARACTERS)
        }
        for number, answers in enumerate(data.answers)
    }
    return BeirFolder(documents, {str(n): text for n, text in enumerate(data.queries)}, qrels)


def late_interaction(encoder: Encoder, data: BeirFolder) -> dict[str, float]:
    """Measure a model as `pocket-colbert evaluate` does."""
    found = evaluate(encoder, data)
    return {
        **found.metrics,
        "bytes a document": found.bytes_per_document,
        "query ms": found.query_ms_p50,
    }


def keywords(data: BeirFolder) -> dict[str, float]:
    """Measure BM25."""
    index = Index(1, config=IndexConfig(dim=1, inverted_file="never"))
    index.add(
        [document.document_id for document in data.documents],
        [np.ones((1, 1), np.float32)] * len(data.documents),
        texts=[document.text for document in data.documents],
        titles=[document.title for document in data.documents],
    )
    index.commit()
    parameters = SearchParameters(mode="exact", hybrid="keywords")
    texts = list(data.queries.values())
    blank = [np.ones((1, 1), np.float32)] * len(texts)
    hits = index.search(blank, DEPTH, parameters=parameters, texts=texts)
    return compute_metrics(data.qrels, to_run(data.queries, hits))


def one_vector(encoder: Encoder, data: BeirFolder) -> dict[str, float]:
    """Measure the cosine of mean token vectors."""
    documents = means(encoder.encode_document([text_to_encode(item) for item in data.documents]))
    queries = means(encoder.encode_query(list(data.queries.values())))
    ids = [item.document_id for item in data.documents]
    hits = []
    for scores in queries @ documents.T:
        best = top_k(scores, min(DEPTH, len(scores)))
        hits.append([Hit(ids[n], float(scores[n])) for n in best])
    return compute_metrics(data.qrels, to_run(data.queries, hits))


def means(embeddings: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of each text's vectors, of length 1."""
    found = np.stack([embedding.mean(axis=0) for embedding in embeddings])
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def speeds(encoders: dict[str, Encoder], data: BeirFolder) -> dict[str, float]:
    """Return the documents a second of each model, medians of rounds in which they take turns."""
    every = np.linspace(0, len(data.documents) - 1, SPEED_DOCUMENTS)
    texts = [text_to_encode(data.documents[int(n)]) for n in every]
    calls = {
        name: partial(seconds_of, partial(encoder.encode_document, texts))
        for name, encoder in encoders.items()
    }
    turns = in_turns(calls, ROUNDS)
    return {name: len(texts) / statistics.median(seconds) for name, seconds in turns.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--one-vector", metavar="FOLDER")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    run = Run.begin("models", options)
    encoders = {
        name: Encoder.load(folder, threads=options.threads)
        for name, _, folder in (item.partition("=") for item in options.model)
    }
    rows: dict[str, dict[str, Any]] = {}
    if options.json.is_file():
        rows = read_results(options.json)["results"]

    def keep(row: str, column: str, values: Any) -> None:
        rows.setdefault(row, {})[column] = values
        run.save(options.json, rows)
        print(row, column, values, flush=True)

    for folder in options.datasets:
        data = read(folder, options.queries)
        if folder == options.datasets[0] and any("speed" not in rows.get(n, {}) for n in encoders):
            for name, speed in speeds(encoders, data).items():
                size = sum(p.stat().st_size for p in encoder_files(name, options.model))
                keep(name, "speed", {"documents a second": speed, "MB": size / 1e6})
        for name, encoder in encoders.items():
            if folder.name not in rows.get(name, {}):
                keep(name, folder.name, late_interaction(encoder, data))
        if folder.name not in rows.get("BM25", {}):
            keep("BM25", folder.name, keywords(data))
        if options.one_vector and folder.name not in rows.get("one vector", {}):
            encoder = Encoder.load(options.one_vector, threads=options.threads)
            keep("one vector", folder.name, one_vector(encoder, data))
    print(table(rows))


def encoder_files(name: str, models: Sequence[str]) -> list[Path]:
    """Return the files of a model given as NAME=FOLDER."""
    from pocket_colbert.model.folder import find_model

    folder = dict(item.split("=", 1) for item in models)[name]
    return [path for path in find_model(folder).iterdir() if path.is_file()]


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return nDCG@10 / Recall@100 of every row on every set, their means, size and speed."""
    names = [name for name, values in next(iter(rows.values())).items() if "nDCG@10" in values]
    lines = []
    for row, values in rows.items():
        if not all(name in values for name in names):
            continue
        cells = [f"{values[n]['nDCG@10']:.4f} / {values[n]['Recall@100']:.3f}" for n in names]
        mean = np.mean([values[n]["nDCG@10"] for n in names])
        speed = values.get("speed", {})
        first = values[names[0]]
        ends = [
            f"{speed['documents a second']:.1f}" if speed else "",
            f"{first['query ms']:.1f}" if "query ms" in first else "",
            f"{first['bytes a document']:.0f}" if "bytes a document" in first else "",
            f"{speed['MB']:.1f}" if speed else "",
        ]
        lines.append((row, *cells, f"**{mean:.4f}**", *ends))
    return markdown(("", *names, "mean", "docs/s", "query ms", "bytes/doc", "MB"), lines)


if __name__ == "__main__":
    main()
