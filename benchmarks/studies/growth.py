"""How search grows with the collection: milliseconds, recall, build time, bytes, memory.

    python -m benchmarks.studies.growth VECTORS/text --sizes 10000 100000 1000000 --pool-factor 4 \
        --json benchmarks/results/growth.json --plot benchmarks/results/growth.svg

Documents beyond those in VECTORS are synthetic, see `synthetic.py`. Indexes are made and searched
in fresh processes; peak memory is that of opening and searching.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.ours import peak
from benchmarks.harness.synthetic import resembling
from pocket_colbert import Index, IndexConfig, SearchParameters
from pocket_colbert.vectors.pooling import pool_tokens

BATCH = 1000
SEGMENT_TOKENS = 8_000_000


def real_documents(folder: Path, pool_factor: float) -> list[NDArray[np.float32]]:
    """Return the real documents, pooled."""
    offsets = np.load(folder / "offsets.npy")
    path = folder / "tokens.npy"
    tokens = np.load(path, mmap_mode="r")
    return [
        pool_tokens(np.asarray(tokens[a:b], dtype=np.float32), pool_factor)
        for a, b in zip(offsets, offsets[1:], strict=False)
    ]


def build(folder: Path, real: list[NDArray[np.float32]], size: int, codes: str) -> dict[str, float]:
    """Build an index of that many documents; returns seconds and bytes."""
    rng = np.random.default_rng(size)
    pool = np.concatenate(real[:: max(len(real) // 5000, 1)])
    dim = real[0].shape[1]
    seconds, tokens = 0.0, 0
    with Index.create(folder, IndexConfig(dim=dim, codes=codes), threads=2) as index:
        for first in range(0, size, BATCH):
            numbers = range(first, min(first + BATCH, size))
            documents = [
                real[n] if n < len(real) else resembling(real[rng.integers(len(real))], pool, rng)
                for n in numbers
            ]
            started = time.perf_counter()
            index.add([str(n) for n in numbers], documents)
            tokens += sum(map(len, documents))
            if tokens >= SEGMENT_TOKENS:
                index.commit()
                tokens = 0
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        index.commit()
        seconds += time.perf_counter() - started
        info = index.info()
    return {
        "documents": info.documents, "tokens": info.tokens, "segments": info.segments,
        "build_seconds": seconds, "bytes": sum(info.bytes.values()),
        **{f"bytes {name}": value for name, value in info.bytes.items()},
    }  # fmt: skip


def search(folder: Path, vectors: Path, count: int) -> dict[str, float]:
    """Open an index and search it; meant for a fresh process."""
    peak()
    queries = np.load(vectors / "query_tokens.npy")
    bounds = np.load(vectors / "query_offsets.npy")
    every = np.linspace(0, len(bounds) - 2, count).astype(int)
    started = time.perf_counter()
    found: dict[str, float] = {}
    with Index.load(folder, threads=2) as index:
        found["open_ms"] = 1000 * (time.perf_counter() - started)
        hits = {}
        for mode in ("auto", "exact"):
            parameters = SearchParameters(mode=mode)
            for n in every[:3]:
                index.search([queries[bounds[n] : bounds[n + 1]]], 10, parameters=parameters)
            times, hits[mode] = [], []
            for n in every:
                started = time.perf_counter()
                hit = index.search([queries[bounds[n] : bounds[n + 1]]], 10, parameters=parameters)
                times.append(1000 * (time.perf_counter() - started))
                hits[mode].append({item.document_id for item in hit[0]})
            found[f"{mode}_ms"] = float(np.median(times))
            found[f"{mode}_peak_rss_bytes"] = peak()
    pairs = zip(hits["auto"], hits["exact"], strict=True)
    found["recall"] = float(np.mean([len(a & b) / len(b) for a, b in pairs]))
    return found


def main() -> None:
    """Build and search all sizes; print a table, write JSON and a plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vectors", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--pool-factor", type=float, default=4.0)
    parser.add_argument("--codes", default="int4")
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--plot", type=Path, default=None)
    parser.add_argument("--search", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.search is not None:
        print(json.dumps(search(options.search, options.vectors, options.queries)))
        return
    real = real_documents(options.vectors, options.pool_factor)
    rows = []
    print(
        "| documents | token vectors | build s | MB | open ms | auto ms | exact ms | recall@10 "
        "| peak MB, auto | peak MB, exact |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "index"
            row = build(folder, real, size, options.codes)
            command = [
                sys.executable, "-m", "benchmarks.studies.growth", str(options.vectors),
                "--queries", str(options.queries), "--search", str(folder),
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row |= json.loads(done.stdout)
        rows.append(row)
        print(
            f"| {size} | {row['tokens']} | {row['build_seconds']:.0f} | {row['bytes'] / 1e6:.0f} "
            f"| {row['open_ms']:.0f} | {row['auto_ms']:.1f} | {row['exact_ms']:.1f} "
            f"| {row['recall']:.3f} | {row['auto_peak_rss_bytes'] / 1e6:.0f} "
            f"| {row['exact_peak_rss_bytes'] / 1e6:.0f} |",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    if options.plot:
        draw(rows, options.plot)


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw milliseconds, seconds, bytes and memory against documents."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes = [row["documents"] for row in rows]
    for axes, lines in (
        (left, {"auto_ms": "query, auto (ms)", "exact_ms": "query, exact (ms)",
                "build_seconds": "build (s)", "open_ms": "open (ms)"}),
        (right, {"bytes": "bytes on disk", "auto_peak_rss_bytes": "peak memory, auto",
                 "exact_peak_rss_bytes": "peak memory, exact"}),
    ):  # fmt: skip
        for key, label in lines.items():
            axes.loglog(sizes, [row[key] for row in rows], marker="o", label=label)
        axes.set_xlabel("documents")
        axes.legend(fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
