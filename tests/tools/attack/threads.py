"""Eight threads that open, search, add, commit, refresh and close one index, all at once."""

from __future__ import annotations

import random
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pocket_colbert import (
    ClosedError,
    DocumentNotFoundError,
    Index,
    IndexConfig,
    IndexLockedError,
    SearchParameters,
)
from tests.tools.attack.children import Child, Say
from tests.tools.attack.tally import Tally
from tests.tools.attack.writer import DIM, vectors

THREADS = 8
PATIENCE = 60.0
SECONDS = 0.5
KEPT = 10
"""Documents that are always there."""


def share_an_index(tally: Tally, tries: int, seed: int, temporary: Path) -> None:
    """Let threads loose on an index, again and again, in processes of their own."""
    for number in range(tries):
        if tally.over:
            break
        folder = temporary / f"{number}.index"
        child = Child(
            lambda say, n=number, path=folder: _share(say, path, seed + n), temporary / "output"
        )
        code = child.end(None, PATIENCE)
        tally.tried += 1
        acknowledged: set[str] = set()
        for message in child.messages:
            acknowledged |= set(message.get("added", ()))
            for problem in message.get("problems", ()):
                tally.fail(problem)
            tally.counts.update(message.get("counts", {}))
        if code != 0:
            tally.fail(f"run {number} ended with {code}: {child.printed()[-2000:]}")
            continue
        with Index.load(folder, verify=True, threads=1) as index:
            held = {document.document_id for document in index}
        if not acknowledged <= held:
            tally.fail(f"run {number} lost {acknowledged - held}")


class _Shared:
    """One index that all threads use, and what they have done with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.end = time.monotonic() + SECONDS
        self.added: set[str] = set()
        self.problems: list[str] = []
        self.counts: dict[str, int] = {}
        self.noting = threading.Lock()
        self.index = Index.load(folder, writable=True, threads=2)

    def note(self, what: str) -> None:
        """Count something."""
        with self.noting:
            self.counts[what] = self.counts.get(what, 0) + 1


def _share(say: Say, folder: Path, seed: int) -> None:
    sys.setswitchinterval(1e-5)
    with Index.create(folder, IndexConfig(dim=DIM, codes="int8"), threads=1) as index:
        ids = [f"kept {n}" for n in range(KEPT)]
        index.add(ids, [vectors(name) for name in ids], texts=ids)
    shared = _Shared(folder)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda n: _work(shared, random.Random(seed * THREADS + n), n),
                      range(THREADS)))  # fmt: skip
    shared.index.close()
    say({"added": sorted(shared.added), "problems": shared.problems, "counts": shared.counts})


def _work(shared: _Shared, chance: random.Random, number: int) -> None:
    """Do one thing after the other; every third search must find what it looks for."""
    done = 0
    while time.monotonic() < shared.end and not shared.problems:
        done += 1
        try:
            _one(shared, chance, f"{number}-{done}")
        except (ClosedError, IndexLockedError) as error:
            shared.note(type(error).__name__)
        except BaseException:
            shared.problems.append(traceback.format_exc())


def _one(shared: _Shared, chance: random.Random, name: str) -> None:
    """Do something with the shared index, or with one of the thread's own."""
    what = chance.choices(
        ("search", "read", "add", "own reader", "close", "compact"), (8, 4, 4, 3, 1, 1)
    )[0]
    shared.note(what)
    index = shared.index
    wanted = f"kept {chance.randrange(KEPT)}"
    if what == "search":
        _find(index, wanted, chance)
    elif what == "read":
        assert index.get(wanted).text == wanted
        with suppress(DocumentNotFoundError):  # a commit may still be under way
            assert index.get(name).text == name
    elif what == "add":
        index.upsert([name], [vectors(name)], texts=[name])
        index.commit()
        shared.added.add(name)
    elif what == "own reader":
        with Index.load(shared.folder, threads=1) as reader:
            _find(reader, wanted, chance)
            reader.refresh()
            _find(reader, wanted, chance)
    elif what == "compact":
        index.compact()
    else:
        index.close()
        with suppress(IndexLockedError):  # another thread is faster
            shared.index = Index.load(shared.folder, writable=True, threads=2)


def _find(index: Index, wanted: str, chance: random.Random) -> None:
    parameters = SearchParameters(mode=chance.choice(["exact", "approximate"]))
    (hits,) = index.search([vectors(wanted)], 3, parameters=parameters)
    assert hits[0].document_id == wanted and hits[0].text == wanted, hits
