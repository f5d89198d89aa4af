"""Equal searches are computed once, until the index changes; what each part took is said."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient
from uvicorn.server import ServerState

import pocket_colbert.server.messages as m
from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.server.answer_cache import Answer, AnswerCache, Computation
from pocket_colbert.server.app import Limits, create_app
from pocket_colbert.server.connections import protocol_of
from pocket_colbert.server.problems import Deadline
from pocket_colbert.server.security import listening_socket
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service
from pocket_colbert.server.writing import WritingService

QUERY = {"query": "who pays for the roof?", "k": 3}


class Counting(WritingService):
    """Counts searches, and can hold them up or let them fail."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.searches = 0
        self.go = threading.Event()
        self.go.set()
        self.errors: list[Exception] = []

    def search(self, request: m.SearchRequest, deadline: Deadline) -> m.SearchResponse:
        self.searches += 1
        error = self.errors.pop() if self.errors else None
        assert self.go.wait(20)
        if error is not None:
            raise error
        return super().search(request, deadline)


@pytest.fixture
def service(encoder: Encoder, tmp_path: Path) -> Counting:
    index = Index.create(tmp_path / "served.index", IndexConfig(dim=encoder.dim))
    Retriever(encoder, index).add([Document(f"d{n}", f"Tenant {n} pays.") for n in range(5)])
    index.commit()
    return Counting(encoder, index)


@pytest.fixture
def client(service: Counting) -> Iterator[TestClient]:
    app = create_app(service, limits=Limits(concurrency=2))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def test_an_equal_search_is_computed_once(client: TestClient, service: Counting) -> None:
    first, again = (client.post("/api/search", json=QUERY) for _ in range(2))
    assert service.searches == 1 and again.content == first.content
    for other in ({"k": 2}, {"explain": True}, {"where": {"a": 1}}, {"mode": "exact"}):
        client.post("/api/search", json=QUERY | other)
    assert service.searches == 5
    client.post("/api/search", json=QUERY | {"k": 3.0, "mode": "auto"})  # says the same
    assert service.searches == 5


def test_every_change_is_seen_at_once(client: TestClient, service: Counting) -> None:
    before = ids(client.post("/api/search", json=QUERY))
    document = {"id": "new", "text": "Who pays for the roof? The landlord pays for the roof."}
    client.post("/api/documents", json={"documents": [document]})
    assert ids(client.post("/api/search", json=QUERY))[0] == "new" and service.searches == 2
    client.put("/api/documents", json={"documents": [document | {"text": "Bees."}]})
    assert ids(client.post("/api/search", json=QUERY))[0] != "new" and service.searches == 3
    client.delete("/api/documents", params={"id": before[0]})
    assert before[0] not in ids(client.post("/api/search", json=QUERY))


def test_what_another_process_commits_is_seen(encoder: Encoder, tmp_path: Path) -> None:
    path = tmp_path / "made.index"
    with Index.create(path, IndexConfig(dim=encoder.dim)) as writer:
        retriever = Retriever(encoder, writer)
        retriever.add([Document("a", "Bees.")])
        writer.commit()
        app = create_app(Service(encoder, ServedIndex(Index.load(path))))
        with TestClient(app, base_url="http://127.0.0.1") as client:
            assert ids(client.post("/api/search", json=QUERY)) == ["a"]
            retriever.add([Document("b", "Who pays for the roof?")])
            writer.commit()
            assert ids(client.post("/api/search", json=QUERY)) == ["b", "a"]


def ask(client: TestClient, pool: ThreadPoolExecutor) -> Future[Any]:
    return pool.submit(client.post, "/api/search", json=QUERY)


def test_equal_searches_at_the_same_time_are_one(client: TestClient, service: Counting) -> None:
    service.go.clear()
    with ThreadPoolExecutor(8) as pool:
        answers = [ask(client, pool) for _ in range(6)]
        service_waits_for(service, 1)
        # Those that wait take no place: another query is answered with one of the two.
        other = pool.submit(client.post, "/api/encode", json={"texts": ["x"], "task": "query"})
        assert other.result(20).status_code == 200
        service.go.set()
        assert len({answer.result(20).content for answer in answers}) == 1
    assert service.searches == 1


def service_waits_for(service: Counting, searches: int) -> None:
    for _ in range(1000):
        if service.searches >= searches:
            return
        threading.Event().wait(0.01)
    raise AssertionError("no search began")


def test_a_failure_is_not_shared(client: TestClient, service: Counting) -> None:
    service.go.clear()
    service.errors = [InvalidInputError("only this one.")]
    with ThreadPoolExecutor(3) as pool:
        answers = [ask(client, pool) for _ in range(3)]
        service_waits_for(service, 1)
        service.go.set()
        statuses = sorted(answer.result(20).status_code for answer in answers)
    assert statuses == [200, 200, 422] and service.searches == 2


def test_a_change_meanwhile_is_in_later_answers(client: TestClient, service: Counting) -> None:
    """A search that began before a commit must not answer one that began after it."""
    service.go.clear()
    with ThreadPoolExecutor(2) as pool:
        early = ask(client, pool)
        service_waits_for(service, 1)
        document = {"id": "new", "text": "Who pays for the roof?"}
        client.post("/api/documents", json={"documents": [document]})
        late = ask(client, pool)
        service_waits_for(service, 2)
        service.go.set()
        assert early.result(20).status_code == 200
        assert ids(late.result(20))[0] == "new"
    assert ids(client.post("/api/search", json=QUERY))[0] == "new" and service.searches == 2


def test_answers_say_what_they_took(client: TestClient) -> None:
    def parts() -> list[str]:
        header = client.post("/api/search", json=QUERY).headers["server-timing"]
        assert re.fullmatch(r"[a-z]+;dur=\d+\.\d\d(, [a-z]+;dur=\d+\.\d\d)*", header), header
        return re.findall("[a-z]+(?=;)", header)

    assert parts() == ["queue", "encode", "search", "snippets"]
    assert parts() == ["queue", "cache"]


class Version:
    """What is served, as long as it does not change."""


def test_the_cache_is_bounded() -> None:
    cache, version = AnswerCache(answers=3, size=800), Version()

    def put(key: bytes, size: int) -> None:
        begun = cache.begin(version, key)
        assert isinstance(begun, Computation)
        begun.finish(Answer(b"x" * size, False))

    def has(key: bytes) -> bool:
        begun = cache.begin(version, key)
        if isinstance(begun, Computation):
            begun.fail()
        return isinstance(begun, Answer)

    for key in (b"a", b"b", b"c"):
        put(key, 10)
    assert has(b"a")  # and so it is the last one that was used
    put(b"d", 100)
    assert [has(key) for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
    put(b"large", 101)
    assert not has(b"large")
    small = AnswerCache(answers=100, size=800)
    for number in range(20):
        begun = small.begin(version, bytes([number]))
        assert isinstance(begun, Computation)
        begun.finish(Answer(b"x" * 100, False))
    kept = [isinstance(small.begin(version, bytes([n])), Answer) for n in range(20)]
    assert kept == [False] * 12 + [True] * 8
    other = Version()
    assert isinstance(small.begin(other, bytes([19])), Computation)


def test_the_cache_keeps_no_version_alive() -> None:
    import gc
    import weakref

    cache, version = AnswerCache(), Version()
    begun = cache.begin(version, b"a")
    assert isinstance(begun, Computation)
    begun.finish(Answer(b"x", False))
    watched = weakref.ref(version)
    del version, begun
    gc.collect()
    assert watched() is None


def test_answers_are_sent_at_once() -> None:
    """Otherwise the body waits 40 ms until the client has confirmed the head."""

    async def accepted() -> int:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(lambda: None, ws="none")
        config.load()
        made: list[Any] = []

        def protocol() -> Any:
            made.append(protocol_of(5)(config=config, server_state=ServerState(), app_state={}))
            return made[-1]

        listening, _ = listening_socket("127.0.0.1", 0, token=None)
        server = await loop.create_server(protocol, sock=listening)
        async with server:
            _, writer = await asyncio.open_connection(*listening.getsockname())
            while not made or made[0].transport is None:
                await asyncio.sleep(0.01)
            own = made[0].transport.get_extra_info("socket")
            option: int = own.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            writer.close()
        return option

    assert asyncio.run(accepted())
