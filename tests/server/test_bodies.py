"""What a body may be, at its limits: its type, its size, its time and its number of values."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from pocket_colbert.server import bodies
from pocket_colbert.server.bodies import check_type, decoded, read_body, stated_size
from pocket_colbert.server.messages import MAX_VALUES
from pocket_colbert.server.problems import Deadline, RequestError, overloaded


class Request:
    """Headers and the parts of a body, as Starlette gives them."""

    def __init__(
        self, headers: dict[str, str] | None = None, parts: Sequence[bytes | float] = ()
    ) -> None:
        self.headers = headers or {}
        self._parts = parts
        self.given = 0

    async def stream(self) -> AsyncIterator[bytes]:
        """Give the parts; a number is a pause."""
        for part in self._parts:
            if isinstance(part, bytes):
                self.given += 1
                yield part
            else:
                await asyncio.sleep(part)


def asked(*given: Any, **more: Any) -> Any:
    return Request(*given, **more)


def refusal(call: Any, *arguments: Any) -> RequestError:
    with pytest.raises(RequestError) as refused:
        call(*arguments)
    return refused.value


@pytest.mark.parametrize(
    "kind", ["application/json", "Application/JSON", "application/json; charset=utf-8",
             " application/json ;"],
)  # fmt: skip
def test_json_of_any_case_and_character_set_is_let_in(kind: str) -> None:
    check_type(asked({"content-type": kind}))


@pytest.mark.parametrize(
    "kind", [None, "", "text/plain", "application/jsonp", "text/json", "application/x-json",
             "multipart/form-data; boundary=application/json", "application/json, text/plain"],
)  # fmt: skip
def test_other_types_are_refused(kind: str | None) -> None:
    error = refusal(check_type, asked({} if kind is None else {"content-type": kind}))
    assert (error.status, error.kind) == (415, "unsupported_media_type")


def test_the_message_about_a_type_is_short() -> None:
    error = refusal(check_type, asked({"content-type": "x" * 5000}))
    assert "x" * 80 in error.message and "x" * 81 not in error.message


def test_a_size_that_is_said_counts_up_to_the_limit() -> None:
    for stated, size in (("0", 0), ("1", 1), ("100", 100), ("007", 7)):
        assert stated_size(asked({"content-length": stated}), 100) == size
    for stated in ("101", "9" * 19, "9" * 20, "9" * 5000):
        error = refusal(stated_size, asked({"content-length": stated}), 100)
        assert (error.status, error.kind) == (413, "too_large") and "100 bytes" in error.message
        assert error.headers == {"Connection": "close"}
    # What is no number, or not said, may be as much as the limit.
    for headers in ({}, {"content-length": ""}, {"content-length": "-1"}, {"content-length": "1e3"},
                    {"content-length": "0x1"}, {"content-length": " "}):  # fmt: skip
        assert stated_size(asked(headers), 100) == 100


def test_a_body_is_read_up_to_its_limit() -> None:
    def read(parts: Sequence[bytes | float], most: int = 6, seconds: float = 20.0) -> bytes:
        return asyncio.run(read_body(asked(parts=parts), most, seconds))

    assert read([]) == b""
    assert read([b"abc", b"", b"def"]) == b"abcdef"
    for parts in ([b"abcdefg"], [b"abc", b"defg"], [b"abcdef", b"g"]):
        error = refusal(read, parts)
        assert (error.status, error.kind) == (413, "too_large")
        assert error.headers == {"Connection": "close"}
    error = refusal(read, [b"a", 10.0, b"b"], 6, 0.02)
    assert (error.status, error.kind) == (408, "body_timeout") and "0.02 s" in error.message
    assert error.headers == {"Connection": "close"}


def test_a_large_body_must_come_at_a_steady_pace() -> None:
    """A sixth of the time is its head start; a small one may take all of it."""

    def read(most: int, parts: Sequence[bytes | float]) -> bytes:
        return asyncio.run(read_body(asked(parts=parts), most, 1.8))

    half = b"x" * (bodies.SMALL // 2 + 1)
    assert read(bodies.SMALL, [b"a", 0.6, b"b"]) == b"ab"
    assert read(bodies.SMALL + 1, [half, 0.6, b"b"]) == half + b"b"
    error = refusal(read, bodies.SMALL + 1, [b"a", 0.6, b"b"])
    assert (error.status, error.kind) == (408, "body_timeout")


def test_nothing_is_read_behind_the_limit() -> None:
    request = asked(parts=[b"x" * 4] * 100)
    refusal(lambda: asyncio.run(read_body(request, 10, 20.0)))
    assert request.given == 3


class Anything(msgspec.Struct):
    """A body of any values."""

    values: Any = None


DECODER: Any = msgspec.json.Decoder(Anything)


def test_values_are_counted_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_VALUES", 10)

    def body(number: int) -> bytes:
        """An object with a list of so many numbers: a brace, a bracket, and commas."""
        return json.dumps({"values": list(range(number))}).encode()

    assert decoded(DECODER, body(9)).values == list(range(9))  # 1 + 1 + 8
    error = refusal(decoded, DECODER, body(10))
    assert (error.status, error.kind) == (422, "invalid_request")
    assert "at most 10 values" in error.message
    for many in (b'{"values": [{}, {}, {}, {}, {}]}', b'{"values": [[], [], [], [], []]}'):
        refusal(decoded, DECODER, many)


def test_commas_and_brackets_inside_texts_are_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "MAX_VALUES", 10)
    for text in (",[{" * 100, '\\",[{' * 50, '"' + ",[" * 20, "\\" * 7 + '"' + "," * 30):
        assert decoded(DECODER, json.dumps({"values": text}).encode()).values == text
    mixed = json.dumps({"values": ["," * 50] * 9}).encode()
    assert decoded(DECODER, mixed).values == ["," * 50] * 9
    refusal(decoded, DECODER, json.dumps({"values": ["," * 50] * 10}).encode())


def test_what_is_not_json_is_said_before_its_values_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "MAX_VALUES", 10)
    error = refusal(decoded, DECODER, b"[" * 20)
    assert (error.status, error.kind) == (400, "malformed_json")
    assert 10_000 < MAX_VALUES < 10_000_000


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nothing", b'{"values": \xff}', b'{"values": "\xff"}']
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    error = refusal(decoded, DECODER, body)
    assert (error.status, error.kind) == (400, "malformed_json")
    assert "the body is not JSON" in error.message


def test_half_a_surrogate_pair_is_named_and_a_body_that_ends_early_is_not() -> None:
    error = refusal(decoded, DECODER, b'{"values": "\\ud800"}  ')
    assert error.status == 400 and "surrogate pair" in error.message
    error = refusal(decoded, DECODER, b'{"values": "abc')
    assert error.status == 400 and "surrogate" not in error.message


def test_what_does_not_follow_its_type_is_invalid() -> None:
    error = refusal(decoded, DECODER, b"[1]")
    assert (error.status, error.kind) == (422, "invalid_request")


def test_a_deadline_passes() -> None:
    late, early = Deadline(0.0), Deadline(1000.0)
    assert late.left == 0 and 990 < early.left <= 1000
    early.check()
    early.progress(1, 2)
    for check in (late.check, lambda: late.progress(1, 2)):
        error = refusal(check)
        assert (error.status, error.kind) == (503, "timeout")
        assert error.headers == {"Retry-After": "1"}
    short = Deadline(0.03)
    assert 0 < short.left <= 0.03
    time.sleep(0.05)
    assert short.left == 0
    assert "more than 0.03 s" in short.expired().message


def test_an_error_of_a_request_keeps_what_it_was_made_of() -> None:
    error = RequestError(418, "teapot", "no coffee")
    assert (error.status, error.kind, error.message, error.headers) == (
        418, "teapot", "no coffee", {},
    )  # fmt: skip
    assert str(error) == "no coffee"
    busy = overloaded("later")
    assert (busy.status, busy.kind, busy.headers) == (503, "overloaded", {"Retry-After": "1"})
