"""Clients that send too much, too slowly, read too slowly, or leave: what the server does then."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Passage
from pocket_colbert.server.app import Limits, create_app
from pocket_colbert.server.connections import MAX_HEAD
from pocket_colbert.server.problems import Deadline, RequestError
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service
from pocket_colbert.types import EncodedDocument
from tests.support.servers import listening, serve_command

pytestmark = pytest.mark.slow

TOKEN = "a-key"
SECONDS = 2.0
LARGE = 50_000_000


@pytest.fixture(scope="module")
def folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index whose texts make answers of 16 MB."""
    folder = tmp_path_factory.mktemp("long") / "long.index"
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    (vectors,) = encoder.encode_document(["Bees swarm."])
    text = "\U0001f41d" * 250_000
    with Index.create(folder, config) as index:
        index.add_documents([
            EncodedDocument(Document(f"d{n}", text), [Passage(0, 11, vectors)]) for n in range(16)
        ])  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def port(folder: Path) -> Iterator[int]:
    """The port of the real command, which asks for a token and has little patience."""
    options = ("--read-only", "--token", TOKEN, "--timeout", SECONDS)
    with serve_command(folder, *options) as (_, address):
        yield int(address.rpartition(":")[2])


def connected(port: int, *, buffer: int | None = None) -> socket.socket:
    """Connect, with few bytes between the two sides if told so."""
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(60)
    client.connect(("127.0.0.1", port))
    return client


def head(method: str, path: str, *more: str, token: str | None = TOKEN) -> bytes:
    """Return the first line and the headers of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *more]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    return "\r\n".join([*lines, "", ""]).encode()


def read_all(client: socket.socket) -> bytes:
    """Read until the server closes."""
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def read_until(client: socket.socket, ending: bytes) -> None:
    """Read on, over as many packets as it takes, until the bytes are there."""
    content = b""
    while ending not in content:
        part = client.recv(65_536)
        assert part, content
        content += part


def answered(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """Read an answer to its end: its status and JSON."""
    top, _, content = read_all(client).partition(b"\r\n\r\n")
    assert b"content-security-policy" in top.lower()
    return int(top.split()[1]), json.loads(content)


JSON = "Content-Type: application/json"
SIZED = f"Content-Length: {LARGE}"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (head("POST", "/api/search", JSON, SIZED), 413),
        (head("POST", "/api/search", JSON, CHUNKED), 413),
        (head("POST", "/v1/rerank", JSON, SIZED), 413),
        (head("PUT", "/api/documents", JSON, SIZED), 413),
        (head("POST", "/api/search", "Content-Type: text/plain", SIZED), 415),
        (head("POST", "/api/search", JSON, SIZED, token="other"), 401),
        (head("POST", "/nothing", JSON, CHUNKED), 404),
        (head("PATCH", "/api/documents", JSON, SIZED), 405),
        (head("GET", "/api/info", SIZED, "Host: other"), 400),
    ],
    ids=lambda value: value[:40].decode() if isinstance(value, bytes) else str(value),
)
def test_a_refused_body_does_not_lose_its_answer(
    port: int, request_head: bytes, status: int
) -> None:
    with connected(port) as client:
        content = b"a" * LARGE
        if b"chunked" in request_head:
            content = b"%x\r\n" % LARGE + content + b"\r\n0\r\n\r\n"
        client.sendall(request_head + content)
        time.sleep(0.2)  # had the connection been reset by now, the answer would be gone
        found, body = answered(client)
        assert found == status and body["error"]["message"]


def test_a_body_without_end_is_not_read_for_ever(port: int) -> None:
    with connected(port) as client:
        client.sendall(head("POST", "/api/search", JSON, "Content-Length: 9000000000"))
        sent, begun = 0, time.monotonic()
        with pytest.raises(OSError, match="reset|Broken pipe"):
            while sent < 9_000_000_000:
                sent += client.send(b"a" * 1_000_000)
        assert time.monotonic() - begun < 30


def test_a_sender_that_waits_for_leave_is_refused_at_once(port: int) -> None:
    with connected(port) as client:
        begun = time.monotonic()
        client.sendall(head("POST", "/api/search", JSON, SIZED, "Expect: 100-continue"))
        assert answered(client)[0] == 413
        assert time.monotonic() - begun < SECONDS


@pytest.mark.parametrize("before", [b"", head("GET", "/health")], ids=["first", "later"])
def test_headers_must_come_in_time(port: int, before: bytes) -> None:
    with connected(port) as client:
        if before:
            client.sendall(before)
            read_until(client, b'"ok"')
        begun = time.monotonic()
        client.sendall(b"GET /health HTTP/1.1\r\n")
        client.setblocking(False)
        while (taken := time.monotonic() - begun) < 10 * SECONDS:
            time.sleep(0.1)
            try:
                client.send(b"X-A: b\r\n")
                if client.recv(1) == b"":
                    break
            except BlockingIOError:
                continue
            except OSError:
                break
        assert SECONDS / 2 < taken < 3 * SECONDS


def test_a_large_body_must_keep_its_pace(port: int) -> None:
    """While it comes it keeps other large bodies waiting, so a trickle must not last."""
    with connected(port) as client:
        begun = time.monotonic()
        client.sendall(head("POST", "/api/search", JSON, "Content-Length: 4000000") + b"a" * 1000)
        assert b" 408 " in client.recv(65_536)
        assert time.monotonic() - begun < SECONDS * 0.8
    with connected(port) as client:
        begun = time.monotonic()
        client.sendall(head("POST", "/api/search", JSON, "Content-Length: 40") + b"a")
        assert b" 408 " in client.recv(65_536)
        assert time.monotonic() - begun > SECONDS * 0.8


def test_an_answer_that_nobody_reads_is_dropped(port: int) -> None:
    ids = "&".join(f"id=d{n}" for n in range(16))
    with connected(port, buffer=4096) as client:
        client.sendall(head("GET", f"/api/documents?{ids}"))
        time.sleep(3 * SECONDS)
        read = 0
        try:
            while part := client.recv(1 << 20):
                read += len(part)
        except ConnectionResetError:
            pass
        assert 0 < read < 15_000_000
    with connected(port) as client:  # one who reads has it all
        client.sendall(head("GET", f"/api/documents?{ids}", "Connection: close"))
        status, body = answered(client)
        assert status == 200 and len(body["documents"]) == 16


def test_what_is_not_http_gets_an_error_like_others(port: int) -> None:
    for content in (b"hello\r\n\r\n", head("GET", "/health", "X: " + "a" * 20 * MAX_HEAD)):
        with connected(port) as client:
            client.sendall(content)
            status, body = answered(client)
            assert (status, body["error"]["type"]) == (400, "malformed_http")


def test_as_many_ids_as_documented_fit_into_the_address(port: int) -> None:
    with connected(port) as client:
        ids = "&".join(f"id={n:01000}" for n in range(100))
        client.sendall(head("GET", f"/api/documents?{ids}", "Connection: close"))
        status, body = answered(client)
        assert (status, body["error"]["type"]) == (404, "unknown_id")


class Counting(Service):
    """Answers that take until the deadline or an event, and are counted."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.begun: list[str] = []
        self.stopped: list[str] = []
        self.go = threading.Event()

    def search(self, request: Any, deadline: Deadline) -> Any:
        """Work in small steps."""
        self.begun.append(request.query)
        while not self.go.wait(0.01):
            try:
                deadline.check()
            except RequestError:
                self.stopped.append(request.query)
                raise
        return super().search(request, deadline)


def until(true: Any) -> None:
    """Wait for something."""
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen")


def test_work_ends_when_its_client_hangs_up(folder: Path, encoder: Encoder) -> None:
    service = Counting(encoder, ServedIndex(Index.load(folder)))
    limits = Limits(concurrency=1, queue=1, seconds=60)
    with listening(create_app(service, limits=limits)) as address:
        port = int(address.rpartition(":")[2])

        def ask(name: str) -> socket.socket:
            client, body = connected(port), json.dumps({"query": name}).encode()
            client.sendall(head("POST", "/api/search", JSON, f"Content-Length: {len(body)}") + body)
            return client

        running = ask("running")
        until(lambda: service.begun == ["running"])
        waiting = ask("waiting")
        time.sleep(0.2)
        with ask("too many") as client:
            assert b" 503 " in client.recv(65_536)
        waiting.close()
        time.sleep(0.2)
        last = ask("last")  # the place of the one that left is free
        time.sleep(0.2)
        running.close()
        until(lambda: service.begun == ["running", "last"])
        assert service.stopped == ["running"]
        service.go.set()
        assert b" 200 " in last.recv(65_536)
        last.close()
