"""The graph over token vectors: what it holds, whom it finds, and under which filters."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import ClosedError, Index, IndexConfig, MultiIndex, SearchParameters
from pocket_colbert.index.integrity import check_index
from pocket_colbert.storage import candidate_source, token_graph
from pocket_colbert.storage.manifest import GRAPH_FILE, RecallEntry
from pocket_colbert.storage.native_graph import add, new_graph
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_graph import TokenGraph, build
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec
from tests.support.arrays import cone_documents, unit_rows
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

DIM = 24
EXACT = SearchParameters(mode="exact")
APPROXIMATE = SearchParameters(mode="approximate", candidates=60)
"""Fewer than the default, which is all of so few short passages."""
CONFIG = IndexConfig(dim=DIM, inverted_file="always", candidates="usearch")


def rows_of(documents: list[np.ndarray], bits: int = 4) -> TokenVectors:
    return TokenVectors.encode(Codec.fit(np.concatenate(documents), bits), documents)


def fill(index: Index, rng: np.random.Generator, count: int, first: int = 0) -> None:
    documents = cone_documents(rng, [9] * count, DIM)
    ids = [f"d{first + n}" for n in range(count)]
    index.add(ids, documents, metadata=[{"n": first + n} for n in range(count)])


def ids_of(index: Index, query: np.ndarray, parameters: SearchParameters, **how: Any) -> list[str]:
    hits = index.search([query], 10, parameters=parameters, **how)[0]
    return [hit.document_id for hit in hits]


def shared(
    index: Index, queries: list[np.ndarray], parameters: SearchParameters = APPROXIMATE
) -> float:
    """Return the share of what exact search has that approximate search has, too."""
    found = []
    for query in queries:
        exact = ids_of(index, query, EXACT)
        found.append(np.isin(exact, ids_of(index, query, parameters)).mean())
    return float(np.mean(found))


@pytest.mark.parametrize("bits", [8, 4, 2, 1])
def test_it_holds_each_token_vector_once(rng: np.random.Generator, bits: int) -> None:
    """Also of passages whose rows are filled up, and of none for a passage without any."""
    documents = cone_documents(rng, [5, 0, 1, 33, 8], 31)
    rows = rows_of(documents, bits)
    graph = build(rows)
    assert graph.layout.size == 47
    stored = np.ndarray((47, 31), np.int8, graph.data, 8).astype(np.float32)
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    decoded = np.concatenate([rows.decode(n) for n in range(5)])
    decoded = rows.codec._rotate(decoded / np.linalg.norm(decoded, axis=1, keepdims=True))
    # Each stored vector is one that was put in, and each that was put in is stored.
    cosines = decoded @ stored.T
    assert cosines.max(axis=0).min() > 0.999 and cosines.max(axis=1).min() > 0.999


def test_equal_rows_give_equal_bytes(rng: np.random.Generator) -> None:
    rows = rows_of(cone_documents(rng, [9] * 700, DIM))
    assert build(rows).data.tobytes() == build(rows).data.tobytes()


@pytest.mark.parametrize("threads", [1, 3])
def test_it_finds_the_passages_of_the_nearest_token_vectors(
    rng: np.random.Generator, threads: int
) -> None:
    documents = cone_documents(rng, [9] * 400, DIM)
    graph = build(rows_of(documents))
    for number in (3, 250):
        query = rows_of(documents).codec.encode_query(documents[number])
        found = graph.candidates(query, Selection(400), lookups=512, limit=7, threads=threads)
        assert number in found and len(found) == 7 and (np.diff(found) > 0).all()
        few = graph.candidates(query, Selection(400), lookups=512, limit=7, query_tokens=2)
        assert number in few
        one = rows_of(documents).codec.encode_query(documents[number][:1])
        assert number in graph.candidates(one, Selection(400), lookups=1, limit=7)


def test_estimates_add_up_over_query_tokens(rng: np.random.Generator) -> None:
    """A passage near two query tokens comes before those that are nearer, but to one only."""
    axes = np.eye(DIM, dtype=np.float32)

    def near(*numbers: int) -> np.ndarray:
        rows = axes[list(numbers)] + 0.15 * unit_rows(rng, len(numbers), DIM)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    documents = [axes[[0, 5]], axes[[1, 6]], near(0, 1)]
    documents += [near(*rng.integers(2, DIM, size=4)) for _ in range(200)]
    rows = rows_of(documents, 8)
    query = rows.codec.encode_query(axes[:2])
    found = build(rows).candidates(query, Selection(len(documents)), lookups=512, limit=1)
    assert found.tolist() == [2]


def test_filters_leave_enough_neighbours(rng: np.random.Generator) -> None:
    """Only what is far from the query is allowed: more is looked up until enough of it is found."""
    rows = rows_of(cone_documents(rng, [9] * 400, DIM))
    graph = build(rows)
    query = rows.codec.encode_query(cone_documents(rng, [16], DIM)[0])
    order = np.argsort(-rows.score_all(query), kind="stable")
    allowed = Selection.of(400, order[200:])
    found = graph.candidates(query, allowed, lookups=256, limit=100)
    assert set(found) <= set(allowed.positions())
    assert np.isin(order[200:210], found).mean() >= 0.9


def test_a_filter_that_would_need_too_much_is_left_to_exact_search(
    rng: np.random.Generator,
) -> None:
    rows = rows_of(cone_documents(rng, [9] * 900, DIM))
    query = rows.codec.encode_query(cone_documents(rng, [16], DIM)[0])
    allowed = Selection.of(900, np.argsort(rows.score_all(query))[:3])
    assert not len(build(rows).candidates(query, allowed, lookups=256, limit=100))


def test_few_that_are_allowed_are_scored_whole(rng: np.random.Generator) -> None:
    with Index(DIM, config=CONFIG, threads=1) as index:
        fill(index, rng, 900)
        index.commit()
        (segment,) = index.snapshot.segments
        assert isinstance(segment.source, TokenGraph)
        queries = cone_documents(rng, [16] * 5, DIM)
        small = replace(APPROXIMATE, candidates=20)
        for where in ({"n": {"$lt": 12}}, {"n": {"$gte": 890}}, {"n": {"$in": [3, 500, 899]}}):
            for query in queries:
                exact = ids_of(index, query, EXACT, where=where)
                assert ids_of(index, query, small, where=where) == exact
        assert ids_of(index, queries[0], small, subset=["d5", "d7"]) == ids_of(
            index, queries[0], EXACT, subset=["d5", "d7"]
        )


def test_what_is_added_deleted_merged_and_copied(rng: np.random.Generator, tmp_path: Path) -> None:
    folder, queries = tmp_path / "index", cone_documents(rng, [16] * 6, DIM)
    with Index.create(folder, CONFIG, threads=2) as index:
        for part in range(3):
            fill(index, rng, 300, 300 * part)
            index.commit()
        index.delete([f"d{n}" for n in range(0, 900, 3)])
        index.commit()
        assert all(isinstance(s.source, TokenGraph) for s in index.snapshot.segments)
        assert shared(index, queries) >= 0.98
        for query in queries:
            assert not any(int(name[1:]) % 3 == 0 for name in ids_of(index, query, APPROXIMATE))
        index.compact()
        (segment,) = index.snapshot.segments
        assert isinstance(segment.source, TokenGraph) and segment.source.layout.size == 600 * 9
        assert shared(index, queries) >= 0.98
        index.save(tmp_path / "copy")
    with MultiIndex.load([folder, tmp_path / "copy"], replacing=True) as joined:
        joined.save(tmp_path / "merged")
    for path in (folder, tmp_path / "copy", tmp_path / "merged"):
        assert check_index(path) == []
        assert list(path.rglob(GRAPH_FILE))
        with Index.load(path, verify=True) as index:
            assert shared(index, queries) >= 0.98
            info = index.info()
            assert info.candidates == {"usearch": info.segments}
            assert info.approximate_recall is not None and info.approximate_recall >= 0.99
            assert info.bytes["token graph"] > 100 * info.tokens


def test_an_index_that_grows_by_single_documents(rng: np.random.Generator, tmp_path: Path) -> None:
    """A merge makes a new graph; what is found stays the same as after one commit of all."""
    documents = cone_documents(rng, [9] * 460, DIM)
    queries = cone_documents(rng, [16] * 6, DIM)
    with Index.create(tmp_path / "index", CONFIG, threads=1) as index:
        index.add([f"d{n}" for n in range(400)], documents[:400])
        index.commit()
        for number in range(400, 460):
            index.add([f"d{number}"], [documents[number]])
            index.commit()
        assert shared(index, queries) >= 0.98
        info = index.info()
        assert info.candidates == {"usearch": info.segments} and info.segments < 20


def test_vectors_without_structure(rng: np.random.Generator) -> None:
    """Lists find less than half of them: what looks up too little is widened, or not used."""
    with Index(DIM, config=CONFIG, threads=2) as index:
        index.add([f"d{n}" for n in range(4000)], [unit_rows(rng, 6, DIM) for _ in range(4000)])
        index.commit()
        wide = SearchParameters(mode="approximate", candidates=1000)
        assert shared(index, [unit_rows(rng, 8, DIM) for _ in range(8)], wide) >= 0.99


@pytest.mark.parametrize(
    ("lists", "graph", "taken"),
    [
        ((1.0, 1), None, "lists"),
        ((0.96, 1), None, "lists"),
        ((0.97, 4), (0.995, 1), "usearch"),
        ((0.97, 4), (0.99, 4), "usearch"),
        ((0.992, 4), (0.993, 8), "lists"),
        ((0.4, 0), (0.99, 8), "usearch"),
        ((0.97, 4), (0.6, 0), "lists"),
    ],
)
def test_auto_takes_the_better_one(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, lists: tuple[float, int],
    graph: tuple[float, int] | None, taken: str,
) -> None:  # fmt: skip
    """A graph is tried only where lists had to be widened, or found too little."""
    entries = iter([RecallEntry(*lists)] + ([RecallEntry(*graph)] if graph else []))
    monkeypatch.setattr(candidate_source, "_measured", lambda *_: next(entries))
    rows = rows_of(cone_documents(rng, [9] * 50, DIM))
    source = candidate_source.build(rows, replace(CONFIG, candidates="auto"), 1)
    assert ("usearch" if isinstance(source, TokenGraph) else "lists") == taken
    assert next(entries, None) is None


def test_auto_makes_no_graph_that_takes_much_memory(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidate_source, "_measured", lambda *_: RecallEntry(0.4, 0))
    rows = rows_of(cone_documents(rng, [9] * 50, DIM))
    tried: list[object] = []
    monkeypatch.setattr(candidate_source, "goodness", lambda source: tried.append(source) or 0)
    for most, sources in ((rows.num_tokens, 2), (rows.num_tokens - 1, 0)):
        tried.clear()
        monkeypatch.setattr(candidate_source, "_MOST_IN_A_GRAPH", most)
        candidate_source.build(rows, replace(CONFIG, candidates="auto"), 1)
        assert len(tried) == sources


def test_info_says_what_scores_all(rng: np.random.Generator) -> None:
    with Index(DIM, config=replace(CONFIG, inverted_file="auto")) as index:
        fill(index, rng, 30)
        index.commit()
        assert index.info().candidates == {"all": 1}


def test_threads_search_one_graph_side_by_side(rng: np.random.Generator, tmp_path: Path) -> None:
    queries = cone_documents(rng, [16] * 40, DIM)
    with Index.create(tmp_path / "index", CONFIG) as index:
        fill(index, rng, 700)
        index.commit()
        alone = [ids_of(index, query, APPROXIMATE) for query in queries]
    with Index.load(tmp_path / "index") as index, ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda query: ids_of(index, query, APPROXIMATE), queries))
    assert together == alone


def _in_a_child(index: Index, query: np.ndarray, results: Any) -> None:
    results.put(ids_of(index, query, APPROXIMATE))


def fork_while_searching(folder: Path) -> None:
    """Search in a forked child while the parent is within a search, holding its lock."""
    rng = np.random.default_rng(1)
    (query,) = cone_documents(rng, [16], DIM)
    with Index.create(folder, CONFIG) as index:
        fill(index, rng, 700)
        index.commit()
        expected = ids_of(index, query, APPROXIMATE)
        source = index.snapshot.segments[0].source
        assert isinstance(source, TokenGraph) and source._opened.graph is not None
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        with source._opened.held(), source._opened.graph._lock:
            child = context.Process(target=_in_a_child, args=(index, query, results))
            child.start()
        try:
            assert results.get(timeout=120) == expected
        finally:
            child.kill()
            child.join()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_forked_child_searches(tmp_path: Path) -> None:
    """In a process of its own: the suite's has libraries loaded that no child survives."""
    program = (
        "import sys, pathlib\n"
        "from tests.storage.test_token_graph import fork_while_searching\n"
        "fork_while_searching(pathlib.Path(sys.argv[1]))\n"
        "print('equal')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "index"],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "equal\n", done.stderr[-2000:]


def test_a_pickled_index_opens_its_graph_again(rng: np.random.Generator, tmp_path: Path) -> None:
    (query,) = cone_documents(rng, [16], DIM)
    with Index.create(tmp_path / "index", CONFIG) as index:
        fill(index, rng, 200)
        index.commit()
        expected = ids_of(index, query, APPROXIMATE)
        with pickle.loads(pickle.dumps(index)) as again:
            assert ids_of(again, query, APPROXIMATE) == expected
    with pytest.raises(ClosedError):
        ids_of(index, query, APPROXIMATE)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs such a clock")
def test_an_interrupt_while_a_graph_is_built_stays_what_it_is() -> None:
    """It looks for signals itself, and would raise a RuntimeError in its place."""
    rng = np.random.default_rng(1)
    vectors = rng.integers(-127, 127, (60_000, 96)).astype(np.int8)
    graph = new_graph(96, 16, 64, 8)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            add(graph, np.arange(60_000, dtype=np.uint64), vectors)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(graph) < 60_000


def test_a_search_looks_up_what_the_parameters_say(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted: one batch of all query tokens, so many neighbours, and so many passages scored."""
    calls: list[tuple[int, int]] = []
    scored: list[int] = []
    nearest, score = token_graph.MappedGraph.nearest, TokenVectors.score

    def counted(self: Any, vectors: Any, number: int, *rest: Any) -> Any:
        calls.append((len(vectors), number))
        return nearest(self, vectors, number, *rest)

    def counted_score(self: Any, query: Any, passages: Any, *rest: Any) -> Any:
        scored.append(len(passages))
        return score(self, query, passages, *rest)

    with Index(DIM, config=CONFIG, threads=1) as index:
        fill(index, rng, 900)
        index.commit()
        monkeypatch.setattr(token_graph.MappedGraph, "nearest", counted)
        monkeypatch.setattr(TokenVectors, "score", counted_score)
        (query,) = cone_documents(rng, [16], DIM)
        ids_of(index, query, replace(APPROXIMATE, candidates=50))
        assert calls == [(16, 256)] and scored == [50]
        ids_of(index, query, replace(APPROXIMATE, candidates=50, lookups=1024, query_tokens=4))
        assert calls[1:] == [(4, 2048)] and scored == [50, 50]
        ids_of(index, query, EXACT)
        assert len(calls) == 2
