"""Search beside rival engines on the same token vectors: time, recall, quality, bytes, memory.

    python -m benchmarks.harness.vectors DATA/scifact --model FOLDER --into VECTORS/scifact
    python -m benchmarks.studies.search VECTORS/scifact --riv RIV/bin/python --ref REF/bin/python \
        --json benchmarks/results/search-scifact.json

Every system runs in a process of its own, builds its index, and then searches when it is told to:
systems take turns, one at a time, for --rounds rounds. Two threads each. The first round gives the
hits, medians are over all rounds. `benchmarks/systems/worker.py` says what the rivals are and how
their environments are made; those whose Python is not given are left out.

recall@10 is against exact MaxSim over unpruned float32 vectors, and for pocket-colbert also against
its own exact search over the same codes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.process import THREAD_VARIABLES
from benchmarks.harness.results import ROOT, Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import in_turns
from benchmarks.harness.vectors import Vectors
from pocket_colbert.evaluation.metrics import compute_metrics
from pocket_colbert.vectors.maxsim_float import maxsim_ragged
from pocket_colbert.vectors.top_k import top_k

DEPTH = 100
OURS = (
    "int8 exact", "int4 exact", "int2 exact",
    "int8 approximate", "int4 approximate", "int2 approximate",
)  # fmt: skip
RIVALS = {
    "riv": (
        "qdrant-edge-exact", "qdrant-edge-exact-float32", "qdrant-local", "lancedb-flat",
        "lancedb-ivfpq", "tachiom", "maxsim-cpu",
    ),
    "ref": ("sentence-transformers",),
    "pl": ("pylate-voyager",),
}  # fmt: skip


class Worker:
    """A process that builds an index and searches on demand."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment(),
            cwd=ROOT,
        )
        self.built = self._read()
        self.ms: list[float] = []
        self.hits: list[list[int]] = []
        self.peak = 0

    def search(self, first: int, last: int) -> list[list[int]]:
        """Run some queries; return their hits and keep their times."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"queries": [first, last]}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        self.peak = max(self.peak, answer["peak_rss_bytes"])
        self.ms += answer["ms"]
        hits: list[list[int]] = answer["hits"]
        return hits

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _environment() -> dict[str, str]:
    return os.environ | dict.fromkeys(THREAD_VARIABLES, "2")


def exact(data: Vectors, queries: Sequence[NDArray[np.float32]]) -> list[dict[int, float]]:
    """Return the first hundred of every query by float32 MaxSim, with scores."""
    tokens = np.asarray(data.tokens)
    found = []
    for query in queries:
        scores = maxsim_ragged(query, tokens, data.offsets)
        found.append({int(n): float(scores[n]) for n in top_k(scores, DEPTH)})
    return found


def recall(found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> float:
    """Return the mean share of the wanted first ten that was found in the first ten."""
    pairs = zip(found, wanted, strict=True)
    return float(np.mean([len(set(a[:10]) & set(b[:10])) / 10 for a, b in pairs]))


def ndcg(data: Vectors, chosen: Sequence[int], hits: Sequence[Sequence[int]]) -> float:
    """Return nDCG@10 of ranked document numbers."""
    names = [data.query_ids[n] for n in chosen]
    run = {
        name: {data.document_ids[n]: float(-rank) for rank, n in enumerate(found)}
        for name, found in zip(names, hits, strict=True)
    }
    return compute_metrics({name: data.qrels[name] for name in names}, run)["nDCG@10"]


def start(options: argparse.Namespace, vectors: Path, work: Path) -> list[Worker]:
    """Build all indexes, one after the other."""
    commands: list[tuple[str, list[str]]] = []

    def add(name: str, python: str, system: str, settings: Mapping[str, str]) -> None:
        commands.append((name, [
            python, "-m", "benchmarks.systems.worker", system, str(vectors), str(work / name),
            "--threads", "2", "--k", str(DEPTH), "--settings", json.dumps(settings),
        ]))  # fmt: skip

    for name in OURS:
        codes, mode = name.split()
        add(f"pocket-colbert {name}", sys.executable, "pocket-colbert",
            {"codes": codes, "mode": mode})  # fmt: skip
    for environment, systems in RIVALS.items():
        python = getattr(options, environment)
        for name in systems if python else ():
            add(name, python, name, {})
    workers = []
    for name, command in commands:
        if options.only and not any(part in name for part in options.only):
            continue
        try:
            workers.append(Worker(name, command))
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
            continue
        print(f"built: {name}, {workers[-1].built['build_seconds']:.1f} s", file=sys.stderr)
    return workers


def main() -> None:
    """Build, search in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    for name in RIVALS:
        parser.add_argument(f"--{name}", default=None, metavar="PYTHON")
    parser.add_argument("--only", nargs="*", help="Parts of the names of systems to run.")
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    run = Run.begin("search", options)
    data = Vectors.load(options.vectors)
    chosen = data.sample(options.queries)
    queries = [data.queries[n] for n in chosen]
    with tempfile.TemporaryDirectory() as folder:
        vectors, work = Path(folder) / "vectors", Path(folder) / "work"
        vectors.mkdir()
        work.mkdir()
        for name in ("tokens.npy", "offsets.npy", "token_ids.npy"):
            (vectors / name).symlink_to((options.vectors / name).resolve())
        np.save(vectors / "query_tokens.npy", np.concatenate(queries))
        np.save(vectors / "query_offsets.npy", np.cumsum([0, *map(len, queries)]))
        reference = exact(data, queries)
        workers = start(options, vectors, work)
        for worker in workers:  # the first queries pay for what is lazily made
            worker.search(0, min(10, len(queries)))
            worker.ms = []
        calls = {worker.name: partial(worker.search, 0, len(queries)) for worker in workers}
        hits = in_turns(calls, options.rounds, warm_up=0)
        for worker in workers:
            worker.hits = hits[worker.name][0]
            worker.stop()
    results = judged(data, chosen, [list(item) for item in reference], workers)
    print(
        f"{data.name}: {len(data.offsets) - 1} documents, {len(data.tokens)} token vectors of "
        f"{data.tokens.shape[1]}; {len(chosen)} queries x {options.rounds} rounds, 2 threads\n"
    )
    print(table(results))
    run.save(options.json, results)


def judged(
    data: Vectors,
    chosen: Sequence[int],
    reference: Sequence[Sequence[int]],
    workers: Sequence[Worker],
) -> list[dict[str, Any]]:
    """Return a row for each system, after one for exact float32 MaxSim."""
    own = {worker.name: worker.hits for worker in workers}
    rows: list[dict[str, Any]] = [
        {"system": "float32 MaxSim", "ndcg": ndcg(data, chosen, reference), "recall": 1.0}
    ]
    for worker in workers:
        same = None
        if worker.name.startswith("pocket-colbert"):
            same = own.get(worker.name.replace("approximate", "exact"))
        rows.append({
            **worker.built,
            "system": worker.name,
            "ms_p50": float(np.median(worker.ms)),
            "ms_p95": float(np.quantile(worker.ms, 0.95)),
            "recall": recall(worker.hits, reference),
            "recall_of_own_exact": recall(worker.hits, same) if same else None,
            "ndcg": ndcg(data, chosen, worker.hits),
            "share_of_float16": worker.built["bytes_allocated"] / (data.tokens.size * 2),
            "build_peak_bytes": worker.built["peak_rss_bytes"],
            "peak_rss_bytes": worker.peak,
        })  # fmt: skip
    return rows


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a row for each system."""
    heads = (
        "system", "ms, median", "p95", "recall@10", "of own exact", "nDCG@10", "build s",
        "MB on disk", "of float16", "peak MB",
    )  # fmt: skip

    def millions(value: float | None) -> str:
        return decimals(None if value is None else value / 1e6, 0)

    rows = []
    for row in results:
        share = row.get("share_of_float16")
        rows.append((
            row["system"], decimals(row.get("ms_p50"), 1), decimals(row.get("ms_p95"), 1),
            decimals(row["recall"], 3), decimals(row.get("recall_of_own_exact"), 3),
            decimals(row["ndcg"], 4), decimals(row.get("build_seconds"), 1),
            millions(row.get("bytes_allocated")), "" if share is None else f"{share:.1%}",
            millions(row.get("peak_rss_bytes")),
        ))  # fmt: skip
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
