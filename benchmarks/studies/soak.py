"""Read and write one index for a while, from several processes and threads; nothing may go wrong.

    python -m benchmarks.studies.soak --minutes 5

A writer adds, replaces, deletes, commits and compacts at random and knows what there must be.
Readers refresh and search in every way; a hit's text must belong to its id and version, no id may
come twice, and filters must hold. At the end all see the same documents. The memory of every
process, the median around a fifth of the time and at the end, must not creep up.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Document, Index, IndexConfig, SearchParameters

DIM = 32
FEWEST, MOST = 300, 600
FIRST = 100
"""Version that the writer begins with."""
WORDS = "amber birch cedar dune ember fjord grove heath islet jetty knoll ledge marsh".split()
SEARCHES = {
    "exact": SearchParameters(mode="exact"),
    "approximate": SearchParameters(mode="approximate", candidates=20),
    "filtered": SearchParameters(),
    "hybrid": SearchParameters(hybrid="rrf"),
}

Model = dict[str, int]
"""Versions by id, in the order of the documents."""


def text_of(document_id: str, version: int) -> str:
    """Return the text that a document must have."""
    return f"{document_id} as of {version} {WORDS[version % len(WORDS)]}"


def vectors(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    """Return random unit vectors (rows, DIM) float32."""
    values = rng.normal(size=(rows, DIM))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)


def check(document_id: str, text: str | None, version: Any) -> None:
    """Raise unless a text is that of an id and a version."""
    if text != text_of(document_id, version):
        raise AssertionError(f"{document_id!r} of version {version!r} has the text {text!r}")


def contents(documents: list[Document]) -> Model:
    """Return what an index holds, once every document is known to be as it must."""
    for document in documents:
        check(document.document_id, document.text, document.metadata["version"])
    found = {document.document_id: document.metadata["version"] for document in documents}
    if len(found) < len(documents):
        raise AssertionError("a document is there twice")
    return found


class Memory(threading.Thread):
    """Notes the resident memory of its process a few times a second, where /proc tells it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(daemon=True)
        self._seconds = seconds
        self._noted: list[float] = []

    def run(self) -> None:
        """Note it until the time is up."""
        status, end = Path("/proc/self/statm"), time.monotonic() + self._seconds
        while status.is_file() and time.monotonic() < end:
            pages = int(status.read_text().split()[1])
            self._noted.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            time.sleep(self._seconds / 200)

    def summary(self) -> tuple[float, float]:
        """Return megabytes around a fifth of the time and over its last tenth."""
        count = len(self._noted)
        early, late = self._noted[count * 3 // 20 : count // 4], self._noted[count * 9 // 10 :]
        return (float(np.median(early)), float(np.median(late))) if early else (0.0, 0.0)


def write(folder: Path, seconds: float, seed: int, pipe: Connection) -> None:
    """Change the index until the time is up, then say what it must hold."""
    rng, counts = np.random.default_rng(seed), Counter[str]()
    memory, end = Memory(seconds), time.monotonic() + seconds
    memory.start()
    with Index.load(folder, writable=True, threads=1) as index:
        model = contents(list(index))
        while time.monotonic() < end:
            for _ in range(rng.integers(1, 5)):
                counts[change(index, model, rng, FIRST + sum(counts.values()))] += 1
            if rng.random() < 0.1:
                index.compact(int(rng.choice([2_000, 1_000_000])))
                counts["compact"] += 1
            else:
                index.commit()
                counts["commit"] += 1
            time.sleep(0.01)
        index.commit()
        if list(contents(list(index)).items()) != list(model.items()):
            raise AssertionError("the writer's index is not what it must be")
    pipe.send((model, counts, memory.summary()))


def change(index: Index, model: Model, rng: np.random.Generator, version: int) -> str:
    """Add, replace or delete some documents, in the index and in its model."""
    names = list(model)
    if len(names) < FEWEST + 20 or (len(names) < MOST - 40 and rng.random() < 0.4):
        kind, ids = "add", [f"d{version}-{n}" for n in range(rng.integers(1, 40))]
    else:
        kind = "upsert" if rng.random() < 0.5 else "delete"
        ids = [names[n] for n in rng.permutation(len(names))[: rng.integers(1, 20)]]
    for document_id in ids:
        model.pop(document_id, None)
    if kind == "delete":
        if index.delete(ids) != len(ids):
            raise AssertionError("not all were there to be deleted")
        return kind
    put: Callable[..., None] = index.add if kind == "add" else index.upsert
    put(
        ids, [vectors(rng, int(rng.integers(1, 12))) for _ in ids],
        texts=[text_of(document_id, version) for document_id in ids],
        metadata=[{"version": version}] * len(ids),
    )  # fmt: skip
    model.update(dict.fromkeys(ids, version))
    return kind


def read(folder: Path, seconds: float, seed: int, threads: int, pipe: Connection) -> None:
    """Search from several threads until the time is up, then say what there is."""
    counts, problems = Counter[str](), list[str]()
    memory, end = Memory(seconds), time.monotonic() + seconds
    memory.start()
    with Index.load(folder, threads=1) as index:

        def search_until_the_end(number: int) -> None:
            rng = np.random.default_rng([seed, number])
            try:
                while time.monotonic() < end and not problems:
                    counts[search(index, rng)] += 1
            except Exception:
                problems.append(traceback.format_exc())

        started = [threading.Thread(target=search_until_the_end, args=(n,)) for n in range(threads)]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
        if problems:
            raise AssertionError(problems[0])
        pipe.recv()  # the writer has come to its end
        index.refresh()
        pipe.send((contents(list(index)), counts, memory.summary()))


def search(index: Index, rng: np.random.Generator) -> str:
    """Search in one way, or refresh; check what comes back."""
    if rng.random() < 0.1:
        index.refresh()
        snapshot = index.snapshot
        found = contents(list(snapshot))
        if not len(found) == len(snapshot) or not FEWEST <= len(found) <= MOST:
            raise AssertionError(f"{len(found)} documents in a snapshot of {len(snapshot)}")
        return "refresh"
    kind = str(rng.choice(list(SEARCHES)))
    least = int(rng.integers(200))
    hits = index.search(
        [vectors(rng, 4)], 10, parameters=SEARCHES[kind],
        where={"version": {"$gte": least}} if kind == "filtered" else None,
        texts=[f"{rng.choice(WORDS)} {rng.choice(WORDS)}"] if kind == "hybrid" else None,
    )[0]  # fmt: skip
    for hit in hits:
        check(hit.document_id, hit.text, hit.metadata["version"])
        if kind == "filtered" and hit.metadata["version"] < least:
            raise AssertionError(f"{hit} has a version below {least}")
    if len({hit.document_id for hit in hits}) < len(hits):
        raise AssertionError(f"a document is found twice: {hits}")
    if kind != "filtered" and len(hits) != 10:
        raise AssertionError(f"{len(hits)} hits, not 10, from a {kind} search")
    return kind


def work(function: Callable[..., None], *arguments: Any) -> None:
    """Run a process; what goes wrong is sent to the one that started it."""
    try:
        function(*arguments)
    except (Exception, KeyboardInterrupt):
        arguments[-1].send(traceback.format_exc())


def main() -> None:
    """Start all processes, compare what they say at the end, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=3, help="of each reader")
    parser.add_argument("--growth", type=float, default=15.0, help="per cent of memory allowed")
    parser.add_argument("--folder", type=Path, help="a new folder for the index")
    arguments = parser.parse_args()
    seconds = arguments.minutes * 60
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "index"
        config = IndexConfig(dim=DIM, inverted_file="always")
        with Index.create(folder, config, threads=1) as index:
            rng, model = np.random.default_rng(0), Model()
            for version in range(FIRST):
                if len(model) < (FEWEST + MOST) // 2:
                    change(index, model, rng, version)
            index.commit()
        jobs = {"writer": (write, folder, seconds, 0)} | {
            f"reader {n}": (read, folder, seconds, n, arguments.threads)
            for n in range(1, arguments.readers + 1)
        }
        failed = run(jobs, arguments.growth)
    sys.exit(failed)


def run(jobs: dict[str, tuple[Any, ...]], growth: float) -> int:
    """Run processes to their end, print what they say, and return 1 if something went wrong."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name, job in jobs.items():
        pipes[name], other = context.Pipe()
        processes.append(context.Process(target=work, args=(*job, other)))
        processes[-1].start()
        other.close()
    model, failed = None, 0
    print("process    MB at 20%  MB at end  growth  documents  done")
    for name, pipe in pipes.items():
        if name != "writer":
            pipe.send("finished")
        try:
            said = pipe.recv()
        except EOFError:
            said = "it ended without a word"
        if isinstance(said, str):
            print(f"{name:10} {said}")
            failed = 1
            continue
        found, counts, (early, late) = said
        model = found if model is None else model
        more = 100 * (late - early) / early if early else 0.0
        verdict = "" if found == model else "  NOT WHAT THE WRITER WROTE"
        verdict += "" if more <= growth else f"  MORE THAN {growth:.0f} %"
        failed |= bool(verdict)
        done = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        print(f"{name:10} {early:9.1f}  {late:9.1f}  {more:5.1f}%  {len(found):9}  {done}{verdict}")
    for process in processes:
        process.join()
        failed |= process.exitcode != 0
    return failed


if __name__ == "__main__":
    main()
