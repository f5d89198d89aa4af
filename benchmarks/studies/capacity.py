"""What a million documents take on each path: bytes, memory, building, milliseconds, recall.

    python -m benchmarks.studies.capacity DATA/scifact --json benchmarks/results/capacity.json \
        --docs docs/capacity.md benchmarks/README.md

Each path is measured at three sizes, every measurement in a fresh process, and a line is fitted to
each cost, so that what no document costs is not counted as what a document costs. The first
documents are those of DATA, encoded here by the bundled model, those beyond are synthetic, see
`synthetic.py`. Building uses all cores; searches run warm, on one core and on all, with threads
and cores held to that number. Memory is that of the process after its searches: private bytes, and
those of mapped files, which the system may take back (Linux tells them apart, others give neither).
LanceDB and Qdrant hold what the index's 4-bit codes decode to; Qdrant is its engine behind the REST
API of `tests/support/qdrant_server.py`, server and client in one process, its log not counted. The
graph is `DeviceMaxSim` on the CPU's provider. Engines that are not installed are named and left
out.

Prints the tables of the pages, and writes them there: `--docs` puts them between the marks
`<!-- capacity: NAME -->` and `<!-- /capacity -->`. `--from FILE` does so from an earlier run's
JSON.
`--scale 0.02` shows within a minute or two that everything works, and nothing else. Needs 6 GB of
disk in the folder for temporary files.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.capacity_fit import BLOCKS, with_blocks
from benchmarks.harness.capacity_worker import Order
from benchmarks.harness.results import Run, memory_bytes, processor, read_results, versions
from benchmarks.harness.synthetic import Real, write_collection
from benchmarks.studies.backends import size_of
from pocket_colbert import Encoder
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.hardware import usable_cores

POOL_FACTOR = 2
ENCODED_ALONE = 150


@dataclass(frozen=True)
class Group:
    """What is built once at each size, and the paths by which it is searched.

    Attributes:
        family: See `Order`.
        sizes: Numbers of documents.
        paths: Name, mode and the path whose first ten it should find, "" for itself.
        options: Further fields of the orders.
        pooled: Whether token vectors are pooled.
    """

    family: str
    sizes: Sequence[int]
    paths: Sequence[tuple[str, str, str]]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    pooled: bool = False


def groups(scale: float) -> list[Group]:
    """Return everything that is measured."""

    def sizes(smallest: int) -> list[int]:
        number = max(round(smallest * scale), 20)
        return [number, 2 * number, 4 * number]

    most, joined, lance, few = sizes(10_000), sizes(5000), sizes(1000), sizes(500)
    both = [("exact", "exact", ""), ("approximate", "auto", "exact")]

    def paths(name: str, modes: Sequence[tuple[str, str, str]] = both) -> list[Any]:
        return [(f"{name}, {m}", mode, of and f"{name}, {of}") for m, mode, of in modes]

    found = [
        Group("index", most, paths("index", both[:1])),
        Group("index", most, paths("index", both[1:]), {"inverted": "auto"}),
        Group("index", most, paths("index pooled by 2"), {"inverted": "auto"}, pooled=True),
        Group(
            "joined",
            joined,
            paths(f"{joined[2] // joined[0]} joined indexes"),
            {"inverted": "auto", "part": joined[0]},
        ),
    ]
    for datatype in ("float32", "float16"):
        name, options = f"LanceDB {datatype}", {"datatype": datatype}
        found.append(Group("lance", lance, paths(name, both[:1]), options))
        approximate = options | {"approximate": True}
        found.append(Group("lance", lance, paths(name, both[1:]), approximate))
    for datatype in ("float32", "float16"):
        name, options = f"Qdrant {datatype}", {"datatype": datatype}
        found.append(Group("qdrant", few, paths(name, both[:1]), options))
    found.append(
        Group("graph", few, [("MaxSim graph float16, CPU", "exact", "")], {"datatype": "float16"})
    )
    return found


def encode(folder: Path, count: int, cores: int) -> tuple[list[Real], list[Any], dict[str, float]]:
    """Encode documents and queries of a BEIR folder; returns them and documents a second."""
    data = read_beir(folder)
    documents = data.documents[:count]
    speeds = {}
    for name, threads, part in (
        ("one_core", 1, documents[:ENCODED_ALONE]), ("all_cores", cores, documents),
    ):  # fmt: skip
        encoder = Encoder.load(threads=threads)
        texts, titles = [item.text or "" for item in part], [item.title for item in part]
        encoder.encode_passages(texts[:8], titles=titles[:8])
        started = time.perf_counter()
        encoded = encoder.encode_passages(texts, titles=titles)
        seconds = time.perf_counter() - started
        speeds[f"documents_per_second_{name}"] = len(part) / seconds
    real = [Real(*item) for item in zip(texts, titles, encoded, strict=True)]
    asked = list(data.queries.values())
    every = np.linspace(0, len(asked) - 1, 20).astype(int)
    return real, encoder.encode_query([asked[n] for n in every]), speeds


def about(name: str, real: Sequence[Real], pooled: Sequence[Real], size: int) -> dict[str, Any]:
    """Say what the documents are like; synthetic ones resemble them."""
    passages = [item.embedding for found in real for item in found.passages]
    tokens = sum(map(len, passages))
    less = sum(len(item.embedding) for found in pooled for item in found.passages)
    return {
        "name": name, "model": "small", "real": len(real), "documents": size,
        "dim": passages[0].shape[1], "passages_per_document": len(passages) / len(real),
        "tokens_per_document": tokens / len(real), "tokens_per_passage": tokens / len(passages),
        "pooled_tokens_per_document": less / len(real),
        "characters_per_document": float(np.mean([len(found.text) for found in real])),
    }  # fmt: skip


class Measuring:
    """Builds and searches, group by group.

    Attributes:
        paths: What was measured, as `capacity_fit` takes it.
    """

    def __init__(self, place: Path, options: argparse.Namespace, cores: int) -> None:
        self.paths: list[dict[str, Any]] = []
        self._place = place
        self._options = options
        self._cores = cores
        self._hits: dict[tuple[str, int], list[list[str]]] = {}

    def measure(self, group: Group) -> None:
        """Measure a group at its sizes."""
        points: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in group.paths}
        order = Order(
            "build", group.family, str(self._place / "built"),
            str(self._place / ("pooled" if group.pooled else "plain")), 0, 0, self._cores,
            str(self._place / "queries.npz"), self._options.seconds, **group.options,
        )  # fmt: skip
        built: dict[str, Any] = {}
        for first, last in zip((0, *group.sizes), group.sizes, strict=False):
            order = replace(order, first=first, last=last)
            if group.family in ("lance", "qdrant"):
                shutil.rmtree(order.place, ignore_errors=True)
                built = replace(order, collection=self._source(order)).run()
            elif group.family != "graph":
                step = order.run()
                built = {
                    "build_seconds": built.get("build_seconds", 0) + step["build_seconds"],
                    "build_peak_bytes": max(
                        built.get("build_peak_bytes", 0), step["build_peak_bytes"]
                    ),
                }
            for name, mode, reference in group.paths:
                point = self._searched(replace(order, action="search", mode=mode), name, reference)
                points[name].append({"documents": last} | built | point)
                print(name, json.dumps(points[name][-1]), file=sys.stderr, flush=True)
        shutil.rmtree(order.place, ignore_errors=True)
        self.paths += [{"name": name, "points": found} for name, found in points.items()]

    def _source(self, order: Order) -> str:
        """Return an index of the documents for an engine to be filled from."""
        folder = self._place / f"source-{order.last}"
        if not folder.exists():
            replace(order, family="index", place=str(folder), first=0).run()
        return str(folder)

    def _searched(self, order: Order, name: str, reference: str) -> dict[str, Any]:
        """Search on one core and on all."""
        one, every = (replace(order, threads=threads).run() for threads in (1, self._cores))
        hits = self._hits[name, order.last] = max(one["hits"], every["hits"], key=len)
        found = {
            key: every[key]
            for key in ("private_bytes", "file_bytes", "build_seconds") if key in every
        } | {"ms_one": one["ms"], "ms_all": every["ms"], "queries": len(every["hits"])}  # fmt: skip
        if order.family != "graph":
            found["disk_bytes"] = size_of(Path(order.place))
        if reference:
            pairs = list(zip(hits, self._hits[reference, order.last], strict=False))
            same = [len(set(a) & set(b)) / len(b) for a, b in pairs]
            found["first_10_as_exact"] = float(np.mean(same))
        return found


def available(group: Group) -> bool:
    """Say whether the group's engine is installed; tell if not."""
    needed = {"lance": "lancedb", "qdrant": "qdrant_edge"}.get(group.family)
    if needed is None or importlib.util.find_spec(needed):
        return True
    print(f"left out, {needed} is not installed: {group.paths[0][0]}", file=sys.stderr)
    return False


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything."""
    cores = usable_cores()
    wanted = [group for group in groups(options.scale) if available(group)]
    size = max(max(group.sizes) for group in wanted)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        real, queries, speeds = encode(options.dataset, options.documents, cores)
        pooled = [item.pooled(POOL_FACTOR) for item in real]
        found = about(options.dataset.name, real, pooled, size)
        write_collection(place / "plain", real, size)
        write_collection(place / "pooled", pooled, size)
        np.savez(place / "queries.npz", *queries)
        real.clear()
        pooled.clear()
        measuring = Measuring(place, options, cores)
        for group in wanted:
            measuring.measure(group)
    return {
        "machine": processor(), "cores": cores, "memory_bytes": memory_bytes(),
        "versions": versions(), "collection": found, "encoding": speeds,
        "paths": measuring.paths,
    }  # fmt: skip


def main() -> None:
    """Measure, or read what was measured; print the tables and put them into pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, nargs="?", help="a BEIR folder")
    parser.add_argument("--from", type=Path, dest="earlier", help="JSON of an earlier run")
    parser.add_argument("--documents", type=int, default=1500, help="real ones to encode")
    parser.add_argument("--scale", type=float, default=1.0, help="of the sizes, to try it out")
    parser.add_argument("--seconds", type=float, default=8.0, help="for the queries of a search")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    if (options.dataset is None) == (options.earlier is None):
        parser.error("give a dataset or --from, and not both.")
    run = Run.begin("capacity", options)
    earlier = options.earlier
    results = read_results(earlier)["results"] if earlier else measured(options)
    print(table(results))
    run.save(options.json, results)
    for page in options.docs:
        text = page.read_text(encoding="utf-8")
        page.write_text(with_blocks(text, results), encoding="utf-8")


def table(results: dict[str, Any]) -> str:
    """Return all blocks of the pages, under their names."""
    return "\n\n".join(f"{name}\n\n{block(results)}" for name, block in BLOCKS.items())


if __name__ == "__main__":
    main()
