"""One system on given token vectors, in a process of its own, told what to do on stdin.

    python -m benchmarks.systems.worker SYSTEM VECTORS_DIR WORK_DIR --threads 2 [--k 100]
        [--settings '{"name": value}']

It imports nothing of pocket-colbert for a rival: it runs in an environment that holds numpy and
the rival, from the root of the checkout.
VECTORS_DIR holds `tokens.npy` (unit rows, float32) and `query_tokens.npy`, with `offsets.npy` and
`query_offsets.npy` (int64): document n is rows offsets[n]:offsets[n+1]. `token_ids.npy` (one
vocabulary number a token) is optional and only tachiom uses it. WORK_DIR must be new or empty.

The worker builds the index inside WORK_DIR and prints one JSON line with "event": "built". Seconds
run from vectors in memory (the file is read once before, imports are done) to an index that is
searchable and on disk. `bytes` adds up file sizes, `bytes_allocated` the blocks that files really
take, which is less where files are sparse. Then each line of stdin is one order and gets one line:

- {"queries": [first, last]}: search for queries first to last - 1, one at a time:
  {"event": "searched", "ms": [...], "hits": [[numbers of documents, best first], ...]}
- quit, or the end of the input, ends it.

A query's time includes turning its float32 array into what the engine takes (lists for Qdrant) and
the engine's answer into numbers. Every line has `peak_rss_bytes`, the peak since the line before
it, so that the searching peak is not hidden by the building one; memory that the build did not
give back counts for both. The first query may be slow in some engines: warm up. Threads, and the
cores that the process may use, are limited to --threads. An error ends the process.

Systems. Settings are the engines' own defaults or what their documentation advises for latency,
but hnsw_ef, refine_factor, num_sub_vectors and block_documents, chosen here for recall and speed;
--settings replaces any of them:

- pocket-colbert: codes and mode are its settings
- qdrant-edge-exact (float16), qdrant-edge-exact-float32 (faster), qdrant-edge-hnsw (float32): one
  segment a thread, since one segment is searched by one
- qdrant-local: pure Python; its threads would be BLAS's, and its one small product a document gets
  one whatever --threads says
- lancedb-flat, lancedb-ivfpq
- tachiom; without token_ids.npy its token-aware clustering is one clustering of all tokens
- sentence-transformers and maxsim-cpu: exhaustive, no index, so the float32 vectors are stored
- pylate-voyager: PyLate's index of tokens, and its scoring of the documents found; its number of
  threads is the cores'

fast-plaid 1.7.0 is not among them: its wheels are for torch 2.7 to 2.11, and beside the CPU build
of 2.13 the one for 2.11 (1.7.0.2110) imports but ends with a segmentation fault while it creates an
index.

Environments, Python 3.11:

    RIV: pip install numpy==2.4.6 qdrant-edge-py==0.9.0 qdrant-client==1.20.0 lancedb==0.40.0 \
             maxsim-cpu==0.1.0
         pip install --no-deps --only-binary=:all: --platform manylinux_2_39_x86_64 \
             --python-version 3.11 --target RIV/lib/python3.11/site-packages tachiom==0.4.0
    REF: pip install torch==2.13.0 sentence-transformers==6.2.0
    PL:  pip install torch==2.13.0
         pip install sentence-transformers==5.3.0 'transformers<=5.3.0' voyager==2.1.0 sqlitedict \
             ujson==5.12.0 ninja==1.11.1.4 datasets accelerate
         pip install --no-deps pylate==1.6.0 fast-plaid==1.4.6.2110 fastkmeans==0.5.0

(torch comes first and from a CPU build. tachiom's wheel is tagged for glibc 2.39 but needs only
two weak symbols of it, so it runs on 2.36; its source build fetches from GitHub. PyLate pins a
fast-plaid that pins another torch, hence --no-deps, and voyager 2.2 no longer takes the lists that
PyLate 1.6 gives it.)
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.harness.process import disk, pin, take_peak
from benchmarks.harness.timing import each_ms, seconds_of
from benchmarks.systems.system import StoredVectors, System

SYSTEMS = {
    "pocket-colbert": "pocket_colbert.PocketColbert",
    "qdrant-edge-exact": "qdrant.QdrantEdge",
    "qdrant-edge-exact-float32": "qdrant.QdrantEdgeFloat32",
    "qdrant-edge-hnsw": "qdrant.QdrantEdgeHnsw",
    "qdrant-local": "qdrant.QdrantLocal",
    "lancedb-flat": "lance.LanceFlat",
    "lancedb-ivfpq": "lance.LanceIvfPq",
    "tachiom": "tachiom.Tachiom",
    "sentence-transformers": "sentence_transformers.SentenceTransformers",
    "maxsim-cpu": "maxsim_cpu.MaxSimCpu",
    "pylate-voyager": "pylate.PylateVoyager",
}
"""Module and class of each system."""


def system_named(name: str) -> type[System]:
    """Import the class of a system."""
    module, _, kind = SYSTEMS[name].partition(".")
    found: type[System] = getattr(import_module(f"benchmarks.systems.{module}"), kind)
    return found


def main() -> None:
    """Build, then follow the orders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("vectors", type=Path, metavar="VECTORS_DIR")
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--settings", type=json.loads, default={}, help="a JSON object")
    options = parser.parse_args()
    kind = system_named(options.system)
    pin(options.threads, kind.environment)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else prints goes to stderr, from Python and from below it
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()):
        parser.error(f"{options.work} is not empty.")

    def answer(event: str, **values: Any) -> None:
        line = {"event": event, **values, "peak_rss_bytes": take_peak()}
        answers.write(json.dumps(line) + "\n")

    vectors = StoredVectors(options.vectors)
    system = kind(vectors, options.work, options.threads, options.k, options.settings)
    take_peak()
    seconds = seconds_of(system.build)
    size, allocated = disk(options.work)
    answer(
        "built",
        system=options.system,
        version=" ".join(f"{name} {importlib.metadata.version(name)}" for name in kind.packages),
        build_seconds=seconds,
        bytes=size,
        bytes_allocated=allocated,
        settings=system.settings | {"threads": options.threads, "k": options.k} | kind.environment,
    )
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        numbers = range(*json.loads(line)["queries"])
        queries = [vectors.query(number) for number in numbers]
        times, hits = each_ms(system.search, queries, warm_up=0)
        answer("searched", ms=times, hits=[[int(number) for number in found] for found in hits])


if __name__ == "__main__":
    main()
