"""One Retriever, many threads: same answers as one at a time, whoever else writes."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import (
    Encoder,
    Index,
    IndexConfig,
    MultiIndex,
    Retriever,
    SearchParameters,
    TruncationWarning,
)
from tests.support.library import LIBRARY

pytestmark = pytest.mark.slow

THREADS = 6
QUESTIONS = ["capital of France", "who pays for bees on the roof?", "kneading dough"]


@pytest.fixture(autouse=True)
def busy() -> Iterator[None]:
    """Make threads take turns far more often than they do by themselves."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def calls_of(retriever: Retriever) -> list[Callable[[], Any]]:
    """Everything that only reads."""
    index = retriever.index
    assert index is not None
    weighted = SearchParameters(hybrid="weighted")
    calls: list[Callable[[], Any]] = []
    for question in QUESTIONS:
        hit = retriever.retrieve([question], 1)[0][0]
        calls += [
            lambda q=question: retriever.retrieve([q], 3),
            lambda q=question: retriever.retrieve([q, *QUESTIONS], 2, where={"kind": "city"}),
            lambda q=question: retriever.retrieve([q], 4, parameters=weighted),
            lambda q=question: retriever.rerank_ids(q, ["paris", "bread"]),
            lambda q=question: retriever.rerank(q, [d.text or "" for d in LIBRARY[:3]]),
            lambda q=question, h=hit: retriever.explain(q, h),
            lambda q=question, h=hit: retriever.snippets(q, [h]),
            lambda i=hit.document_id: index.get(i),
        ]
    return calls


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_threads_get_what_one_gets(encoder: Encoder, library: Retriever, place: str) -> None:
    retriever = library
    if place == "memory":
        retriever = Retriever(encoder, Index(encoder.dim))
        retriever.add(LIBRARY)
    calls = calls_of(retriever)
    expected = [call() for call in calls]
    start = threading.Barrier(THREADS)

    def work(number: int) -> None:
        start.wait()
        for n in range(len(calls)):
            at = (n + 5 * number) % len(calls)
            assert calls[at]() == expected[at], at

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))


def test_readers_refresh_and_search_while_a_writer_commits(
    encoder: Encoder, tmp_path: Path
) -> None:
    """What is found by an id is what was added under it, in whichever commit."""
    folder = tmp_path / "live.index"
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    texts = [f"Hive {number} has {number} frames of bees." for number in range(6)]
    embeddings = encoder.encode_document(texts)
    query = encoder.encode_query(["how many frames has a hive?"])
    over = threading.Event()

    def add(index: Index, numbers: list[int]) -> None:
        index.upsert(
            [f"hive {n}" for n in numbers],
            [embeddings[n] for n in numbers],
            texts=[texts[n] for n in numbers],
        )
        index.commit()

    def read(index: Index) -> int:
        rounds = 0
        while not over.is_set() or rounds < 3:
            index.refresh()
            for hit in index.search(query, 9)[0]:
                assert hit.text == texts[int(hit.document_id[5:])]
            # Always there, though a commit may move it to another place in another segment.
            assert index.get("hive 0").text == texts[0]
            assert index.passages("hive 0")[0].end == len(texts[0])
            rounds += 1
            time.sleep(0.001)  # or the writer never gets its turn
        return rounds

    with Index.create(folder, config) as writer:
        add(writer, [0, 1])
        with Index.load(folder) as reader, ThreadPoolExecutor(3) as pool:
            reading = [pool.submit(read, reader) for _ in range(3)]
            try:
                for number in range(2, 6):
                    add(writer, [number, 0])
                    writer.delete([f"hive {number - 1}"])
                    writer.compact()
            finally:
                over.set()
            assert all(task.result() >= 3 for task in reading)
            reader.refresh()
            assert {d.document_id for d in reader} == {"hive 0", "hive 5"}


def test_the_last_spare_connection_is_taken_once(library: Retriever) -> None:
    """Two threads that both see it: the second opens one of its own."""
    index = library.index
    assert index is not None
    store = index.snapshot.segments[0].documents
    database = store._database

    class Taken(list[Any]):
        def __len__(self) -> int:
            return 1

    before = database._others
    database._others = Taken()
    try:
        with database._first_lock:
            assert store.get([0])[0].document_id == "paris"
    finally:
        while list.__len__(database._others):
            database._others.pop().close()
        database._others = before


def test_every_truncation_is_counted_and_one_warns(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model, threads=1)
    texts = ["bees " * 2000]
    with pytest.warns(TruncationWarning) as warned, ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda _: [encoder.encode_query(texts) for _ in range(5)], range(THREADS)))
    assert encoder.truncated == 5 * THREADS and len(warned) == 1


def test_a_writer_that_commits_keeps_no_refresh_waiting(tmp_path: Path) -> None:
    with Index.create(tmp_path / "index", IndexConfig(dim=4)) as index, index._writer._turn:
        with ThreadPoolExecutor(1) as other:
            assert other.submit(index.refresh).result(20) is False


def test_joined_indexes_never_go_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.eye(4, dtype=np.float32)

    def add(name: str) -> None:
        with Index.load(tmp_path / "a", writable=True) as index:
            index.add([name], [rows])
            index.commit()

    for name in "ab":
        Index.create(tmp_path / name, IndexConfig(dim=4)).close()
    began, go, join = threading.Event(), threading.Event(), MultiIndex._join

    def gated(self: MultiIndex, snapshots: Any) -> None:
        if not began.is_set():
            began.set()
            assert go.wait(20)
        join(self, snapshots)

    with (
        MultiIndex.load([tmp_path / "a", tmp_path / "b"]) as joined,
        ThreadPoolExecutor(2) as pool,
    ):
        monkeypatch.setattr(MultiIndex, "_join", gated)
        add("first")
        slow = pool.submit(joined.refresh)
        assert began.wait(20)
        add("second")
        fast = pool.submit(joined.refresh)
        wait([fast], timeout=0.5)  # it must not come to its end before the slow one
        go.set()
        assert slow.result(20) and fast.result(20)
        assert [hit.document_id for hit in joined.search([rows], 9)[0]] == ["first", "second"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*")  # of Python and of LanceDB
def test_a_forked_process_searches_too(
    encoder: Encoder, library_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads of its parent, which has searched with them, are not there."""
    # Many parts, to be shared out among the threads.
    monkeypatch.setattr(import_module("pocket_colbert.vectors.maxsim_codes"), "BLOCK_TOKENS", 8)
    with (
        Index.load(library_folder, threads=2) as index,
        MultiIndex.load([library_folder], threads=2) as joined,
    ):
        retrievers = [Retriever(encoder, opened) for opened in (index, joined)]

        def search() -> list[Any]:
            return [r.retrieve(QUESTIONS * n, 2) for r in retrievers for n in (1, 3)]

        def child(answers: Any) -> None:
            answers.put([[hit.document_id for hit in hits] for found in search() for hits in found])
            index.close()
            joined.close()

        expected = [[hit.document_id for hit in hits] for found in search() for hits in found]
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        process = context.Process(target=child, args=(answers,))
        process.start()
        try:
            assert answers.get(timeout=60) == expected
            process.join(60)
            assert process.exitcode == 0
        finally:
            process.kill()
            process.join()
        assert search()
