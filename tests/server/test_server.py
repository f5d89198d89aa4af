"""The server: what it answers, what it refuses, what it holds under load, and how it stops."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import uvicorn
from click.testing import CliRunner
from starlette.testclient import TestClient
from threadpoolctl import threadpool_info, threadpool_limits

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.cli.commands import main
from pocket_colbert.search.relevance import falling
from pocket_colbert.server.app import Limits, create_app
from pocket_colbert.server.run import run
from pocket_colbert.server.security import LOOPBACK_HOSTS, host_name, listening_socket
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service
from pocket_colbert.server.writing import WritingService
from tests.support.servers import BASE, error_of, serve_command

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
]

DOCUMENTS = [
    Document("bees.md", "Bees swarm in May. A swarm looks for a new home.", "Bees", {"year": 2024}),
    Document("bread", "Bread needs flour, water, salt and time.", None, {"year": 2020}),
    Document("a/b?c#d", "The moon moves the tides of the sea. 🌊 Twice a day.", "Tides"),
]


def make_index(folder: Path, encoder: Encoder) -> Path:
    """Write the documents to an index in a folder."""
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(folder, config) as index:
        Retriever(encoder, index).add(DOCUMENTS)
        index.commit()
    return folder


@pytest.fixture
def folder(tmp_path: Path, encoder: Encoder) -> Path:
    """An index of three documents."""
    return make_index(tmp_path / "small.index", encoder)


@pytest.fixture
def serving(folder: Path, encoder: Encoder) -> Iterator[Callable[..., TestClient]]:
    """Make clients of servers with options; all are stopped at the end."""
    open_clients = []

    def start(*, writable: bool = True, **options: Any) -> TestClient:
        service = (
            WritingService(encoder, Index.load(folder, writable=True))
            if writable
            else Service(encoder, ServedIndex(Index.load(folder)))
        )
        client = TestClient(create_app(service, **options), base_url=BASE)
        client.__enter__()
        open_clients.append(client)
        return client

    yield start
    for client in open_clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(serving: Callable[..., TestClient]) -> TestClient:
    """A client of a server with the default options."""
    return serving(hosts=LOOPBACK_HOSTS)


def test_search_is_the_retrievers(client: TestClient, folder: Path, encoder: Encoder) -> None:
    query = "when do the sea's tides rise?"
    asked = {"query": query, "k": 2, "explain": True, "text": True, "snippet_length": 30}
    hits = client.post("/api/search", json=asked).json()["hits"]
    with Index.load(folder) as index:
        retriever = Retriever(encoder, index)
        expected = retriever.retrieve([query], 2)[0]
        assert [hit["id"] for hit in hits] == [hit.document_id for hit in expected]
        for hit, want in zip(hits, expected, strict=True):
            assert hit["score"] == pytest.approx(want.score)
            assert (hit["text"], hit["title"]) == (want.text, want.title)
            start, end = hit["snippet_span"]
            assert hit["snippet"] == (want.text or "")[start:end] and len(hit["snippet"]) <= 30
            why = retriever.explain(query, want)
            got = hit["explanation"]["matches"]
            assert [m["document_token"] for m in got] == [m.document_token for m in why.matches]
            assert sum(m["share"] for m in got) == pytest.approx(1)
    assert hits[0]["id"] == "a/b?c#d"


def test_a_search_encodes_its_query_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, calls = Encoder._encode, []

    def counting(self: Encoder, texts: list[str], *arguments: Any) -> Any:
        calls.append(texts)
        return encode(self, texts, *arguments)

    monkeypatch.setattr(Encoder, "_encode", counting)
    for query in ("tides", "bread", "bread and tides"):
        asked = {"query": query, "k": 3, "explain": True}
        assert len(client.post("/api/search", json=asked).json()["hits"]) == 3
    assert calls == [["tides"], ["bread"], ["bread and tides"]]


def test_search_filters_and_keywords(client: TestClient) -> None:
    (year,) = client.get("/api/fields").json()["fields"]
    assert year == {
        "name": "year", "kind": "number", "least": 2020, "greatest": 2024,
        "values": [{"value": 2020, "documents": 1}, {"value": 2024, "documents": 1}],
    }  # fmt: skip
    asked = {"query": "flour", "where": {"year": {"$gte": 2021}}}
    hits = client.post("/api/search", json=asked).json()["hits"]
    assert [hit["id"] for hit in hits] == ["bees.md"]
    hits = client.post("/api/search", json={"query": "flour", "hybrid": "keywords"}).json()["hits"]
    assert [hit["id"] for hit in hits] == ["bread"]
    assert "text" not in hits[0] and "explanation" not in hits[0]


def test_rerank_orders_as_the_retriever(client: TestClient, encoder: Encoder) -> None:
    texts = ["Bread.", "Paris is in France. " * 90, "Paris is the capital of France.", ""]
    query = "what is the capital of France?"
    results = client.post("/api/rerank", json={"query": query, "documents": texts}).json()[
        "results"
    ]
    expected = Retriever(encoder).rerank(query, texts)
    assert [str(item["index"]) for item in results] == [hit.document_id for hit in expected]
    assert [item["score"] for item in results] == pytest.approx([hit.score for hit in expected])
    assert [item["passages"][0]["start"] for item in results] == [
        hit.passages[0].start for hit in expected
    ]
    best = client.post("/api/rerank", json={"query": query, "documents": texts, "k": 1}).json()
    assert best["results"] == results[:1]


@pytest.mark.parametrize(
    ("path", "extra", "documents_back"),
    [
        # What Cohere's SDK 5 sends for its two versions, and Jina's for its one.
        ("/v1/rerank", {"model": "rerank-v3.5", "top_n": 2, "return_documents": False}, False),
        ("/v2/rerank", {"model": "rerank-v3.5", "top_n": 2, "max_tokens_per_doc": 4096}, False),
        ("/v1/rerank", {"model": "jina-reranker-v2", "top_n": 2}, True),
        ("/rerank", {"top_n": 2, "truncation": True}, True),
    ],
)
def test_rerank_as_other_clients_ask_for_it(
    client: TestClient, path: str, extra: dict[str, Any], documents_back: bool
) -> None:
    texts = ["Bread needs flour.", {"text": "Paris is the capital of France."}, "Bees swarm."]
    asked = {"query": "capital of France", "documents": texts, **extra}
    body = client.post(path, json=asked).json()
    assert len(body["results"]) == 2 and body["results"][0]["index"] == 1
    scores = [item["relevance_score"] for item in body["results"]]
    assert 1 >= scores[0] > scores[1] >= 0
    expected = {"text": "Paris is the capital of France."} if documents_back else None
    assert body["results"][0].get("document") == expected
    assert body["id"] and body["model"] == extra.get("model", body["model"])
    assert body["usage"]["total_tokens"] > 10 and body["meta"]["billed_units"]["search_units"] == 1


def test_encode_gives_the_encoders_vectors(client: TestClient, encoder: Encoder) -> None:
    texts = ["a query", ""]
    for task, expected in (
        ("query", encoder.encode_query(texts)),
        ("document", encoder.encode_document(texts)),
    ):
        asked = {"texts": texts, "task": task}
        floats = client.post("/api/encode", json=asked).json()["embeddings"]
        packed = client.post("/api/encode", json={**asked, "format": "base64"}).json()
        for want, rows, item in zip(expected, floats, packed["embeddings"], strict=True):
            assert np.array_equal(np.array(rows, np.float32), want)
            read = np.frombuffer(base64.b64decode(item["data"]), "<f4")
            assert np.array_equal(read.reshape(item["num_tokens"], packed["dim"]), want)


def test_documents_come_and_go(client: TestClient, folder: Path) -> None:
    new = {"id": "d", "text": "Roofs keep rain out.", "title": None, "metadata": {"n": [1]}}
    added = client.post("/api/documents", json={"documents": [new]})
    assert added.status_code == 201 and added.json()["documents"] == 4
    with Index.load(folder) as reader:  # durable when the answer is there
        assert reader.get("d").text == new["text"]
    (got,) = client.get("/api/documents", params={"id": "d"}).json()["documents"]
    assert got == {**new, "source": None, "sections": []}
    again = client.post("/api/documents", json={"documents": [new]})
    assert error_of(again, 409) == "duplicate_id"
    changed = {**new, "text": "Roofs are red."}
    assert client.put("/api/documents", json={"documents": [changed]}).json()["documents"] == 4
    assert client.post("/api/search", json={"query": "red roofs"}).json()["hits"][0]["id"] == "d"
    twice = client.put("/api/documents", json={"documents": [new, new]})
    assert error_of(twice, 409) == "duplicate_id"
    ids = {"id": ["d", "a/b?c#d"]}
    assert client.delete("/api/documents", params=ids).json() == {"deleted": 2, "documents": 2}
    assert error_of(client.get("/api/documents", params=ids), 404) == "unknown_id"
    assert error_of(client.delete("/api/documents", params={"id": ["bread", "no"]}), 404)
    assert client.get("/api/info").json()["documents"] == 2  # the known one has stayed


def test_many_small_commits_leave_few_segments(client: TestClient, folder: Path) -> None:
    for n in range(12):
        document = {"id": f"n{n}", "text": f"Number {n}."}
        assert client.post("/api/documents", json={"documents": [document]}).status_code == 201
    with Index.load(folder) as reader:
        assert len(reader) == 15 and reader.info().segments < 9


def test_a_failed_commit_is_told_and_can_be_repeated(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Index.commit
    full = [True]

    def fails(self: Index, **options: bool) -> None:
        if self.uncommitted and full[0]:
            raise OSError(28, "No space left on device")
        commit(self, **options)

    monkeypatch.setattr(Index, "commit", fails)
    new = {"documents": [{"id": "d", "text": "Roofs."}]}
    assert error_of(client.post("/api/documents", json=new), 500) == "storage"
    assert error_of(client.get("/api/documents?id=d"), 404) == "unknown_id"
    full[0] = False
    assert client.post("/api/documents", json=new).status_code == 201


def test_read_only_refuses_changes_and_sees_those_of_others(
    serving: Callable[..., TestClient], folder: Path, encoder: Encoder
) -> None:
    client = serving(writable=False)
    new = {"documents": [{"id": "d", "text": "Roofs."}]}
    assert error_of(client.post("/api/documents", json=new), 403) == "read_only"
    assert error_of(client.delete("/api/documents?id=bread"), 403) == "read_only"
    with Index.load(folder, writable=True) as writer:
        Retriever(encoder, writer).add([Document("d", "Roofs keep rain out.")])
        writer.commit()
    hits = client.post("/api/search", json={"query": "roofs", "k": 1}).json()["hits"]
    assert hits[0]["id"] == "d"


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b'{"query": "\xff"}', 400, "malformed_json"),
        (b'{"query": "\\ud800"}', 400, "malformed_json"),
        (b'{"query": "a", "where": {"a": NaN}}', 400, "malformed_json"),
        (b'{"query": "a", "where": ' + b'{"$not": ' * 90_000 + b"1" + b"}" * 90_001, 400,
         "malformed_json"),
        (b"[]", 422, "invalid_request"),
        (b"{}", 422, "invalid_request"),
        (b'{"query": ""}', 422, "invalid_request"),
        (b'{"query": 1}', 422, "invalid_request"),
        (b'{"query": "a", "k": 0}', 422, "invalid_request"),
        (b'{"query": "a", "k": 1001}', 422, "invalid_request"),
        (b'{"query": "a", "k": "1"}', 422, "invalid_request"),
        (b'{"query": "a", "k": 1.5}', 422, "invalid_request"),
        (b'{"query": "a", "k": true}', 422, "invalid_request"),
        (b'{"query": "a", "hybrid": "best"}', 422, "invalid_request"),
        (b'{"query": "a", "where": {"a": {"$like": 1}}}', 422, "invalid_request"),
        (b'{"query": "a", "unknown": 1}', 422, "invalid_request"),
        (json.dumps({"query": "a" * 10_001}).encode(), 422, "invalid_request"),
    ],
)  # fmt: skip
def test_bad_searches(client: TestClient, content: bytes, status: int, kind: str) -> None:
    headers = {"Content-Type": "application/json"}
    assert error_of(client.post("/api/search", content=content, headers=headers), status) == kind


@pytest.mark.parametrize("text", [r"\ud800", r"a\udfff", r"\ud800 a", r"\ud800\u0041"])
def test_half_a_surrogate_pair_is_named(client: TestClient, text: str) -> None:
    headers = {"Content-Type": "application/json"}
    for path, body in (
        ("/api/search", f'{{"query": "{text}"}}'),
        ("/api/search", f'{{"query": "a", "where": {{"b": "{text}"}}}}'),
        ("/v1/rerank", f'{{"query": "a", "documents": ["{text}"]}}'),
    ):
        answer = client.post(path, content=body.encode(), headers=headers)
        assert error_of(answer, 400) == "malformed_json"
        assert "surrogate" in answer.text


def test_other_bad_requests(serving: Callable[..., TestClient]) -> None:
    client = serving(limits=Limits(body=1000))
    form = client.post(
        "/api/search", content=b'{"query": "a"}', headers={"Content-Type": "text/plain"}
    )
    assert error_of(form, 415) == "unsupported_media_type"
    large = {"documents": [{"id": "a", "text": "a" * 1000}]}
    assert error_of(client.post("/api/documents", json=large), 413) == "too_large"
    parts = (b'{"query": "' + b"a" * 600 for _ in range(2))  # without a Content-Length
    headers = {"Content-Type": "application/json"}
    assert error_of(client.post("/api/search", content=parts, headers=headers), 413)
    assert error_of(client.get("/api/nothing"), 404) == "not_found"
    wrong = client.patch("/api/documents")
    assert error_of(wrong, 405) == "method_not_allowed"
    assert set(wrong.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT", "DELETE"}
    for query in ("", "?id=", "?id=a&other=1", "?" + "&".join(["id=a"] * 101), f"?id={'a' * 1001}"):
        assert error_of(client.get("/api/documents" + query), 422) == "invalid_request"
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    nested = {"documents": [{"id": "x", "text": "", "metadata": {"a": deep}}]}
    assert error_of(client.put("/api/documents", json=nested), 422) == "invalid_request"
    assert client.head("/health").status_code == 200


def test_unexpected_errors_say_nothing_of_the_inside(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object, **more: object) -> None:
        raise RuntimeError("a secret place")

    monkeypatch.setattr(Retriever, "retrieve", broken)
    response = client.post("/api/search", json={"query": "a"})
    assert error_of(response, 500) == "internal" and "secret" not in response.text
    assert "a secret place" in caplog.text


def test_hosts_tokens_and_headers(serving: Callable[..., TestClient]) -> None:
    client = serving(hosts=LOOPBACK_HOSTS, token="a token")
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.", "", "evil.example:8470"):
        assert error_of(client.get("/", headers={"Host": host}), 421) == "wrong_host"
    for host in ("localhost", "LOCALHOST:1", "[::1]:8470"):
        assert client.get("/health", headers={"Host": host}).status_code == 200
    for value in (None, "a token", "Basic a token", "Bearer a tokem", "Bearer", "Bearer é"):
        headers = {} if value is None else {"Authorization": value.encode()}
        refused = client.get("/api/info", headers=headers)
        assert error_of(refused, 401) == "unauthorized"
        assert refused.headers["www-authenticate"] == "Bearer"
    shown = {"Authorization": "Bearer a token"}
    answer = client.get("/api/info", headers=shown)
    assert answer.status_code == 200
    for response in (answer, client.get("/"), client.get("/nothing", headers=shown)):
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in response.headers
    assert client.get("/openapi.json").json()["components"]["securitySchemes"]


def test_host_name() -> None:
    assert [host_name(h) for h in ("A:1", "a", "[::1]:2", "[::1]")] == ["a", "a", "::1", "::1"]


def test_the_page_asks_nobody_else(client: TestClient) -> None:
    page = client.get("/").text
    for path in ("/app.js", "/marks.js", "/style.css", "/icon.svg"):
        assert client.get(path).status_code == 200
        page += client.get(path).text
    assert "https://" not in page and "http://" not in page.replace(
        "http://www.w3.org/2000/svg", ""
    )
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert unsafe not in page


def test_long_limits_hold(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    most = schemas["InputDocument"]["properties"]["text"]["maxLength"]
    document = {"id": "a", "text": "a" * (most + 1)}
    assert error_of(client.put("/api/documents", json={"documents": [document]}), 422)
    many = schemas["DocumentsRequest"]["properties"]["documents"]["maxItems"]
    document = {"id": "a", "text": ""}
    documents = {"documents": [document] * (many + 1)}
    assert error_of(client.put("/api/documents", json=documents), 422) == "invalid_request"


def test_overload_answers_everyone(folder: Path, encoder: Encoder) -> None:
    running, most, lock, go = [0], [0], threading.Lock(), threading.Event()

    class Slow(Service):
        def search(self, *arguments: Any) -> Any:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            go.wait(60)
            try:
                return super().search(*arguments)
            finally:
                with lock:
                    running[0] -= 1

    service = Slow(encoder, ServedIndex(Index.load(folder)))
    app = create_app(service, limits=Limits(concurrency=2, queue=5, seconds=120))

    async def send() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client:

            def search(n: int) -> Any:
                return client.post("/api/search", json={"query": f"tides {n}"})

            tasks = [asyncio.create_task(search(n)) for n in range(30)]
            while sum(task.done() for task in tasks) < 23:  # refused while others wait
                await asyncio.sleep(0.01)
            go.set()
            return await asyncio.gather(*tasks), await search(30)

    responses, after = asyncio.run(send())
    assert most[0] == 2
    assert sorted(response.status_code for response in responses) == [200] * 7 + [503] * 23
    for response in responses:
        if response.status_code == 503:
            assert error_of(response, 503) == "overloaded" and response.headers["retry-after"]
    assert after.status_code == 200
    service.close()


def test_what_takes_too_long_is_stopped(serving: Callable[..., TestClient]) -> None:
    client = serving(limits=Limits(seconds=1.0))
    texts = [f"{n} sounds of the sea" * 50 for n in range(900)]
    for path, body in (
        ("/api/rerank", {"query": "sea", "documents": texts}),
        ("/api/documents", {"documents": [{"id": t[:20], "text": t} for t in texts]}),
    ):
        late = client.post(path, json=body)
        assert error_of(late, 503) == "timeout" and late.headers["retry-after"]
    assert client.get("/api/info").json()["documents"] == len(DOCUMENTS)


def test_listening_beyond_this_machine_needs_a_token(folder: Path) -> None:
    for host in ("0.0.0.0", "::"):
        arguments = ["serve", str(folder), "--host", host, "--port", "0"]
        done = CliRunner().invoke(main, arguments, env={"POCKET_COLBERT_TOKEN": None})
        assert done.exit_code == 2 and "set a token" in done.output
    public, local = listening_socket("0.0.0.0", 0, token="t")
    public.close()
    assert not local
    private, local = listening_socket("localhost", 0, token=None)
    private.close()
    assert local


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_comes_early_is_not_lost(number: signal.Signals) -> None:
    script = """
import os, socket, sys, uvicorn
from pocket_colbert.server.run import run
serve = uvicorn.Server.run
def early(self, *arguments, **options):
    os.kill(os.getpid(), int(sys.argv[1]))  # before uvicorn listens to signals
    serve(self, *arguments, **options)
uvicorn.Server.run = early
async def app(scope, receive, send):
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})
run(app, socket.create_server(("127.0.0.1", 0)), seconds=1)
"""
    done = subprocess.run([sys.executable, "-c", script, str(int(number))], timeout=60, check=False)
    assert done.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_after_the_address_is_said_is_not_lost(folder: Path, number: int) -> None:
    """It was, in the milliseconds before the handlers were there."""
    for _ in range(3):
        with serve_command(folder) as (process, _address):
            process.send_signal(number)
            assert process.wait(60) == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping_finishes_what_is_under_way(folder: Path, number: int) -> None:
    with serve_command(folder) as (process, address):
        place = httpx.URL(address)
        documents = [{"id": f"n{n}", "text": f"{n} words of a text. " * 20} for n in range(9)]
        body = json.dumps({"documents": documents}).encode()
        connection = HTTPConnection(place.host, place.port, timeout=60)
        connection.putrequest("POST", "/api/documents")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:100])
        # Once a later request is answered, this one is under way.
        assert httpx.get(f"{address}/health").json() == {"status": "ok"}
        process.send_signal(number)
        for _ in range(600):
            if not listens(place):
                break
            time.sleep(0.05)
        else:
            pytest.fail("the server still takes connections")
        connection.send(body[100:])
        answer = connection.getresponse()
        assert answer.status == 201 and json.loads(answer.read())["added"] == len(documents)
        connection.close()
        assert process.wait(60) == 0
        assert process.stderr is not None and process.stderr.read() == ""
    with Index.load(folder, writable=True) as index:  # the lock is free
        assert len(index) == len(documents) + len(DOCUMENTS)


def test_requests_share_the_cores_not_their_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where each request's matrix products took all cores too, all would wait for each other."""
    seen: list[int] = []

    def serves(self: Any, sockets: Any) -> None:
        seen.extend(i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas")

    monkeypatch.setattr(uvicorn.Server, "run", serves)
    place, _ = listening_socket("127.0.0.1", 0, token=None)
    with threadpool_limits(2, user_api="blas"):
        run(object(), place, seconds=1)  # type: ignore[arg-type]
    assert seen and set(seen) == {1}


def listens(place: httpx.URL) -> bool:
    """Say whether a server still takes connections."""
    try:
        socket.create_connection((place.host, place.port or 0), 1).close()
    except OSError:
        return False
    return True


def test_rerank_endpoints_say_how_likely_texts_are_right(
    client: TestClient, encoder: Encoder
) -> None:
    query = "capital of France"
    texts = [
        "Bread needs flour.", "", "Paris is the capital of France.", "The capital gains tax.",
        "...", "France is in Europe, and so is its capital.",
    ]  # fmt: skip
    wanted = Retriever(encoder).rerank(query, texts)
    relevances = falling([hit.relevance or 0 for hit in wanted])
    asked = {"query": query, "documents": texts}
    results = client.post("/v2/rerank", json=asked).json()["results"]
    scores = [item["relevance_score"] for item in results]
    assert [item["index"] for item in results] == [int(hit.document_id) for hit in wanted]
    assert scores == pytest.approx(relevances, abs=1e-6) and scores == sorted(scores)[::-1]
    assert scores[0] > 0.8 and scores[-2:] == [0, 0]  # the texts without words
    two = client.post("/v2/rerank", json={**asked, "top_n": 2}).json()["results"]
    assert [item["relevance_score"] for item in two] == scores[:2]
    body = {"query": query, "texts": texts}
    assert [item["score"] for item in client.post("/rerank", json=body).json()] == scores
    raw = client.post("/rerank", json={**body, "raw_scores": True}).json()
    assert [item["score"] for item in raw] == pytest.approx([hit.score for hit in wanted])
    own = client.post("/api/rerank", json=asked).json()["results"]
    assert [item["relevance"] for item in own] == pytest.approx([h.relevance for h in wanted])


def test_every_hit_says_how_likely_it_is_right(client: TestClient) -> None:
    for hybrid in ("off", "rrf", "keywords"):
        asked = {"query": "When do bees swarm?", "hybrid": hybrid}
        hits = client.post("/api/search", json=asked).json()["hits"]
        assert hits and all(0 <= hit["relevance"] <= 1 for hit in hits)
        assert hits[0]["relevance"] > 0.5
        strong = client.post("/api/search", json={**asked, "min_relevance": 0.5}).json()["hits"]
        assert strong == [hit for hit in hits if hit["relevance"] >= 0.5]
    nothing = {"query": "knitting patterns for socks", "min_relevance": 0.5}
    assert client.post("/api/search", json=nothing).json()["hits"] == []
