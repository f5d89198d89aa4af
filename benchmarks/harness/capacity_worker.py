"""One measurement of `benchmarks.studies.capacity`, in its own process; prints a line of JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.process import THREAD_VARIABLES, take_peak
from benchmarks.harness.synthetic import read_collection
from benchmarks.harness.timing import each_ms
from pocket_colbert import Index, IndexConfig, MultiIndex, SearchParameters
from pocket_colbert.ingest.incremental import Pace

K = 10
WARM_UP = 2
LEAST_QUERIES = 3
Search = Callable[[NDArray[np.float32]], list[str]]


@dataclass(frozen=True)
class Order:
    """What a process is to do.

    Attributes:
        action: "build" or "search".
        family: "index", "joined", "lance", "qdrant" or "graph".
        place: Folder of what is built.
        collection: Folder of a collection, see `synthetic.py`.
        first: First document to add; what was before is there already.
        last: The one after the last; also how many documents are searched.
        threads: Threads and cores.
        queries: An .npz file of query token vectors.
        seconds: When to stop asking; at least `LEAST_QUERIES` queries are asked.
        inverted: `IndexConfig.inverted_file`.
        mode: `SearchParameters.mode`.
        datatype: Of a store or of the graph.
        approximate: Whether a store has an index over token vectors.
        part: Documents of one of several joined indexes.
    """

    action: str
    family: str
    place: str
    collection: str
    first: int
    last: int
    threads: int
    queries: str
    seconds: float
    inverted: str = "never"
    mode: str = "exact"
    datatype: str = "float32"
    approximate: bool = False
    part: int = 0

    def run(self) -> dict[str, Any]:
        """Carry it out in a new process, on that many threads and cores."""
        text = json.dumps(dataclasses.asdict(self))
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.harness.capacity_worker", text],
            env=os.environ | dict.fromkeys(THREAD_VARIABLES, str(self.threads)),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{self} ended with {done.returncode}: {done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def memory() -> dict[str, int]:
    """Return this process's private bytes, and those of files that it has mapped; {} off Linux."""
    status = Path("/proc/self/status")
    text = status.read_text(encoding="ascii") if status.exists() else ""
    names = (("private_bytes", "RssAnon"), ("file_bytes", "RssFile"))
    found = {key: re.search(rf"{name}:\s+(\d+) kB", text) for key, name in names}
    return {key: int(match[1]) * 1024 for key, match in found.items() if match}


def fill(folder: Path, order: Order, first: int, last: int) -> None:
    """Add documents to an index, made if it is not there, at `pocket-colbert index`'s pace."""
    with ExitStack() as stack:
        index: Index | None = None
        if folder.exists():
            index = stack.enter_context(Index.load(folder, writable=True, threads=order.threads))
        waiting = 0
        for batch in read_collection(Path(order.collection), first, last):
            if index is None:
                dim = batch.passages[0][0].embedding.shape[1]
                config = IndexConfig(dim=dim, inverted_file=order.inverted)
                index = stack.enter_context(Index.create(folder, config, threads=order.threads))
            index.add(batch.ids, batch.passages, texts=batch.texts, titles=batch.titles)
            waiting += batch.num_tokens
            if waiting >= Pace().tokens:
                index.commit()
                waiting = 0
        if index is not None:
            index.commit(last=True)


@contextmanager
def address_of(order: Order, *, new: bool) -> Iterator[tuple[str, Any]]:
    """Give the address of a store, and what serves it where something has to."""
    place = Path(order.place)
    if order.family == "lance":
        yield f"lance://{place}/papers", None
        return
    import qdrant_edge

    from benchmarks.studies.backends import qdrant

    with qdrant(place) as (address, server):
        if not new:
            server.shards["papers"] = qdrant_edge.EdgeShard.load(str(place / "papers"))
        yield address, server
        server.shards["papers"].close()


def build(order: Order) -> dict[str, Any]:
    """Build what is searched; returns seconds and bytes."""
    place = Path(order.place)
    take_peak()
    started = time.perf_counter()
    if order.family == "index":
        fill(place, order, order.first, order.last)
    elif order.family == "joined":
        for first in range(order.first, order.last, order.part):
            fill(place / f"{first}.index", order, first, first + order.part)
    else:
        from benchmarks.studies.backends import KEY
        from pocket_colbert.backends import push

        source = Path(order.collection)
        with (
            address_of(order, new=True) as (address, server),
            Index.load(source, threads=order.threads) as index,
        ):
            started = time.perf_counter()
            push(
                index, address, datatype=order.datatype, approximate=order.approximate, api_key=KEY
            )
            if server is not None:
                server.shards["papers"].optimize()
                server.shards["papers"].flush()
    return {"build_seconds": time.perf_counter() - started, "build_peak_bytes": take_peak()}


@contextmanager
def opened(order: Order) -> Iterator[tuple[Search, dict[str, Any]]]:
    """Give a search for the ids of the first ten documents, and what is known of it already."""
    parameters = SearchParameters(mode=order.mode)
    place, found = Path(order.place), {}
    with ExitStack() as stack:
        if order.family == "graph":
            from pocket_colbert import DeviceMaxSim

            started = time.perf_counter()
            batches = read_collection(Path(order.collection), 0, order.last)
            documents = chain.from_iterable(batch.passages for batch in batches)
            passages = [item.embedding for passages in documents for item in passages]
            scorer = DeviceMaxSim(passages, provider="cpu", dtype=order.datatype)
            found["build_seconds"] = time.perf_counter() - started
            passages.clear()

            def score(query: NDArray[np.float32]) -> list[str]:
                return [str(n) for n in np.argsort(-scorer(query))[:K]]

            yield score, found
            return
        store: Any
        if order.family == "index":
            store = stack.enter_context(Index.load(place, threads=order.threads))
        elif order.family == "joined":
            folders = [place / f"{n}.index" for n in range(0, order.last, order.part)]
            store = stack.enter_context(MultiIndex.load(folders, threads=order.threads))
        else:
            from benchmarks.studies.backends import KEY
            from pocket_colbert.backends import open_backend

            address, _ = stack.enter_context(address_of(order, new=False))
            store = stack.enter_context(open_backend(address, api_key=KEY))

        def search(query: NDArray[np.float32]) -> list[str]:
            return [h.document_id for h in store.search([query], K, parameters=parameters)[0]]

        yield search, found


def search(order: Order) -> dict[str, Any]:
    """Search; returns the median of milliseconds, hits and memory."""
    with np.load(order.queries) as file:
        queries = [file[name] for name in file.files]
    with opened(order) as (ask, found):
        times, hits = each_ms(
            ask, queries, warm_up=WARM_UP, least=LEAST_QUERIES, seconds=order.seconds
        )
        return found | memory() | {"ms": statistics.median(times), "hits": hits}


def main() -> None:
    """Do what the order says."""
    order = Order(**json.loads(sys.argv[1]))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: order.threads])
    print(json.dumps(build(order) if order.action == "build" else search(order)))


if __name__ == "__main__":
    main()
