"""A page of ten hits, in the process and over HTTP, by processor time.

    python -m benchmarks.studies.answers DATA/cranfield --json benchmarks/results/answers.json

Searching alone, with a snippet of each hit, with explanations too; then `pocket-colbert serve` over
the same index, whose answers hold snippets: one client, several, and several while a document is
replaced every second. Every query is asked once by each, so no answer is a repeated one, and each
way has an encoder of its own, so none profits from passages that another tokenised.

Processor time, of the server's process or of this one, is what a busy machine can be asked for; the
rates beside it are of this machine as it was. In the process and over HTTP the same 10 hits must
come back, or it ends with an error.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.studies.load import start
from pocket_colbert import Encoder, Hit, Index, IndexConfig, Retriever
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.search.explanation import explain_match
from pocket_colbert.search.snippets import snippet

Answer = list[tuple[str, float]]
Rows = dict[str, dict[str, float | None]]


def searched(retriever: Retriever, text: str) -> Answer:
    """Search alone."""
    query = retriever.encoder.query(text)
    return _answer(retriever.retrieve([query], 10)[0])


def shown(retriever: Retriever, text: str) -> Answer:
    """Search, and choose a snippet of each hit."""
    query = retriever.encoder.query(text)
    hits = retriever.retrieve([query], 10)[0]
    retriever.snippets(query, hits)
    return _answer(hits)


def explained(retriever: Retriever, text: str) -> Answer:
    """Search, choose snippets and explain."""
    query = retriever.encoder.query(text)
    hits = retriever.retrieve([query], 10)[0]
    for passage in retriever.matched_passages(hits):
        snippet(query, passage)
        explain_match(query, passage)
    return _answer(hits)


WAYS: Mapping[str, Callable[[Retriever, str], Answer]] = {
    "retrieve": searched,
    "and snippets": shown,
    "and explanations": explained,
}


def _answer(hits: Sequence[Hit]) -> Answer:
    return [(hit.document_id, round(hit.score, 3)) for hit in hits]


def in_process(folder: Path, queries: Sequence[str]) -> tuple[Rows, list[Answer]]:
    """Ask each way for each query in turn; return what each took, and the hits."""
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    answers: list[Answer] = []
    with Index.load(folder, threads=1) as index:
        retrievers = {name: Retriever(Encoder.load(threads=1), index) for name in WAYS}
        for name, way in WAYS.items():
            way(retrievers[name], "a first query")
        for text in queries:
            for name, way in WAYS.items():
                began = time.process_time()
                answers.append(way(retrievers[name], text))
                taken[name].append(1000 * (time.process_time() - began))
    rows: Rows = {
        name: {
            "processor_ms": statistics.median(values),
            "mean_processor_ms": statistics.fmean(values),
            "ratio": statistics.median(
                value / alone for value, alone in zip(values, taken["retrieve"], strict=True)
            ),
        }
        for name, values in taken.items()
    }
    return rows, answers[:: len(WAYS)]


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has used, of its own and of the system for it."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def over_http(
    folder: Path, queries: Sequence[str], expected: Sequence[Answer], clients: int, *, updates: bool
) -> dict[str, float | None]:
    """Start a server, ask it every query once, and return what an answer took.

    Raises:
        SystemExit: An answer is not 200, or holds other hits than `expected`.
    """
    process, address = start(folder, 2)
    latencies: list[float] = []
    done = threading.Event()
    replaced = 0

    def ask(client: httpx.Client, number: int) -> None:
        began = time.perf_counter()
        answer = client.post("/api/search", json={"query": queries[number], "k": 10})
        latencies.append(1000 * (time.perf_counter() - began))
        if answer.status_code != 200:
            raise SystemExit(f"status {answer.status_code}: {answer.text[:200]}")
        hits = [(hit["id"], round(hit["score"], 3)) for hit in answer.json()["hits"]]
        if not updates and hits != expected[number]:
            raise SystemExit(f"other hits over HTTP for {queries[number]!r}")

    def update() -> None:
        nonlocal replaced
        document = {"id": "replaced", "text": "A document that changes every second."}
        while not done.wait(1):
            path = f"{address}/api/documents"
            httpx.put(path, json={"documents": [document]}, timeout=60).raise_for_status()
            replaced += 1

    try:
        with httpx.Client(base_url=address, timeout=120) as client:
            client.post("/api/search", json={"query": "a first query", "k": 10})
            before, began = processor_seconds(process.pid), time.perf_counter()
            with ThreadPoolExecutor(clients + 1) as threads:
                writer = threads.submit(update) if updates else None
                asked = [threads.submit(ask, client, n) for n in range(len(queries))]
                try:
                    for future in asked:
                        future.result()
                finally:
                    done.set()
                if writer is not None:
                    writer.result()
            seconds = time.perf_counter() - began
            used = processor_seconds(process.pid) - before
    finally:
        process.kill()
        process.wait()
    return {
        "mean_processor_ms": 1000 * used / len(queries),
        "answers_per_second": len(queries) / seconds,
        "p50_ms": float(np.quantile(latencies, 0.5)),
        "p99_ms": float(np.quantile(latencies, 0.99)),
        "updates": replaced if updates else None,
    }


def measure(folder: Path, queries: Sequence[str], clients: int) -> Rows:
    """Return a row for each way; shares of HTTP are of the way with snippets in the process."""
    rows, expected = in_process(folder, queries)
    ceiling = rows["and snippets"]["mean_processor_ms"]
    assert ceiling is not None
    for name, number, updates in (
        ("HTTP, 1 client", 1, False),
        (f"HTTP, {clients} clients", clients, False),
        (f"HTTP, {clients} clients, an update a second", clients, True),
    ):
        row = over_http(folder, queries, expected, number, updates=updates)
        row["share_of_ceiling"] = ceiling / (row["mean_processor_ms"] or 1)
        rows[name] = row
    return rows


def table(results: Mapping[str, Any]) -> str:
    """Return the table of processor times, ratios and rates."""
    heads = (
        "answer", "processor ms, median", "of retrieve", "mean", "of the ceiling", "a second",
        "p50 ms", "p99 ms", "updates",
    )  # fmt: skip
    columns = (
        ("processor_ms", 1), ("ratio", 2), ("mean_processor_ms", 1), ("share_of_ceiling", 2),
        ("answers_per_second", 1), ("p50_ms", 0), ("p99_ms", 0), ("updates", 0),
    )  # fmt: skip
    rows = [
        (name, *(decimals(row.get(key), digits) for key, digits in columns))
        for name, row in results["rows"].items()
    ]
    return markdown(heads, rows) + (
        f"\n\n{results['documents']} documents, {results['queries']} queries, each asked once."
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--index", type=Path, help="an index of it, made before; it is changed")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("answers", options)
    data = read_beir(options.dataset)
    queries = list(data.queries.values())[: options.queries]
    with tempfile.TemporaryDirectory() as place:
        folder = options.index or Path(place) / "answers.index"
        if options.index is None:
            encoder = Encoder.load()
            with Index.create(folder, IndexConfig(dim=encoder.dim)) as index:
                Retriever(encoder, index).add(data.documents)
        rows = measure(folder, queries, options.clients)
    results = {"documents": len(data.documents), "queries": len(queries), "rows": rows}
    print(table(results))
    run.save(options.json, results)


if __name__ == "__main__":
    main()
