"""Bodies of requests: read up to their limit, then decoded into their types."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import msgspec
from starlette.requests import Request

from pocket_colbert.server.compatible import note_unknown_fields
from pocket_colbert.server.messages import MAX_VALUES
from pocket_colbert.server.problems import RequestError

JSON = "application/json"
SMALL = 64_000
"""Bytes of a body that does not count as large."""

_HEAD_START = 1 / 6
"""Part of the time that a large body has before it must keep its pace."""

_STRUCTURE = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|([,\[{])', re.DOTALL)


def check_type(request: Request) -> None:
    """Refuse what is not JSON, which pages of other sites may not send without permission."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != JSON:
        raise RequestError(
            415, "unsupported_media_type", f"send Content-Type: {JSON}, got {kind[:80]!r}."
        )


def stated_size(request: Request, most: int) -> int:
    """Return the bytes that a body has at most; refuse it if it says that it has too many."""
    stated = request.headers.get("content-length", "")
    if not stated.isdecimal():
        return most
    if int(stated[:20]) > most:
        raise _too_large(most)
    return int(stated[:20])


async def read_body(request: Request, most: int, seconds: float) -> bytes:
    """Read a body of at most `most` bytes within some seconds.

    A large body, for which others wait, must come at a steady pace as well: whatever part of the
    time is over, that part of its bytes must be there, less a head start.

    Raises:
        RequestError: It is too large, or does not come in time.
    """
    clock = asyncio.get_running_loop().time
    start, size = clock(), 0
    parts: list[bytes] = []
    stream = request.stream().__aiter__()
    while True:
        allowed = seconds
        if most > SMALL:
            allowed *= min(1.0, _HEAD_START + size / most)
        try:
            part = await asyncio.wait_for(stream.__anext__(), start + allowed - clock())
        except StopAsyncIteration:
            return b"".join(parts)
        except asyncio.TimeoutError:
            raise RequestError(
                408, "body_timeout",
                f"the body must come within {seconds:g} s, a large one at a steady pace.",
                {"Connection": "close"},
            ) from None  # fmt: skip
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)


def decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Decode a body.

    Raises:
        RequestError: It is not JSON, does not follow the type, or has too many values.
    """
    try:
        if _has_many_values(body):
            msgspec.json.decode(body, type=msgspec.Raw)  # what is not JSON is said first
            raise RequestError(
                422, "invalid_request",
                f"a body has at most {MAX_VALUES} values; send less at a time.",
            )  # fmt: skip
        value = decoder.decode(body)
        if not decoder.strict:
            note_unknown_fields(type(value), body)
        return value
    except msgspec.ValidationError as error:
        raise RequestError(422, "invalid_request", f"{error}.") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if "truncated" in str(error) and body.rstrip().endswith((b"}", b"]")):
            # What msgspec says of half a surrogate pair at the end of a text.
            raise RequestError(
                400, "malformed_json",
                "a text of the body has half of a surrogate pair (\\ud800 to \\udfff), which is "
                "no character.",
            ) from error  # fmt: skip
        raise RequestError(400, "malformed_json", f"the body is not JSON: {error}.") from error


def _has_many_values(body: bytes) -> bool:
    """Say whether a body has more values than allowed: 3 bytes can become an object of 70."""
    if sum(map(body.count, (b",", b"[", b"{"))) <= MAX_VALUES:
        return False
    number = 0
    for found in _STRUCTURE.finditer(body):
        number += found[1] is not None
        if number > MAX_VALUES:
            return True
    return False


def _too_large(most: int) -> RequestError:
    return RequestError(
        413, "too_large", f"a body may have {most} bytes; send less at a time.",
        {"Connection": "close"},
    )  # fmt: skip
