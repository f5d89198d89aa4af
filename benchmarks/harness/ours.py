"""pocket-colbert as a worker of `benchmarks.studies.search`, with the protocol of `rivals.py`."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

from pocket_colbert import Index, IndexConfig, SearchParameters, __version__

BATCH = 256


def build(folder: Path, work: Path, codes: str, mode: str) -> float:
    """Build an index from vectors in memory; returns seconds."""
    tokens, offsets = np.load(folder / "tokens.npy"), np.load(folder / "offsets.npy")
    inverted = "always" if mode == "approximate" else "never"
    config = IndexConfig(dim=tokens.shape[1], codes=codes, inverted_file=inverted)
    started = time.perf_counter()
    with Index.create(work, config, threads=2) as index:
        for first in range(0, len(offsets) - 1, BATCH):
            numbers = range(first, min(first + BATCH, len(offsets) - 1))
            index.add(
                [str(n) for n in numbers], [tokens[offsets[n] : offsets[n + 1]] for n in numbers]
            )
        index.commit()
    return time.perf_counter() - started


def peak() -> int:
    """Return the peak resident memory since the last call, in bytes."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return int(line.split()[1]) * 1024


def main() -> None:
    """Build, then answer orders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--codes", required=True)
    parser.add_argument("--mode", required=True)
    options = parser.parse_args()
    seconds = build(options.vectors, options.work, options.codes, options.mode)
    files = [path.stat() for path in options.work.rglob("*") if path.is_file()]
    queries = np.load(options.vectors / "query_tokens.npy")
    bounds = np.load(options.vectors / "query_offsets.npy")
    parameters = SearchParameters(mode=options.mode)
    print(json.dumps({
        "event": "built", "version": __version__, "build_seconds": seconds,
        "bytes": sum(item.st_size for item in files),
        "bytes_allocated": sum(item.st_blocks * 512 for item in files),
        "peak_rss_bytes": peak(),
        "settings": {
            "codes": options.codes, "mode": options.mode,
            "lookups": parameters.lookups, "candidates": parameters.candidates,
        },
    }), flush=True)  # fmt: skip
    with Index.load(options.work, threads=2) as index:
        for line in sys.stdin:
            first, last = json.loads(line)["queries"]
            times, hits = [], []
            for n in range(first, last):
                query = queries[bounds[n] : bounds[n + 1]]
                started = time.perf_counter()
                found = index.search([query], 100, parameters=parameters)[0]
                times.append(1000 * (time.perf_counter() - started))
                hits.append([int(hit.document_id) for hit in found])
            answer = {"event": "searched", "ms": times, "hits": hits, "peak_rss_bytes": peak()}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
