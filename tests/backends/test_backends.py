"""Backends on Qdrant and LanceDB rank as brute force does, and hold what the index held."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from numpy.typing import NDArray

from pocket_colbert import (
    BackendError,
    BackendNotFoundError,
    ClosedError,
    Document,
    DocumentNotFoundError,
    EncodedDocument,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    MultiIndex,
    Passage,
    Retriever,
    SearchParameters,
    Section,
    UnsupportedError,
    maxsim_pairwise,
)
from pocket_colbert.backends import RemoteBackend, engine_at, open_backend, push
from pocket_colbert.backends.engine import Engine, PassageMatch, passage_of
from pocket_colbert.backends.record import Record
from pocket_colbert.backends.rows import Row
from pocket_colbert.cli.commands import main
from tests.support.arrays import cone_documents, unit_rows
from tests.support.cli import json_lines
from tests.support.collection import Collection
from tests.support.library import LIBRARY
from tests.support.plain_filters import holds
from tests.support.servers import QDRANT_KEY
from tests.support.strategies import NAMES, NASTY, NUMBERS, filters

ENGINES = {"qdrant": "qdrant_client", "lance": "lancedb"}
MISSING = {name for name, package in ENGINES.items() if not importlib.util.find_spec(package)}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default:Api key is used with an insecure:UserWarning"),
]

DIM = 16
WHERE = {"number": {"$gte": 5, "$lt": 12}}
EXACT = SearchParameters(mode="exact")
ROUNDING = 1e-5
"""Of float32 sums in another order, for a query token."""


def address_of(kind: str, folder: Path, name: str = "papers") -> str:
    return f"{kind}://{folder / kind}/{name}"


@pytest.fixture(params=sorted(ENGINES))
def kind(request: pytest.FixtureRequest) -> str:
    """Each engine in this process."""
    if request.param in MISSING:
        pytest.skip(f"needs the {request.param!r} extra")
    return str(request.param)


@pytest.fixture
def address(kind: str, tmp_path: Path) -> str:
    return address_of(kind, tmp_path)


@pytest.fixture
def collection(rng: np.random.Generator) -> Collection:
    return Collection(rng, [f"d{n}" for n in range(60)])


@pytest.fixture
def index(collection: Collection) -> Iterator[Index]:
    with Index(DIM, config=IndexConfig(dim=DIM, codes="int4")) as index:
        fill(index, collection)
        yield index


def fill(index: Index, collection: Collection) -> None:
    index.add(
        collection.ids, collection.embeddings, texts=collection.texts,
        metadata=collection.metadata,
    )  # fmt: skip
    index.commit()


def queries_of(rng: np.random.Generator) -> list[NDArray[np.float32]]:
    return [unit_rows(rng, rows, DIM) for rows in (1, 4, 9, 32)]


def check_ranking(
    backend: RemoteBackend, index: Index, queries: list[NDArray[np.float32]], k: int, **options: Any
) -> None:
    """Compare with brute force over the token vectors that the index holds."""
    for query, hits in zip(queries, backend.search(queries, k, **options), strict=True):
        scores = {}
        for document in index:
            parts = index.passages(document.document_id)
            scores[document.document_id] = [
                float(score) for score in maxsim_pairwise(query, [item.embedding for item in parts])
            ]
        near = ROUNDING * len(query)
        wanted = sorted(scores, key=lambda name: -max(scores[name]))[:k]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(hits) == min(k, len(scores))
        for hit, name in zip(hits, wanted, strict=True):
            document = index.get(hit.document_id)
            assert hit.score == pytest.approx(max(scores[name]), abs=near)
            assert hit.score == pytest.approx(max(scores[hit.document_id]), abs=near)
            assert (hit.text, hit.title, hit.metadata) == (
                document.text, document.title, document.metadata,
            )  # fmt: skip
            parts = index.passages(hit.document_id)
            assert len(hit.passages) == min(3, len(parts))
            for part in hit.passages:
                spans = [(item.start, item.end) for item in parts]
                place = spans.index((part.start, part.end))
                assert part.score == pytest.approx(scores[hit.document_id][place], abs=near)


def test_it_ranks_as_brute_force(
    address: str, index: Index, collection: Collection, rng: np.random.Generator
) -> None:
    done = push(index, address)
    assert (done.written, done.unchanged, done.deleted, done.documents) == (60, 0, 0, 60)
    assert done.passages == sum(map(len, collection.embeddings)) > 60
    with open_backend(address) as backend:
        assert backend.config == index.config and len(backend) == 60
        queries = queries_of(rng)
        check_ranking(backend, index, queries, 10)
        check_ranking(backend, index, queries, 100)
        assert backend.search([np.empty((0, DIM), np.float32)], 3) == [[]]
        embedded = index.search(queries, 10, parameters=EXACT)
        for ours, theirs in zip(embedded, backend.search(queries, 10), strict=True):
            # An index rounds queries to 8 bits too, so near scores may change places.
            for mine, other in zip(ours, theirs, strict=True):
                assert mine.score == pytest.approx(other.score, abs=0.02)


def test_it_ranks_as_brute_force_over_http(
    qdrant_server: str, index: Index, rng: np.random.Generator, recwarn: pytest.WarningsRecorder
) -> None:
    place = f"{qdrant_server}/papers"
    address = place.replace("qdrant://", "qdrant://a%20secret%2Fkey@")
    done = push(index, address, range_fields=["number"])
    assert done.written == 60
    assert push(index, address).unchanged == 60
    with open_backend(place, api_key=QDRANT_KEY) as backend:
        queries = queries_of(rng)
        check_ranking(backend, index, queries, 10)
        names = {hit.document_id for hit in backend.search(queries[:1], 60, where=WHERE)[0]}
        assert names == {f"d{n}" for n in range(5, 12)}
        assert [item.embedding.tolist() for item in backend.passages("d3")] == [
            item.embedding.tolist() for item in index.passages("d3")
        ]
    # qdrant-client warns that the key travels in the clear.
    assert recwarn and all("insecure connection" in str(item.message) for item in recwarn)


def test_a_wrong_key_and_a_dead_server_are_backend_errors(qdrant_server: str, index: Index) -> None:
    with pytest.raises(BackendError, match="401") as refused:
        open_backend(f"{qdrant_server}/papers", api_key="wr0ng")
    with pytest.raises(BackendError, match="refused") as dead:
        push(index, "qdrant://wr0ng@127.0.0.1:9/papers")
    for error in (refused, dead):
        assert "wr0ng" not in str(error.value) and "127.0.0.1" in str(error.value)


def test_equal_scores_come_in_the_order_of_insertion(address: str) -> None:
    rng = np.random.default_rng(1)
    twin, other = unit_rows(rng, 3, DIM), unit_rows(rng, 3, DIM)
    index = Index(DIM)
    numbers = rng.permutation(40)
    index.add([f"twin{n}" for n in numbers], [twin] * 40)
    index.add(["many"], [[Passage(n, n + 1, other) for n in range(30)]], texts=["x" * 30])
    index.add(["last"], [-other])
    index.commit()
    push(index, address)
    with open_backend(address) as backend:
        hits = backend.search([twin], 7)[0]
        assert [hit.document_id for hit in hits] == [f"twin{n}" for n in numbers[:7]]
        # A document whose passages all come before other documents.
        hits = backend.search([other], 3)[0]
        embedded = index.search([other], 3, parameters=EXACT)[0]
        assert [hit.document_id for hit in hits] == [hit.document_id for hit in embedded]
        assert hits[0].document_id == "many"
        assert [(p.start, p.end) for p in hits[0].passages] == [(0, 1), (1, 2), (2, 3)]


def with_ties_last(engine: Engine) -> Engine:
    """Have an engine give equal scores in the worst order that it may: the last one first."""
    nearest = engine.nearest

    def reversed_ties(
        query: NDArray[np.float32], limit: int, condition: Any, exact: bool
    ) -> list[PassageMatch]:
        matches = nearest(query, 10_000, condition, exact)
        return sorted(matches, key=lambda item: (-item.score, -item.position))[:limit]

    engine.nearest = reversed_ties  # type: ignore[method-assign]
    return engine


@pytest.mark.parametrize("passages", [1, 3])
def test_equal_scores_at_the_limit_are_those_that_came_first(address: str, passages: int) -> None:
    """However an engine orders them, and however few it gives at a time."""
    rng = np.random.default_rng(3)
    best, twin, other = unit_rows(rng, 4, DIM), unit_rows(rng, 3, DIM), unit_rows(rng, 3, DIM)
    index = Index(DIM)
    embeddings = [[Passage(n, n + 1, twin) for n in range(passages)] for _ in range(90)]
    index.add([f"twin{n}" for n in range(90)], embeddings, texts=["x" * passages] * 90)
    index.add(["best"], [np.concatenate([twin, best])])
    index.add([f"other{n}" for n in range(30)], [-other] * 30)
    index.commit()
    push(index, address)
    with RemoteBackend(with_ties_last(engine_at(address))) as backend:
        for k in (2, 7, 90):
            hits = backend.search([np.concatenate([twin, best])], k)[0]
            names = [hit.document_id for hit in hits]
            assert names == ["best", *(f"twin{n}" for n in range(k - 1))]
        where = [f"twin{n}" for n in range(40, 80)]
        hits = backend.search([twin], 3, subset=where)[0]
        assert [hit.document_id for hit in hits] == where[:3]
        spans = [(part.start, part.end) for part in hits[0].passages]
        assert spans == [(n, n + 1) for n in range(passages)]


def test_documents_come_back_as_they_were(address: str, rng: np.random.Generator) -> None:
    deep: dict[str, Any] = {"": 1, "big": 10**30, "odd": ["\x00", "'", {"a.b": [None, [True]]}]}
    documents = [
        Document("plain"),
        Document("all ' \x00 \"", "A text\x1f", "Title", deep, "papers/a.txt"),
        Document("no tokens", "Nothing", None, {"a": {}}, sections=(Section(0, ("A", "ü")),)),
    ]
    embeddings = [unit_rows(rng, 2, DIM), unit_rows(rng, 700, DIM), np.empty((0, DIM), np.float32)]
    index = Index(DIM)
    index.add_documents(
        EncodedDocument(item, [Passage(0, len(item.text or ""), embedding)])
        for item, embedding in zip(documents, embeddings, strict=True)
    )
    index.commit()
    push(index, address)
    with open_backend(address) as backend:
        for document in documents:
            name = document.document_id
            assert backend.get(name) == document and name in backend
            for mine, theirs in zip(backend.passages(name), index.passages(name), strict=True):
                assert (mine.start, mine.end) == (theirs.start, theirs.end)
                assert mine.embedding.tolist() == theirs.embedding.tolist()
        assert "other" not in backend and 3 not in backend and len(backend) == 3
        for other in ("other", "\ud800"):
            assert other not in backend
            for method in (backend.get, backend.passages):
                with pytest.raises(DocumentNotFoundError, match="no document"):
                    method(other)
            with pytest.raises(DocumentNotFoundError, match="must be in the backend"):
                backend.search([embeddings[0]], subset=["plain", other])
        found = backend.search([embeddings[0]], 9)[0]
        assert [hit.document_id for hit in found] == ["plain", "all ' \x00 \""]


def test_some_passages_are_fetched_without_the_others(
    address: str, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors: list[int] = []

    def counting(values: Any, embedding: Any, dim: int) -> Passage:
        vectors.append(len(embedding))
        return passage_of(values, embedding, dim)

    push(index, address)
    monkeypatch.setattr(f"pocket_colbert.backends.{address.partition(':')[0]}.passage_of", counting)
    with open_backend(address) as backend:
        every = [
            (item.document_id, part) for item in index for part in index.passages(item.document_id)
        ]
        for wanted in (every, every[:1], every[1:2], every[::2], [*every[:1], *every[:1]]):
            vectors.clear()
            spans = [(name, (part.start, part.end)) for name, part in wanted]
            stored = backend.passage_embeddings(spans)
            assert len(vectors) == len(set(spans))
            for (_, part), *embeddings in zip(
                wanted, stored, index.passage_embeddings(spans), strict=True
            ):
                for embedding in embeddings:
                    assert embedding is not None
                    assert embedding.tolist() == part.embedding.tolist()
        missing = [("d0", (7, 9)), ("other", (0, 1)), ("\ud800", (0, 1))]
        for source in (backend, index):
            assert source.passage_embeddings(missing) == [None] * 3
            assert source.passage_embeddings([]) == []
            with pytest.raises(DocumentNotFoundError, match="no document"):
                source.passages("other")


def test_a_client_and_a_collection_of_your_own(index: Index, rng: np.random.Generator) -> None:
    """As the documentation says: an empty collection with the right vectors, and an alias."""
    if "qdrant" in MISSING:
        pytest.skip("needs the 'qdrant' extra")
    from qdrant_client import QdrantClient, models

    from pocket_colbert.backends.qdrant import Qdrant

    client = QdrantClient(":memory:")
    vectors = models.VectorParams(
        size=DIM, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16, on_disk=True,
        hnsw_config=models.HnswConfigDiff(m=0),
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
    )  # fmt: skip
    client.create_collection("papers", {"tokens": vectors})
    engine = Qdrant(client, "papers", local=True)
    with pytest.raises(BackendError, match="has datatype float16, but it must be float32"):
        push(index, engine)
    push(index, engine, datatype="float16")
    named = models.CreateAlias(collection_name="papers", alias_name="current")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=named)])
    with RemoteBackend(Qdrant(client, "current", local=True)) as backend:
        check_ranking(backend, index, queries_of(rng), 10)


class Filtered:
    """Documents with all kinds of metadata in all backends."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        rng = np.random.default_rng(8)
        self.documents: dict[str, dict[str, Any]] = {}
        for number in range(120):
            self.documents[f"d{number}"] = {
                str(rng.choice(NAMES)): self.value(rng, 2) for _ in range(rng.integers(4))
            }
        index = Index(DIM)
        index.add(
            list(self.documents), [[Passage(0, 0, v), Passage(0, 0, -v)] for v in unit_rows(
                rng, 120, DIM).reshape(120, 1, DIM)],
            metadata=list(self.documents.values()),
        )  # fmt: skip
        index.commit()
        assert sum(len(index.passages(name)) for name in self.documents) == 240
        self.query = unit_rows(rng, 1, DIM)
        self.backends: dict[str, RemoteBackend] = {}
        for name, address in addresses.items():
            indexed = ["a"] if name == "qdrant over http" else []
            push(index, address, api_key=QDRANT_KEY, range_fields=indexed)
            if indexed:  # the same again is no other layout
                assert push(index, address, api_key=QDRANT_KEY, range_fields=indexed).written == 0
            if name == "lance, indexed":
                engine = engine_at(address)
                assert engine.read_record()
                indexes = engine._table.list_indices()  # type: ignore[attr-defined]
                assert "values" in {name for index in indexes for name in index.columns}
            self.backends[name] = open_backend(address, api_key=QDRANT_KEY)

    def value(self, rng: np.random.Generator, depth: int) -> Any:
        """Return a value of some kind."""
        choice = rng.integers(6 if depth else 3)
        if choice == 3:
            return [self.value(rng, depth - 1) for _ in range(rng.integers(3))]
        if choice == 4:
            return {str(rng.choice(NAMES)): self.value(rng, depth - 1)}
        if choice == 5:
            return None
        values: list[Any] = NASTY if choice == 0 else NUMBERS if choice == 1 else [0, 1, "a", "ab"]
        return values[rng.integers(len(values))]


@pytest.fixture(scope="module")
def filtered(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Filtered]:
    folder = tmp_path_factory.mktemp("filtered")
    addresses = {name: address_of(name, folder) for name in sorted(set(ENGINES) - MISSING)}
    if not addresses:
        pytest.skip("needs the extra qdrant or lance")
    if "qdrant" in addresses and importlib.util.find_spec("qdrant_edge"):
        addresses["qdrant over http"] = f"{request.getfixturevalue('qdrant_server')}/filtered"
    with pytest.MonkeyPatch.context() as patch:
        if "lance" in addresses:
            addresses["lance, indexed"] = address_of("lance", folder, "indexed")
            patch.setattr("pocket_colbert.backends.lance._INDEXED_ROWS", 240)
        made = Filtered(addresses)
    yield made
    for backend in made.backends.values():
        backend.close()


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=filters)
@example({"a": {"$in": []}})
@example({"$not": {"a": {"$lt": 2**53 - 1}}})
@example({"$or": [{"b": {"$prefix": "a"}}, {"": {"$exists": True}}]})
@example({"a": {"$gt": "a", "$lte": "ab"}})
def test_filters_hold_as_documented(filtered: Filtered, where: Mapping[str, Any]) -> None:
    wanted = {name for name, item in filtered.documents.items() if holds(where, name, item)}
    for name, backend in filtered.backends.items():
        try:
            hits = backend.search([filtered.query], 200, where=where)[0]
        except UnsupportedError as error:
            reasons = ["float64"] + ["compare texts by order"] * name.startswith("qdrant")
            assert any(reason in str(error) for reason in reasons), name
            continue
        assert {hit.document_id for hit in hits} == wanted, name


def test_filters_that_an_engine_lacks_name_it(filtered: Filtered) -> None:
    query = [filtered.query]
    for backend in filtered.backends.values():
        with pytest.raises(UnsupportedError, match=r"(Qdrant|LanceDB) compares .* float64"):
            backend.search(query, where={"a": {"$gt": 2**60}})
        with pytest.raises(InvalidInputError, match="must use"):
            backend.search(query, where={"a": {"$like": 3}})
    if "qdrant" in filtered.backends:
        for where in ({"a": {"$gt": "a"}}, {"$id": {"$lt": "a"}}):
            with pytest.raises(UnsupportedError, match="Qdrant cannot compare texts by order"):
                filtered.backends["qdrant"].search(query, where=where)


def test_a_subset_is_searched_whole_and_must_be_there(
    address: str, index: Index, rng: np.random.Generator
) -> None:
    push(index, address)
    query = [unit_rows(rng, 4, DIM)]
    with open_backend(address) as backend:
        some = [f"d{n}" for n in range(0, 60, 7)]
        hits = backend.search(query, 60, subset=some)[0]
        assert {hit.document_id for hit in hits} == set(some)
        filtered_hits = backend.search(query, 60, subset=some, where={"number": {"$lt": 20}})[0]
        assert {hit.document_id for hit in filtered_hits} == {"d0", "d7", "d14"}
        assert backend.search(query, subset=[]) == [[]]
        with pytest.raises(DocumentNotFoundError, match="'nobody' and 0 others"):
            backend.search(query, subset=["d1", "nobody"])


def test_what_is_for_an_index_only_says_so(address: str, index: Index) -> None:
    push(index, address)
    query = [unit_rows(np.random.default_rng(0), 2, DIM)]
    with open_backend(address) as backend:
        for options in (
            {"hybrid": "rrf"}, {"lookups": 9}, {"query_tokens": 3}, {"query_tolerance": 0.1},
        ):  # fmt: skip
            with pytest.raises(UnsupportedError, match="Leave it out, or search an index folder"):
                backend.search(query, parameters=SearchParameters(**options))  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="k must be"):
            backend.search(query, 0)
        with pytest.raises(InvalidInputError, match="16"):
            backend.search([unit_rows(np.random.default_rng(0), 2, 8)])


def test_a_second_push_writes_what_changed(
    kind: str, address: str, tmp_path: Path, collection: Collection, rng: np.random.Generator
) -> None:
    with Index.create(tmp_path / "i", IndexConfig(dim=DIM, codes="int8")) as index:
        fill(index, collection)
        engine = engine_at(address)
        push(index, engine)
        # d0 had two passages and has one, d1 has other vectors, d2 another text, d4 is gone.
        index.upsert(["d0", "d1"], [unit_rows(rng, 2, DIM), unit_rows(rng, 3, DIM)])
        index.upsert(["d2"], [collection.embeddings[2][0].embedding], texts=["Another text"])
        index.delete(["d4"])
        index.add(["new"], [unit_rows(rng, 4, DIM)])
        with pytest.raises(InvalidInputError, match=r"commit\(\) first"):
            push(index, address)
        index.commit()
        before = RemoteBackend(engine if kind == "qdrant" else engine_at(address))
        done = push(index, engine)
        assert (done.written, done.unchanged, done.deleted) == (4, 56, 2)
        again = push(index, engine)
        assert (again.written, again.unchanged, again.deleted) == (0, 60, 0)
        # A server shows what there is; a table stays as it was when it was opened.
        assert ("new" in before) == (kind == "qdrant") and len(before) == 60
        engine.close()
        before.close()
        with open_backend(address) as backend:
            check_ranking(backend, index, queries_of(rng), 100)
            assert "d4" not in backend and backend.get("d2").text == "Another text"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its lock file
def test_a_folder_of_qdrant_takes_one_process(tmp_path: Path, index: Index) -> None:
    if "qdrant" in MISSING:
        pytest.skip("needs the 'qdrant' extra")
    address = address_of("qdrant", tmp_path)
    push(index, address)
    with open_backend(address), pytest.raises(BackendError, match="already accessed by another"):
        open_backend(address)


def test_a_closed_backend_says_so(address: str, index: Index) -> None:
    push(index, address)
    with open_backend(address) as backend:
        assert "d1" in backend
    backend.close()  # a second time does nothing
    assert "closed" in repr(backend)
    query = [unit_rows(np.random.default_rng(0), 2, DIM)]
    calls: list[Callable[[], object]] = [
        lambda: backend.search(query), lambda: backend.get("d1"), lambda: backend.passages("d1"),
        lambda: "d1" in backend, backend.refresh, lambda: backend.passage_embeddings([]),
    ]  # fmt: skip
    for call in calls:
        with pytest.raises(ClosedError, match="the backend is closed"):
            call()


def test_a_reader_refreshes(address: str, index: Index, rng: np.random.Generator) -> None:
    engine = engine_at(address)
    push(index, engine)
    with RemoteBackend(engine) as backend:
        index.add(["new"], [unit_rows(rng, 4, DIM)])
        index.commit()
        push(index, engine)
        assert backend.refresh() and not backend.refresh()
        assert "new" in backend and len(backend) == 61
        record = backend.record.to_text()
        engine.write_record(record.replace('"dim": 16', '"dim": 8'))
        with pytest.raises(BackendError, match="another model"):
            backend.refresh()
        assert len(backend.search([unit_rows(rng, 2, DIM)], 3)[0]) == 3


def test_a_reader_goes_on_while_a_push_is_under_way(
    address: str, kind: str, index: Index, rng: np.random.Generator
) -> None:
    engine = engine_at(address)
    push(index, engine)
    with RemoteBackend(engine) as backend:
        index.add(["new"], [unit_rows(rng, 4, DIM)])
        index.delete(["d0"])
        index.commit()
        # Another connection: Qdrant's local mode has one at a time.
        pushing = engine if kind == "qdrant" else engine_at(address)
        with pytest.raises(BackendError, match="unplugged"):
            push(index, unplugged(pushing, 0))
        for news in (kind == "qdrant", False):
            assert backend.refresh() == news
            assert backend.record.complete == (kind == "lance")
            assert len(backend) == 60 and "d0" in backend and "new" not in backend
            assert len(backend.search([unit_rows(rng, 2, DIM)], 60)[0]) == 60
        del pushing.upsert, pushing.batch_elements  # type: ignore[attr-defined]
        push(index, pushing)
        assert backend.refresh() and backend.record.complete
        assert len(backend) == 60 and "d0" not in backend and "new" in backend


def unplugged(engine: Engine, writes: int) -> Engine:
    """Have an engine break down after so many writes, each of few rows."""
    upsert = engine.upsert

    def failing(rows: Sequence[Row]) -> None:
        nonlocal writes
        writes -= 1
        if writes < 0:
            raise BackendError("unplugged")
        upsert(rows)

    engine.upsert = failing  # type: ignore[method-assign]
    engine.batch_elements = 40 * DIM  # type: ignore[misc]
    return engine


@pytest.mark.parametrize("writes", [0, 1, 3])
def test_a_push_that_breaks_off_is_found_out_and_goes_on(
    address: str, index: Index, rng: np.random.Generator, writes: int
) -> None:
    engine = engine_at(address)
    with pytest.raises(BackendError, match="unplugged"):
        push(index, unplugged(engine, writes))
    engine.close()
    with pytest.raises(BackendError, match="push again to resume"):
        open_backend(address)
    with open_backend(address, incomplete=True) as backend:
        found = backend.search([unit_rows(rng, 2, DIM)], 100)[0]
        assert bool(found) == (writes > 0) and len(found) < 60
    done = push(index, address)
    assert done.documents == 60 and (done.unchanged > 0) == (writes > 0)
    with open_backend(address) as backend:
        check_ranking(backend, index, queries_of(rng), 100)


def test_rows_of_a_push_that_broke_off_do_not_stay(
    address: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    """Passages came, their first one did not, and then the document had fewer of them."""
    long = [Passage(n, n + 1, unit_rows(rng, 3, DIM)) for n in range(30)]
    with Index.create(tmp_path / "i", IndexConfig(dim=DIM)) as index:
        index.add(["long"], [long], texts=["x" * 30])
        index.commit()
        engine = engine_at(address)
        with pytest.raises(BackendError, match="unplugged"):
            push(index, unplugged(engine, 2))
        engine.close()
        index.upsert(["long"], [long[:2]], texts=["x" * 2])
        index.commit()
        done = push(index, address)
        assert (done.written, done.documents, done.passages) == (1, 1, 2) and done.deleted > 20
        with open_backend(address) as backend:
            assert len(backend.passages("long")) == 2


@pytest.mark.parametrize("before", [0, 40])
@pytest.mark.parametrize("writes", [1, 2])
def test_a_document_pushed_by_halves_is_written_again(
    address: str, rng: np.random.Generator, writes: int, before: int
) -> None:
    """Some of its passages came, perhaps in place of old ones: it has not come."""
    with Index(DIM) as index:
        if before:
            old = [Passage(n, n + 1, unit_rows(rng, 3, DIM)) for n in range(before)]
            index.add(["long"], [old], texts=["y" * before])
            index.commit()
            push(index, address)
        index.upsert(["other"], [unit_rows(rng, 2, DIM)])
        long = [Passage(n, n + 1, unit_rows(rng, 3, DIM)) for n in range(30)]
        index.upsert(["long"], [long], texts=["x" * 30])
        index.commit()
        engine = engine_at(address)
        with pytest.raises(BackendError, match="unplugged"):
            push(index, unplugged(engine, writes))
        engine.close()
        with pytest.raises(BackendError, match="incomplete"):
            open_backend(address)
        done = push(index, address)
        assert (done.documents, done.passages) == (2, 31)
        assert done.written >= 1 and done.written + done.unchanged == 2
        with open_backend(address) as backend:
            for mine, theirs in zip(backend.passages("long"), index.passages("long"), strict=True):
                assert (mine.start, mine.end) == (theirs.start, theirs.end)
                np.testing.assert_array_equal(mine.embedding, theirs.embedding)
            assert backend.get("long").text == "x" * 30
        assert push(index, address).unchanged == 2


KILLED = """
import os, sys
from pocket_colbert import Index
from pocket_colbert.backends import engine_at, push
engine = engine_at(sys.argv[2])
engine.batch_elements = 640
upsert, count = engine.upsert, 0
def counting(rows):
    global count
    upsert(rows)
    count += 1
    if count == 3:
        os.kill(os.getpid(), 9)
engine.upsert = counting
push(Index.load(sys.argv[1]), engine)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_push_is_found_out_and_goes_on(address: str, index: Index, tmp_path: Path) -> None:
    index.save(tmp_path / "index")
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "index", address], check=False, timeout=120
    )
    assert done.returncode == -9
    with pytest.raises(BackendError, match="incomplete"):
        open_backend(address)
    with Index.load(tmp_path / "index") as loaded:
        report = push(loaded, address)
        assert 0 < report.unchanged < 60 and report.documents == 60
        with open_backend(address) as backend:
            check_ranking(backend, loaded, queries_of(np.random.default_rng(2)), 10)


def test_two_pushes_at_once_are_found_out(address: str, index: Index) -> None:
    engine = engine_at(address)
    finish = engine.finish

    def other(layout: Any) -> None:
        record = Record.from_text(engine.read_record() or "", "here")
        engine.write_record(record.to_text().replace(record.push, "another"))
        finish(layout)

    engine.finish = other  # type: ignore[method-assign]
    with pytest.raises(BackendError, match="another push"):
        push(index, engine)
    engine.close()
    with pytest.raises(BackendError, match="incomplete"):
        open_backend(address)


def test_another_index_is_refused(address: str, index: Index, rng: np.random.Generator) -> None:
    push(index, address)
    for config, named in (
        (IndexConfig(dim=DIM, model="f" * 64), "model"), (IndexConfig(dim=8), "width"),
    ):  # fmt: skip
        with Index(config.dim, config=config) as other:
            other.add(["a"], [unit_rows(rng, 1, config.dim)])
            other.commit()
            with pytest.raises(InvalidInputError, match=f"with {named} .* push to another name"):
                push(other, address)
    for options, named in (({"datatype": "float16"}, "datatype"), ({"approximate": True}, "appr")):
        with pytest.raises(InvalidInputError, match=f"with {named}"):
            push(index, address, **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="datatype must be 'float32' or 'float16'"):
        push(index, address, datatype="uint8")
    with open_backend(address) as backend:  # nothing has happened to it
        assert len(backend) == 60


def test_what_is_not_a_backend(kind: str, address: str, tmp_path: Path, index: Index) -> None:
    with pytest.raises(BackendNotFoundError, match="no folder"):
        open_backend(address)
    assert not (tmp_path / kind).exists()
    push(index, address)
    with pytest.raises(BackendNotFoundError, match="nothing has been pushed to"):
        open_backend(address_of(kind, tmp_path, "other"))
    foreign = address_of(kind, tmp_path, "foreign")
    if kind == "lance":
        import lancedb

        lancedb.connect(tmp_path / kind).create_table("foreign", [{"a": 1}])
    else:
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=str(tmp_path / kind))
        size = models.VectorParams(size=2, distance=models.Distance.DOT)
        client.create_collection("foreign", size)
        client.upsert("foreign", [models.PointStruct(id=1, vector=[0.0, 1.0])])
        client.create_collection("empty", size)
        client.close()
        with pytest.raises(BackendError, match="empty collection whose vector 'tokens' has size"):
            push(index, address_of(kind, tmp_path, "empty"))
    for use in (open_backend, lambda to: push(index, to)):
        with pytest.raises(BackendError, match="pocket-colbert did not"):
            use(foreign)


def test_a_damaged_record_is_a_backend_error(address: str, index: Index) -> None:
    engine = engine_at(address)
    push(index, engine)
    good = engine.read_record() or ""
    negative = good.replace('"documents": 60', '"documents": -1')
    for text in ("", "{}", "[]", '{"format": 1}', good.replace("int4", "int5"), negative):
        engine.write_record(text)
        for use in (RemoteBackend, lambda engine: push(index, engine)):
            with pytest.raises(BackendError, match="damaged: its record"):
                use(engine)
    engine.write_record(good.replace('"format": 1', '"format": 2'))
    with pytest.raises(BackendError, match="has format 2, this release reads 1"):
        RemoteBackend(engine)
    engine.close()


@pytest.mark.parametrize(
    "address",
    ["papers", "http://host/papers", "qdrant://papers", "qdrant://host/", "lance://papers",
     "qdrant://:6333/papers", "qdrant://host:port/papers", "qdrant+https://[::1/papers"],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(InvalidInputError, match="address of a"):
        open_backend(address)


def test_points_of_others_are_found_out(address: str, kind: str, index: Index) -> None:
    engine = engine_at(address)
    push(index, engine)
    if kind == "qdrant":
        models = importlib.import_module("qdrant_client").models
        point = models.PointStruct(id=1, vector={"tokens": [[1.0] * DIM]}, payload={"a": 1})
        engine._client.upsert("papers", [point])  # type: ignore[attr-defined]
    else:
        engine._merge([{"row": "a", "document_id": "x", "passage": 0}])  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match="did not write|something else is writing"):
        push(index, engine)
    engine.close()


def test_addresses_say_where_and_hide_keys() -> None:
    from pocket_colbert.backends.address import parse_address

    for text, place, name in (
        ("qdrant://host/a%20b", "http://host:6333", "a b"),
        ("qdrant+https://QDRANT_KEY@host:443/x", "https://host:443", "x"),
        ("qdrant+https://user:QDRANT_KEY@[::1]/proxied/x", "https://[::1]:6333/proxied", "x"),
        ("qdrant://:memory:/x", ":memory:", "x"),
        ("qdrant:///data/q/x", "/data/q", "x"),
        ("lance://my.lance/x", "my.lance", "x"),
        ("lance+s3://bucket/prefix/x", "s3://bucket/prefix", "x"),
    ):
        found = parse_address(text)
        assert (found.location, found.name) == (place, name)
        assert "QDRANT_KEY" not in f"{found} {found!r}"
        assert ("QDRANT_KEY" in text) == (found.key == "QDRANT_KEY")


def test_joined_indexes_are_pushed_as_one(
    address: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    folders = [
        Collection(rng, [f"{name}{n}" for n in range(9)]).write(tmp_path / name) for name in "ab"
    ]
    with MultiIndex.load(folders) as joined:
        assert push(joined, address).documents == 18
        joined.save(tmp_path / "one")
    with open_backend(address) as backend, Index.load(tmp_path / "one") as one:
        check_ranking(backend, one, queries_of(rng), 10)


def test_too_large_a_passage_is_refused(address: str, rng: np.random.Generator) -> None:
    with Index(1024) as index:
        small = [str(n) for n in range(300)]  # more than one batch comes before it
        index.add(small, [unit_rows(rng, 1, 1024)] * 300)
        index.add(["large"], [unit_rows(rng, 1025, 1024)])
        index.commit()
        assert index.snapshot.largest_passage() == ("large", 1025)
        if address.startswith("qdrant"):
            with pytest.raises(InvalidInputError, match="'large'.*shorter passages"):
                push(index, address)
            with pytest.raises(BackendNotFoundError):  # nothing was sent
                open_backend(address)
        else:
            assert push(index, address).tokens == 1325


def test_float16_costs_next_to_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    """LanceDB alone: Qdrant has it on servers, its local mode keeps float32."""
    if "lance" in MISSING:
        pytest.skip("needs the 'lance' extra")
    index = Index(32)
    index.add([f"d{n}" for n in range(200)], cone_documents(rng, [30] * 200, 32))
    index.commit()
    for datatype in ("float32", "float16"):
        push(index, f"lance://{tmp_path}/{datatype}", datatype=datatype)
    queries = cone_documents(rng, [32] * 20, 32)
    with open_backend(f"lance://{tmp_path}/float32") as full:
        expected = full.search(queries, 200)
    with open_backend(f"lance://{tmp_path}/float16") as half:
        assert half.record.datatype == "float16"
        for wanted, hits in zip(expected, half.search(queries, 200), strict=True):
            scores = {hit.document_id: hit.score for hit in wanted}
            for hit in hits:
                assert hit.score == pytest.approx(scores[hit.document_id], abs=32 * 3e-4)
    stored = sum(path.stat().st_size for path in (tmp_path / "float16.lance").rglob("*"))
    assert stored < 0.6 * sum(p.stat().st_size for p in (tmp_path / "float32.lance").rglob("*"))


def test_many_batches_are_joined(
    tmp_path: Path, index: Index, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "lance" in MISSING:
        pytest.skip("needs the 'lance' extra")
    monkeypatch.setattr("pocket_colbert.backends.lance._SMALL_FRAGMENTS", 5)
    monkeypatch.setattr("pocket_colbert.backends.lance.Lance.batch_elements", 20 * DIM)
    address = f"lance://{tmp_path}/papers"
    sizes = []
    for _ in range(2):
        push(index, address)
        sizes.append(
            sum(path.stat().st_size for path in (tmp_path / "papers.lance/data").iterdir())
        )
        assert len(list((tmp_path / "papers.lance/data").iterdir())) < 6
    assert sizes[1] < 1.2 * sizes[0]  # a push without changes writes a record
    with open_backend(address) as backend:
        check_ranking(backend, index, queries_of(rng), 10)


def test_an_approximate_search_scores_what_it_finds_exactly(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    if "lance" in MISSING:
        pytest.skip("needs the 'lance' extra")
    index = Index(32)
    lengths = rng.integers(5, 12, size=600).tolist()
    index.add([f"d{n}" for n in range(600)], cone_documents(rng, lengths, 32))
    index.commit()
    address = f"lance://{tmp_path}/papers"
    push(index, address, approximate=True)
    queries = cone_documents(rng, [12] * 20, 32)
    with open_backend(address) as backend:
        exact = backend.search(queries, 10, parameters=EXACT)
        found = backend.search(queries, 10)
        few = backend.search(queries, 10, parameters=SearchParameters(candidates=10))
    shares = []
    for approximate in (found, few):
        same = 0
        for wanted, hits in zip(exact, approximate, strict=True):
            scores = {hit.document_id: hit.score for hit in wanted}
            assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
            for hit in hits:
                same += hit.document_id in scores
                assert hit.score == pytest.approx(scores.get(hit.document_id, hit.score), abs=1e-4)
        shares.append(same / 200)
    assert shares[0] >= 0.97 and shares[1] < shares[0]


def test_a_retriever_takes_a_backend_for_an_index(
    kind: str, address: str, library: Retriever, library_folder: Path, encoder: Encoder
) -> None:
    with Index.load(library_folder) as index:
        push(index, address)
    with open_backend(address) as backend:
        retriever = Retriever(Encoder.for_index(backend.config), backend)
        questions = ["Which city is French?", "who keeps bees?", "bread"]
        for mine, theirs in zip(
            retriever.retrieve(questions, where={"kind": {"$ne": "recipe"}}),
            library.retrieve(questions, where={"kind": {"$ne": "recipe"}}),
            strict=True,
        ):
            assert [hit.document_id for hit in mine] == [hit.document_id for hit in theirs]
            for hit, other in zip(mine, theirs, strict=True):
                assert (hit.text, hit.metadata) == (other.text, other.metadata)
                assert hit.score == pytest.approx(other.score, abs=0.1)
        best = retriever.retrieve(questions)[1][0]
        assert best.document_id == "contract"
        assert retriever.explain(questions[1], best).score == pytest.approx(best.score, abs=1e-3)
        start, end = retriever.snippets(questions[1], [best])[0]
        assert "bees" in (best.text or "")[start:end]
        ids = [item.document_id for item in LIBRARY]
        assert len(retriever.rerank_ids("bees", ids)) == len(ids)
        with pytest.raises(InvalidInputError, match="needs an Index to write to"):
            retriever.add(LIBRARY)
    with open_backend(address) as backend:
        with pytest.raises(InvalidInputError, match="made with another model"):
            Retriever(Encoder.load("tiny"), backend)


def test_the_commands(
    kind: str, address: str, library_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = CliRunner().invoke
    done = run(main, ["push", str(library_folder), "--to", address, "--json"])
    assert json.loads(done.stdout)["documents"] == len(LIBRARY), done.output
    done = run(main, ["push", str(library_folder), "--to", address])
    assert f"{len(LIBRARY)} unchanged" in done.stdout and address in done.stdout
    done = run(main, ["search", address, "who keeps bees?", "-k", "1", "--explain"])
    assert "contract" in done.stdout and "bees - bees" in done.stdout, done.output
    query = ["search", address, "bees", "--json", "--where", '{"kind": "city"}']
    hits = json_lines(run(main, query).stdout)
    assert {hit["document_id"] for hit in hits} == {"paris", "berlin"}
    done = run(main, ["search", address, "bees", "--hybrid", "rrf"])
    assert done.exit_code == 2 and "hybrid works only for an index in this process" in done.stderr
    done = run(main, ["search", address, "bees", "--also", str(library_folder)])
    assert done.exit_code == 2 and "push them to one backend" in done.stderr
    monkeypatch.setenv("QDRANT_API_KEY", "s3cret")
    done = run(main, ["search", "qdrant://127.0.0.1:9/papers", "bees"])
    if kind == "qdrant":
        assert done.exit_code == 2 and "s3cret" not in done.output
        assert "qdrant://127.0.0.1:9/papers did not answer" in done.stderr


def test_a_missing_extra_names_the_pip_line(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    from pocket_colbert import OptionalDependencyError

    monkeypatch.delitem(sys.modules, f"pocket_colbert.backends.{kind}", raising=False)
    monkeypatch.setitem(sys.modules, ENGINES[kind], None)
    with pytest.raises(OptionalDependencyError, match=rf"pocket-colbert\[{kind}\]"):
        engine_at(f"{kind}://:memory:/x")
