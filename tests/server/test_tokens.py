"""Tokens that would let everybody in are refused, wherever they are given."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from pocket_colbert import Encoder, Index, InvalidInputError
from pocket_colbert.cli.commands import main
from pocket_colbert.server.app import create_app
from pocket_colbert.server.problems import RequestError
from pocket_colbert.server.security import Guard, listening_socket
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service

HEADERS_OF_NO_TOKEN = [
    [],
    [("authorization", "")],
    [("authorization", "Bearer")],
    [("authorization", "Bearer ")],
    [("authorization", "Bearer  ")],
    [("authorization", "Bearer None")],
    [("authorization", "secret")],
    [("authorization", "Basic secret")],
    [("authorization", "Bearer secre")],
    [("authorization", "Bearer secrets")],
    [("authorization", "Bearer SECRET")],
    [("authorization", "Bearer secret"), ("authorization", "Bearer secret")],
    [("authorization", "Bearer other"), ("authorization", "Bearer secret")],
    [("cookie", "Bearer secret")],
]


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_empty_token_is_none_when_others_can_connect(host: str) -> None:
    for token in (None, ""):
        with pytest.raises(InvalidInputError, match="set a token"):
            listening_socket(host, 0, token=token)


@pytest.mark.parametrize("token", ["", " ", " a", "a ", "\t", "a\nb", "a\x00", "\u00e9", "\u2028"])
def test_a_token_that_no_header_can_carry_is_refused(token: str) -> None:
    service: Any = None
    with pytest.raises(InvalidInputError, match="a token must be printable ASCII"):
        create_app(service, token=token)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command_refuses_an_empty_token(
    host: str, library_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty option is a mistake in a script, such as a variable that is not set."""

    def never(*arguments: object, **more: object) -> None:
        raise AssertionError("it must not serve")

    monkeypatch.setattr("pocket_colbert.server.run.run", never)
    arguments = ["serve", str(library_folder), "--read-only", "--port", "0"]
    done = CliRunner().invoke(main, [*arguments, "--host", host, "--token", ""])
    assert done.exit_code == 2 and "token" in done.output


def guarded(token: str | None, hosts: list[str] | None = None) -> Callable[..., int]:
    """Return what answers a request's headers with a status, behind a guard."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def refuse(error: RequestError, path: str) -> Any:
        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": error.status, "headers": []})

        return answer

    guard = Guard(inner, token=token, hosts=hosts, public_paths=["/health"], refuse=refuse)

    def ask(headers: list[tuple[str, str]], path: str = "/api/info", kind: str = "http") -> int:
        answers: list[Any] = []

        async def send(message: Any) -> None:
            answers.append(message)

        encoded = [(name.encode(), value.encode()) for name, value in headers]
        scope = {"type": kind, "path": path, "headers": encoded}
        asyncio.run(guard(scope, None, send))  # type: ignore[arg-type]
        assert kind != "http" or any(
            name == b"x-frame-options" for name, _ in answers[0]["headers"]
        )
        return int(answers[0]["status"])

    return ask


@pytest.mark.parametrize("headers", HEADERS_OF_NO_TOKEN)
def test_headers_without_the_token_are_refused(headers: list[tuple[str, str]]) -> None:
    ask = guarded("secret")
    assert ask(headers) == 401
    assert ask(headers, "/health") == 200
    assert ask(headers, "/health/") == 401 and ask(headers, "/HEALTH") == 401
    assert guarded(None)(headers) == 200


def test_the_scheme_is_of_any_case_and_the_token_is_not() -> None:
    ask = guarded("secret")
    for value in ("Bearer secret", "bearer secret", "BEARER  secret "):
        assert ask([("authorization", value)]) == 200
    assert ask([("Authorization", "Bearer secret")]) == 200


@pytest.mark.parametrize("hosts", [[], ["evil"], ["localhost", "localhost"], ["localhost", "evil"]])
def test_one_host_that_is_known_must_be_named(hosts: list[str]) -> None:
    ask = guarded(None, ["LocalHost"])
    assert ask([("host", name) for name in hosts]) == 421
    assert ask([("host", name) for name in hosts], "/health") == 421
    assert ask([("host", "localhost:80")]) == 200
    # What is no request, such as the start of the server, has no headers.
    assert ask([], kind="lifespan") == 200


def test_a_wrong_host_is_found_before_the_token() -> None:
    ask = guarded("secret", ["localhost"])
    assert ask([("host", "evil"), ("authorization", "Bearer secret")]) == 421
    assert ask([("host", "localhost"), ("authorization", "Bearer other")]) == 401
    assert ask([("host", "localhost"), ("authorization", "Bearer secret")]) == 200


def test_headers_of_an_answer_are_not_doubled() -> None:
    async def inner(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"X-Frame-Options", b"SAMEORIGIN"), (b"a", b"b")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})

    guard = Guard(inner, token=None, hosts=None, public_paths=[], refuse=lambda *_: inner)
    answers: list[Any] = []

    async def send(message: Any) -> None:
        answers.append(message)

    asyncio.run(guard({"type": "http", "path": "/", "headers": []}, None, send))  # type: ignore[arg-type]
    names = [name.lower() for name, _ in answers[0]["headers"]]
    assert names.count(b"x-frame-options") == 1 and b"a" in names and b"cache-control" in names
    assert answers[1] == {"type": "http.response.body", "body": b"x"}


def test_a_name_that_is_none_and_an_address_of_others() -> None:
    for host in ("nowhere.invalid", "a b", "\u2028", "x" * 300):
        with pytest.raises(InvalidInputError, match="must be an address of this machine"):
            listening_socket(host, 0, token="t")
    with pytest.raises(OSError):
        listening_socket("192.0.2.1", 0, token="t")  # an address for examples
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            listening_socket("127.0.0.1", taken.getsockname()[1], token=None)


def test_a_client_gets_in_with_the_token_alone(encoder: Encoder, library_folder: Path) -> None:
    with Index.load(library_folder) as index:
        app: Any = create_app(Service(encoder, ServedIndex(index)), token="t")
        client = TestClient(app, base_url="http://127.0.0.1")
        assert client.get("/api/info").status_code == 401
        assert client.get("/api/info", headers={"Authorization": "Bearer t"}).status_code == 200
