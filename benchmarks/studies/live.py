"""A collection that changes: adding, deleting, replacing, filtering and compacting, beside rivals.

    python -m benchmarks.studies.live --riv RIV/bin/python --json benchmarks/results/live.json

Documents are synthetic: 20 to 30 unit vectors near the centres of clusters in a cone, seeded, with
a year (ten of them, so that one is 10 % of all) and a group (a thousand, 0.1 %). Each system runs
in a process of its own, on two threads and two cores, `--rounds` times; the table has medians. All
search is exact, but for "auto", which is pocket-colbert's default with its inverted file. RIV is
the environment of that name in `benchmarks/systems/worker.py`.

A change is timed until it is on disk and searched for. That this is so is checked outside the
timing: deleted documents must be missing from, and new ones first in, the answers of the system
and of a copy of its files, opened while the system still runs. What each change is:

- pocket-colbert: add, delete or upsert, then commit, which syncs to disk; deleting by metadata is a
  search for everything that matches, then delete; compact
- qdrant-edge (m=0, float16, a segment a thread): upsert_points, delete_points or
  delete_points_by_filter, then flush, which syncs; optimize and flush, with deleted_threshold
  0.001, as with its default of 0.2 it would leave 1 % in place. Both fields are indexed.
- lancedb (float32, no vector index): add, delete or merge_insert; optimize and drop old versions.
  Each is a new version in renamed files, without a sync: it outlives the process, not a loss of
  power. All columns but the vectors are indexed (BTree). Optimizing leaves 1 % of deleted rows in
  place.

"Ten of ten" is the share of filtered searches that brought ten documents, all of them matching.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.process import disk, pin
from benchmarks.harness.results import ROOT, Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import each_ms, in_turns, seconds_of
from benchmarks.systems.changing import DIM, THREADS, ChangingSystem, Document, K, documents

SYSTEMS = {
    "pocket-colbert": "pocket_colbert.ChangingPocketColbert",
    "pocket-colbert auto": "pocket_colbert.ChangingPocketColbertAuto",
    "qdrant-edge": "qdrant.ChangingQdrant",
    "lancedb": "lance.ChangingLance",
}
"""Module and class of each system."""


def check(engine: ChangingSystem, gone: Sequence[Document], there: Sequence[Document]) -> None:
    """Raise unless a system and a copy of its files answer as they must."""
    with tempfile.TemporaryDirectory(dir=engine.folder.parent) as place:
        copy = type(engine)(Path(place) / "copy")
        shutil.copytree(engine.folder, copy.folder)
        copy.open()
        for opened in (engine, copy):
            for item in gone[:5]:
                if item.number in opened.search(item.vectors):
                    raise RuntimeError(f"document {item.number} is still found.")
            for item in there[:5]:
                if opened.search(item.vectors)[:1] != [item.number]:
                    raise RuntimeError(f"document {item.number} is not found.")
        copy.close()


def run(engine: ChangingSystem, size: int, count: int) -> dict[str, float]:
    """Do everything once; returns what was measured, milliseconds unless named otherwise."""
    rng = np.random.default_rng(1)
    items = documents(range(size), 2)
    order = rng.permutation(size)
    share = size // 100
    gone = [items[n] for n in order[:share]]
    new = documents([int(n) for n in order[share : 2 * share]], 3)
    added = documents(range(size, size + 10), 4)
    sources = [items[n].vectors for n in order[-count:]]
    noise = rng.normal(size=(count, 16, DIM)).astype(np.float32) * 0.06
    queries = [source[:16] + part for source, part in zip(sources, noise, strict=True)]
    queries = [query / np.linalg.norm(query, axis=1, keepdims=True) for query in queries]
    found: dict[str, float] = {}

    def query_times(when: str) -> None:
        for name, field in (("", ""), (", filter of 10 %", "year"), (", filter of 0.1 %", "group")):

            def where_of(number: int, field: str = field) -> dict[str, Any]:
                document = items[int(order[-1 - number])]
                return {field: document.metadata[field]} if field else {}

            def search(number: int, where_of: Callable[..., Any] = where_of) -> list[int]:
                return engine.search(queries[number], where_of(number) or None)

            times, hits = each_ms(search, range(len(queries)))
            full = [
                len({n for n in numbers if Document(n, queries[0]).matches(where_of(number))}) == K
                for number, numbers in enumerate(hits)
            ]
            found[f"query{name}, {when}"] = statistics.median(times)
            found[f"ten of ten{name}, {when}"] = float(np.mean(full))

    found["bulk add, documents/s"] = size / seconds_of(lambda: engine.build(items))
    found["MB on disk, built"] = disk(engine.folder)[1] / 1e6
    check(engine, [], items)
    query_times("built")
    found["delete 1 %"] = 1000 * seconds_of(lambda: engine.delete([item.number for item in gone]))
    check(engine, gone, items[:0])
    found["upsert 1 %"] = 1000 * seconds_of(lambda: engine.upsert(new))
    check(engine, gone, new)
    asked = {items[n].metadata["group"] for n in order[-count:]}
    where = {
        "group": next(g for g in (items[n].metadata["group"] for n in order) if g not in asked)
    }
    found["delete 0.1 % by metadata"] = 1000 * seconds_of(lambda: engine.delete_where(where))
    check(engine, [item for item in items if item.matches(where)], [])
    found["add one document"] = 1000 * float(
        np.median([seconds_of(partial(engine.add, item)) for item in added])
    )
    check(engine, gone, added)
    query_times("changed")
    found["MB on disk, changed"] = disk(engine.folder)[1] / 1e6
    engine.close()
    found["open"] = 1000 * seconds_of(engine.open)
    found["open and first query"] = found["open"] + 1000 * seconds_of(
        lambda: engine.search(queries[0])
    )
    found["compact, s"] = seconds_of(engine.compact)
    check(engine, gone, added)
    query_times("compacted")
    engine.close()
    found["MB on disk, compacted"] = disk(engine.folder)[1] / 1e6
    return found


def worker(name: str, size: int, count: int) -> None:
    """Run one system once and print what was measured as JSON."""
    module, _, kind = SYSTEMS[name].partition(".")
    system: type[ChangingSystem] = getattr(import_module(f"benchmarks.systems.{module}"), kind)
    pin(THREADS, system.environment)
    with tempfile.TemporaryDirectory() as folder:
        found = run(system(Path(folder) / "collection"), size, count)
    print(json.dumps({"version": importlib.metadata.version(system.package), "measured": found}))


def measured(python: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one system once in a process of its own."""
    command = [
        python, "-m", "benchmarks.studies.live", "--worker", name,
        "--documents", str(options.documents), "--queries", str(options.queries),
    ]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Run all systems in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--riv", default=None, metavar="PYTHON")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--worker", choices=SYSTEMS, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.documents, options.queries)
        return
    study = Run.begin("live", options)
    pythons = {
        name: sys.executable if name.startswith("pocket-colbert") else options.riv
        for name in SYSTEMS
    }
    calls = {
        name: partial(measured, python, name, options) for name, python in pythons.items() if python
    }
    rows = [
        {
            "system": name, "version": runs[0]["version"], "documents": options.documents,
            **{
                key: statistics.median(item["measured"][key] for item in runs)
                for key in runs[0]["measured"]
            },
        }
        for name, runs in in_turns(calls, options.rounds, warm_up=0).items()
    ]  # fmt: skip
    print(table(rows))
    study.save(options.json, rows)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return a column for each system."""
    heads = ["ms unless named otherwise"]
    heads += [f"{row['system']} {row['version']}" for row in results]
    keys = [key for key in results[0] if key not in ("system", "version", "documents")]
    return markdown(
        heads,
        [
            (key, *(decimals(row[key], 3 if key.startswith("ten of") else 1) for row in results))
            for key in keys
        ],
    )


if __name__ == "__main__":
    main()
