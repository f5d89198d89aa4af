"""Closing an index: what is under way ends, what comes later is refused, and nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import (
    ClosedError,
    Index,
    IndexConfig,
    IndexConflictError,
    IndexLockedError,
    MultiIndex,
    SearchParameters,
)
from pocket_colbert.storage.database import Database
from tests.support.arrays import unit_rows

DIM = 8
CONFIG = IndexConfig(dim=DIM)
QUERY = unit_rows(np.random.default_rng(1), 3, DIM)


def add(index: Index, *ids: str) -> None:
    index.add(ids, [QUERY] * len(ids), texts=[f"text of {name}" for name in ids])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("closing") / "index"
    with Index.create(folder, CONFIG, threads=1) as index:
        for part in range(3):
            add(index, *(f"d{part}-{n}" for n in range(300)))
            index.commit()
    return folder


Open = Callable[[Path, int], Any]
OPENED: dict[str, Open] = {
    "index": lambda folder, threads: Index.load(folder, threads=threads),
    "joined": lambda folder, threads: MultiIndex.load([folder], threads=threads),
}
CALLS: dict[str, Callable[[Any], object]] = {
    "search": lambda index: index.search([QUERY] * 9, 50),
    "keywords": lambda index: index.search(
        [QUERY], 50, texts=["text of d1"], parameters=SearchParameters(hybrid="rrf")
    ),
    "filter": lambda index: index.search([QUERY], 3, where={"n": 1}),
    "get": lambda index: index.get("d1-7"),
    "passages": lambda index: index.passages("d2-7"),
    "len": len,
    "in": lambda index: "d1-7" in index,
    "refresh": lambda index: index.refresh(),
    "iterate": list,
}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", OPENED)
@pytest.mark.parametrize("call", CALLS)
def test_closing_beside_threads(folder: Path, call: str, kind: str, threads: int) -> None:
    """Each call answers rightly or raises ClosedError; nothing crashes."""
    with OPENED[kind](folder, 1) as index:
        expected = repr(CALLS[call](index))
    for number in range(4):
        index = OPENED[kind](folder, threads)
        started = threading.Barrier(5)
        wrong: list[object] = []

        def work(index: Any = index, started: Any = started, wrong: Any = wrong) -> None:
            started.wait()
            try:
                while True:
                    answer = repr(CALLS[call](index))
                    if answer != expected:
                        wrong.append(answer)
            except ClosedError:
                return
            except BaseException as error:
                wrong.append(error)

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        started.wait()
        time.sleep(0.003 * number)
        index.close()
        for worker in workers:
            worker.join(10)
            assert not worker.is_alive()
        assert not wrong
        with pytest.raises(ClosedError):
            index.search([QUERY])


def test_closing_waits_for_a_search(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index.load(folder, threads=1)
    within, go_on = threading.Event(), threading.Event()
    select = Database.select

    def slow(database: Database, *arguments: Any) -> Any:
        within.set()
        assert go_on.wait(10)
        return select(database, *arguments)

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(Database, "select", slow)
        searching = pool.submit(index.search, [QUERY], 3)
        assert within.wait(10)
        closing = pool.submit(index.close)
        while not index.closed:
            time.sleep(0.001)
        with pytest.raises(ClosedError):
            index.search([QUERY])
        assert not closing.done()
        go_on.set()
        assert len(searching.result(10)[0]) == 3
        closing.result(10)


def test_closing_while_tasks_of_asyncio_search(folder: Path) -> None:
    index = Index.load(folder, threads=2)

    async def search() -> int:
        try:
            return len((await asyncio.to_thread(index.search, [QUERY], 9))[0])
        except ClosedError:
            return -1

    async def main() -> list[int]:
        tasks = [asyncio.create_task(search()) for _ in range(40)]
        await asyncio.sleep(0.01)
        tasks[5].cancel()
        await asyncio.to_thread(index.close)
        return [task for task in await asyncio.gather(*tasks, return_exceptions=True)]  # type: ignore[misc]

    answers = [answer for answer in asyncio.run(main()) if isinstance(answer, int)]
    assert len(answers) >= 39 and set(answers) <= {9, -1}


def test_a_finalizer_in_the_middle_of_a_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot wait for the call that it interrupts."""
    index = Index.load(folder, threads=1)
    select, calls = Database.select, 0

    class Owner:
        pass

    def finalizing(database: Database, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        owner = Owner()
        weakref.finalize(owner, index.close)
        del owner
        gc.collect()
        assert index.closed
        return select(database, *arguments)

    monkeypatch.setattr(Database, "select", finalizing)
    assert len(index.search([QUERY], 3)[0]) == 3 and calls
    monkeypatch.undo()
    with pytest.raises(ClosedError):
        index.get("d1-7")
    with pytest.raises(ClosedError):
        len(index.snapshot)
    store_closed = [segment.documents._database._closed for segment in index._shown.segments]
    assert all(store_closed)


def test_a_snapshot_of_a_closed_index_is_refused(folder: Path) -> None:
    index = Index.load(folder, threads=1)
    snapshot, documents = index.snapshot, iter(index)
    next(documents)
    index.close()
    index.close()
    with pytest.raises(ClosedError):
        snapshot.addresses(["d1-7"])
    with pytest.raises(ClosedError):
        list(documents)
    with pytest.raises(ClosedError):
        len(index)
    with pytest.raises(ClosedError):
        "d1-7" in index  # noqa: B015


def test_an_index_that_is_dropped_lets_the_next_writer_in(tmp_path: Path) -> None:
    index = Index.create(tmp_path / "index", CONFIG, threads=1)
    with pytest.raises(IndexLockedError, match=f"process {os.getpid()}"):
        Index.load(tmp_path / "index", writable=True)
    del index
    Index.load(tmp_path / "index", writable=True).close()


def test_daemon_threads_read_until_the_process_ends(folder: Path) -> None:
    script = (
        "import threading, time\n"
        "from pocket_colbert import Index\n"
        f"index = Index.load({str(folder)!r}, threads=1)\n"
        "def search():\n"
        "    while True:\n"
        "        index.get('d1-7')\n"
        "for _ in range(4):\n"
        "    threading.Thread(target=search, daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_leaving_a_block_commits(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", CONFIG) as index:
        add(index, "a", "b")
    with Index.load(tmp_path / "index", writable=True) as index:
        assert len(index) == 2
        index.delete(["a"])
        add(index, "c")
    with Index.load(tmp_path / "index") as index:
        assert [document.document_id for document in index] == ["b", "c"]
        assert index.generation == 2


@pytest.mark.parametrize("error", [ValueError("wrong"), KeyboardInterrupt(), SystemExit(1)])
def test_an_error_does_not_commit_and_says_so(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, Index.create(tmp_path / "index", CONFIG) as index:
        add(index, "a", "b")
        index.commit()
        index.delete(["a"])
        add(index, "c")
        raise error
    if sys.version_info >= (3, 11):
        (note,) = raised.value.__notes__
        assert "added: 1, deleted or replaced: 1" in note and "commit()" in note
    with Index.load(tmp_path / "index", writable=True) as index:
        assert [document.document_id for document in index] == ["a", "b"]


def test_an_error_with_nothing_to_lose_says_nothing(folder: Path) -> None:
    with pytest.raises(ValueError) as raised, Index.load(folder):
        raise ValueError("wrong")
    assert not hasattr(raised.value, "__notes__")


def test_a_commit_that_fails_at_the_end_of_a_block_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), Index.create(tmp_path / "i", CONFIG) as index:
        add(index, "a")
        monkeypatch.setattr("pocket_colbert.storage.files.synchronise", full)
    assert index.closed
    monkeypatch.undo()
    with Index.load(tmp_path / "i", writable=True) as again:
        assert len(again) == 0


def test_a_closed_index_in_a_block_is_left_alone(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", CONFIG) as index:
        add(index, "a")
        index.close()
    with Index.load(tmp_path / "index") as index:
        assert len(index) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*fork.*")  # of Python and of LanceDB
def test_a_forked_child_does_not_write_with_its_parents_lock(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", CONFIG, threads=1) as index:
        add(index, "a")
        index.commit()
        child = os.fork()
        if not child:
            status = 1
            try:
                add(index, "b")
            except IndexConflictError as error:
                status = 0 if "another process" in str(error) else 2
            try:
                index.commit()  # nothing is pending
                index.compact()
                status = 3
            except IndexConflictError:
                pass
            index.close()  # and keeps the parent's lock
            os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        with pytest.raises(IndexLockedError):
            Index.load(tmp_path / "index", writable=True)
        assert (tmp_path / "index" / "writer.json").exists()
        add(index, "c")
    with Index.load(tmp_path / "index", writable=True) as index:
        assert len(index) == 2
