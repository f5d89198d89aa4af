"""A collection that changes: adding, deleting, replacing, filtering and compacting, beside rivals.

    python -m benchmarks.studies.live --riv RIV/bin/python --json benchmarks/results/live.json

Documents are synthetic: 20 to 30 unit vectors near the centres of clusters in a cone, seeded, with
a year (ten of them, so that one is 10 % of all) and a group (a thousand, 0.1 %). Each system runs
in a process of its own, on two threads and two cores, `--rounds` times; the table has medians. All
search is exact, but for "auto", which is pocket-colbert's default with its inverted file. RIV is
the environment of that name in `rivals.py`.

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
import datetime
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.systems.rivals import BATCH_DOCUMENTS, disk, pin

DIM, YEARS, GROUPS, K = 96, 10, 1000, 10
THREADS = 2
Where = dict[str, Any]
"""The name of a field and what it must equal."""


@dataclass(frozen=True)
class Document:
    """A document of the collection."""

    number: int
    vectors: NDArray[np.float32]

    @property
    def metadata(self) -> dict[str, Any]:
        """Return its year and group."""
        return {
            "year": 2016 + self.number % YEARS,
            "group": f"g{self.number // YEARS % GROUPS}",
        }

    def matches(self, where: Where) -> bool:
        """Say whether its metadata is as a filter wants it."""
        return all(self.metadata[name] == value for name, value in where.items())


def documents(numbers: Sequence[int], seed: int) -> list[Document]:
    """Make documents; other seeds make other vectors around the same centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4096, DIM)) + rng.normal(size=DIM)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 31, size=len(numbers))
    tokens = np.empty((int(lengths.sum()), DIM), np.float32)
    for first in range(0, len(tokens), 100_000):
        part = tokens[first : first + 100_000]
        part[:] = centres[rng.integers(len(centres), size=len(part))]
        part += rng.normal(size=part.shape).astype(np.float32) * 0.5
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    parts = np.split(tokens, np.cumsum(lengths)[:-1])
    return [Document(number, part) for number, part in zip(numbers, parts, strict=True)]


class Engine:
    """A system under test; every change is durable when its method returns."""

    package: ClassVar[str]
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, items: Sequence[Document]) -> None:
        """Make a new collection and leave it open."""
        raise NotImplementedError

    def open(self) -> None:
        """Open the collection."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        raise NotImplementedError

    def add(self, item: Document) -> None:
        """Add one document."""
        raise NotImplementedError

    def upsert(self, items: Sequence[Document]) -> None:
        """Replace documents."""
        raise NotImplementedError

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete documents by their numbers."""
        raise NotImplementedError

    def delete_where(self, where: Where) -> None:
        """Delete documents by their metadata."""
        raise NotImplementedError

    def compact(self) -> None:
        """Give room back."""
        raise NotImplementedError

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        raise NotImplementedError


class Ours(Engine):
    """pocket-colbert with the default codes and exact search."""

    package = "pocket-colbert"
    mode: ClassVar[Literal["exact", "auto"]] = "exact"
    inverted_file: ClassVar[Literal["never", "auto"]] = "never"

    def build(self, items: Sequence[Document]) -> None:
        """Make a new index, one commit."""
        from pocket_colbert import Index, IndexConfig

        config = IndexConfig(dim=DIM, inverted_file=self.inverted_file)
        self.index = Index.create(self.folder, config, threads=THREADS)
        for batch in batches(items):
            self._change(self.index.add, batch)
        self.index.commit()

    def _change(self, change: Callable[..., None], items: Sequence[Document]) -> None:
        change(
            [str(item.number) for item in items],
            [item.vectors for item in items],
            metadata=[item.metadata for item in items],
        )

    def open(self) -> None:
        """Open for writing."""
        from pocket_colbert import Index

        self.index = Index.load(self.folder, writable=True, threads=THREADS)

    def close(self) -> None:
        """Close it."""
        self.index.close()

    def add(self, item: Document) -> None:
        """Add and commit."""
        self._change(self.index.add, [item])
        self.index.commit()

    def upsert(self, items: Sequence[Document]) -> None:
        """Upsert and commit."""
        self._change(self.index.upsert, items)
        self.index.commit()

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete and commit."""
        self.index.delete(map(str, numbers))
        self.index.commit()

    def delete_where(self, where: Where) -> None:
        """Search for all that match, delete, commit."""
        any_query = np.ones((1, DIM), np.float32) / np.float32(DIM**0.5)
        hits = self.index.search([any_query], len(self.index), where=where)[0]
        self.index.delete(hit.document_id for hit in hits)
        self.index.commit()

    def compact(self) -> None:
        """Compact."""
        self.index.compact()

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        from pocket_colbert import SearchParameters

        parameters = SearchParameters(mode=self.mode)
        (hits,) = self.index.search([query], K, parameters=parameters, where=where)
        return [int(hit.document_id) for hit in hits]


class OursAuto(Ours):
    """pocket-colbert with all defaults."""

    mode = "auto"
    inverted_file = "auto"


class Qdrant(Engine):
    """Qdrant's engine in this process, set up as in `rivals.py`."""

    package = "qdrant-edge-py"

    def __init__(self, folder: Path) -> None:
        import qdrant_edge

        super().__init__(folder)
        self.engine = qdrant_edge

    def build(self, items: Sequence[Document]) -> None:
        """Add in as many segments as threads, optimize and flush."""
        engine = self.engine
        hnsw = engine.HnswIndexConfig(
            m=0, ef_construct=100, full_scan_threshold=10, max_indexing_threads=THREADS
        )
        vectors = engine.EdgeVectorParams(
            size=DIM,
            distance=engine.Distance.Dot,
            multivector_config=engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim),
            datatype=engine.VectorStorageDatatype.Float16,
            hnsw_config=hnsw,
            memory=engine.Memory.Cached,
        )
        optimizers = engine.EdgeOptimizersConfig(
            indexing_threshold=1,
            default_segment_number=THREADS + 1,  # one is open for additions
            deleted_threshold=0.001,
            vacuum_min_vector_number=1,
        )
        self.folder.mkdir()
        self.shard = engine.EdgeShard.create(
            str(self.folder),
            engine.EdgeConfig(
                vectors=vectors, optimizers=optimizers, max_search_threads=THREADS,
                wal_enabled=False,
            ),
        )  # fmt: skip
        for name, kind in (("year", "Integer"), ("group", "Keyword")):
            schema = getattr(engine.PayloadSchemaType, kind)
            self.shard.update(engine.UpdateOperation.create_field_index(name, schema))
        half = len(items) // THREADS + 1
        for first in range(0, len(items), half):
            for batch in batches(items[first : first + half]):
                self._put(batch)
            self.shard.optimize()
        self.shard.flush()

    def _put(self, items: Sequence[Document]) -> None:
        points = [self.engine.Point(i.number, i.vectors.tolist(), i.metadata) for i in items]
        self.shard.update(self.engine.UpdateOperation.upsert_points(points))

    def open(self) -> None:
        """Load the shard."""
        self.shard = self.engine.EdgeShard.load(str(self.folder))

    def close(self) -> None:
        """Close it."""
        self.shard.close()

    def add(self, item: Document) -> None:
        """Upsert and flush."""
        self.upsert([item])

    def upsert(self, items: Sequence[Document]) -> None:
        """Upsert and flush."""
        for batch in batches(items):
            self._put(batch)
        self.shard.flush()

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete and flush."""
        self.shard.update(self.engine.UpdateOperation.delete_points(list(numbers)))
        self.shard.flush()

    def delete_where(self, where: Where) -> None:
        """Delete by filter and flush."""
        operation = self.engine.UpdateOperation.delete_points_by_filter(self._filter(where))
        self.shard.update(operation)
        self.shard.flush()

    def _filter(self, where: Where) -> Any:
        engine = self.engine
        return engine.Filter(
            must=[engine.FieldCondition(n, match=engine.MatchValue(v)) for n, v in where.items()]
        )

    def compact(self) -> None:
        """Optimize and flush."""
        self.shard.optimize()
        self.shard.flush()

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        request = self.engine.QueryRequest(
            limit=K,
            query=self.engine.Query.Nearest(query.tolist()),
            params=self.engine.SearchParams(exact=True),
            filter=self._filter(where) if where else None,
        )
        return [point.id for point in self.shard.query(request)]


class Lance(Engine):
    """LanceDB without an index of the vectors."""

    package = "lancedb"
    environment: ClassVar[dict[str, str]] = {"LANCE_LOG": "error"}

    def __init__(self, folder: Path) -> None:
        import lancedb
        import pyarrow

        super().__init__(folder)
        self.engine, self.arrow = lancedb, pyarrow
        vector = pyarrow.list_(pyarrow.list_(pyarrow.float32(), DIM))
        self.schema = pyarrow.schema([
            ("number", pyarrow.int32()), ("year", pyarrow.int32()), ("group", pyarrow.string()),
            ("vector", vector),
        ])  # fmt: skip

    def build(self, items: Sequence[Document]) -> None:
        """Write a table and index the other columns."""
        from lancedb.index import BTree

        self.table = self.engine.connect(self.folder).create_table(
            "documents", data=map(self._batch, batches(items)), schema=self.schema
        )
        for name in ("number", "year", "group"):
            self.table.create_index(name, config=BTree())

    def _batch(self, items: Sequence[Document]) -> Any:
        arrow = self.arrow
        rows = np.concatenate([item.vectors for item in items])
        starts = np.cumsum([0, *(len(item.vectors) for item in items)]).astype(np.int32)
        flat = arrow.FixedSizeListArray.from_arrays(rows.reshape(-1), DIM)
        columns = [
            arrow.array([item.number for item in items], arrow.int32()),
            arrow.array([item.metadata["year"] for item in items], arrow.int32()),
            arrow.array([item.metadata["group"] for item in items]),
            arrow.ListArray.from_arrays(arrow.array(starts), flat),
        ]
        return arrow.record_batch(columns, schema=self.schema)

    def open(self) -> None:
        """Open the table."""
        self.table = self.engine.connect(self.folder).open_table("documents")

    def close(self) -> None:
        """Forget the table."""
        del self.table

    def add(self, item: Document) -> None:
        """Add a version with one row more."""
        self.table.add(self.arrow.Table.from_batches([self._batch([item])]))

    def upsert(self, items: Sequence[Document]) -> None:
        """Merge rows."""
        merge = self.table.merge_insert("number")
        merge = merge.when_matched_update_all().when_not_matched_insert_all()
        merge.execute(self.arrow.Table.from_batches([self._batch(items)]))

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete rows."""
        self.table.delete(f"number IN ({', '.join(map(str, numbers))})")

    def delete_where(self, where: Where) -> None:
        """Delete rows."""
        self.table.delete(self._filter(where))

    def _filter(self, where: Where) -> str:
        return " AND ".join(f"`{name}` = {value!r}" for name, value in where.items())

    def compact(self) -> None:
        """Optimize, and drop all versions but the last."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.table.optimize(cleanup_older_than=datetime.timedelta(0))

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        request = self.table.search(query, vector_column_name="vector").distance_type("cosine")
        if where:
            request = request.where(self._filter(where), prefilter=True)
        found = request.limit(K).select(["number", "_distance"]).to_arrow()
        return list(found["number"].to_pylist())


SYSTEMS: dict[str, type[Engine]] = {
    "pocket-colbert": Ours,
    "pocket-colbert auto": OursAuto,
    "qdrant-edge": Qdrant,
    "lancedb": Lance,
}


def batches(items: Sequence[Document]) -> Iterable[Sequence[Document]]:
    """Return runs of a bounded length."""
    for first in range(0, len(items), BATCH_DOCUMENTS):
        yield items[first : first + BATCH_DOCUMENTS]


def timed(action: Callable[[], object]) -> float:
    """Return the seconds something takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def check(engine: Engine, gone: Sequence[Document], there: Sequence[Document]) -> None:
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


def run(engine: Engine, size: int, count: int) -> dict[str, float]:
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
            times, full = [], []
            for number, query in enumerate(queries):
                where = {field: items[int(order[-1 - number])].metadata[field]} if field else None
                if not number:
                    engine.search(query, where)  # the first one pays for what is lazily made
                started = time.perf_counter()
                hits = engine.search(query, where)
                times.append(1000 * (time.perf_counter() - started))
                right = [n for n in hits if Document(n, query).matches(where or {})]
                full.append(len(set(right)) == K)
            found[f"query{name}, {when}"] = float(np.median(times))
            found[f"ten of ten{name}, {when}"] = float(np.mean(full))

    found["bulk add, documents/s"] = size / timed(lambda: engine.build(items))
    found["MB on disk, built"] = disk(engine.folder)[1] / 1e6
    check(engine, [], items)
    query_times("built")
    found["delete 1 %"] = 1000 * timed(lambda: engine.delete([item.number for item in gone]))
    check(engine, gone, items[:0])
    found["upsert 1 %"] = 1000 * timed(lambda: engine.upsert(new))
    check(engine, gone, new)
    asked = {items[n].metadata["group"] for n in order[-count:]}
    where = {
        "group": next(g for g in (items[n].metadata["group"] for n in order) if g not in asked)
    }
    found["delete 0.1 % by metadata"] = 1000 * timed(lambda: engine.delete_where(where))
    check(engine, [item for item in items if item.matches(where)], [])
    found["add one document"] = 1000 * float(
        np.median([timed(partial(engine.add, item)) for item in added])
    )
    check(engine, gone, added)
    query_times("changed")
    found["MB on disk, changed"] = disk(engine.folder)[1] / 1e6
    engine.close()
    found["open"] = 1000 * timed(engine.open)
    found["open and first query"] = found["open"] + 1000 * timed(lambda: engine.search(queries[0]))
    found["compact, s"] = timed(engine.compact)
    check(engine, gone, added)
    query_times("compacted")
    engine.close()
    found["MB on disk, compacted"] = disk(engine.folder)[1] / 1e6
    return found


def worker(name: str, size: int, count: int) -> None:
    """Run one system once and print what was measured as JSON."""
    kind = SYSTEMS[name]
    pin(kind, THREADS)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as place:
        found = run(kind(Path(place) / "collection"), size, count)
    print(json.dumps({"version": importlib.metadata.version(kind.package), "measured": found}))


def main() -> None:
    """Run all systems in turns, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    results: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.rounds):
        for name, kind in SYSTEMS.items():
            python = sys.executable if issubclass(kind, Ours) else options.riv
            if not python:
                continue
            command = [
                python, "-m", "benchmarks.studies.live", "--worker", name,
                "--documents", str(options.documents), "--queries", str(options.queries),
            ]  # fmt: skip
            folder = Path(__file__).parents[2]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=folder)
            results.setdefault(name, []).append(json.loads(done.stdout))
    rows = [
        {
            "system": name, "version": runs[0]["version"], "documents": options.documents,
            **{
                key: float(np.median([item["measured"][key] for item in runs]))
                for key in runs[0]["measured"]
            },
        }
        for name, runs in results.items()
    ]  # fmt: skip
    names = [f"{row['system']} {row['version']}" for row in rows]
    print("| ms unless named otherwise | " + " | ".join(names) + " |")
    print("|---" * (len(rows) + 1) + "|")
    for key in list(rows[0])[3:]:
        digits = 3 if key.startswith("ten of") else 1
        print(f"| {key} | " + " | ".join(f"{row[key]:.{digits}f}" for row in rows) + " |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
