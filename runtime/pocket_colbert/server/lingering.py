"""Answers that arrive although the request's body was not read to its end.

A server that closes a connection while bytes are still coming makes the system tell the sender
that the connection was reset, and an answer that the sender has not read yet is thrown away. So an
early answer is sent in full, then the rest of the body is read and dropped, then the connection is
closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from pocket_colbert.server.security import Application, Receive, Scope, Send

MOST = 128_000_000
"""Bytes of a refused body that are read and dropped; the connection is closed after that."""


class Lingering:
    """Reads what is left of a request's body before its answer ends."""

    def __init__(self, inner: Application, *, seconds: float, most: int = MOST) -> None:
        """Wrap an application.

        Args:
            inner: The application.
            seconds: How long to read what is left of a body.
            most: How many bytes of it to read.
        """
        self._inner = inner
        self._seconds = seconds
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or not _has_body(scope):
            await self._inner(scope, receive, send)
            return
        body = _Body(receive)

        async def send_before_the_end(message: MutableMapping[str, Any]) -> None:
            if body.ended:
                await send(message)
            elif message["type"] == "http.response.start":
                await send({**message, "headers": [*message["headers"], *_closing(message)]})
            elif message.get("more_body", False):
                await send(message)
            else:
                await send({**message, "more_body": True})
                if body.begun or not _waits_for_leave(scope):
                    await self._drop(body)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._inner(scope, body.receive, send_before_the_end)

    async def _drop(self, body: _Body) -> None:
        try:
            await asyncio.wait_for(body.drop(self._most), self._seconds)
        except asyncio.TimeoutError:
            pass  # the sender is slow or does not end; it has had its answer


class _Body:
    """The messages of a body, counted as they are received."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.begun = False
        self.ended = False

    async def receive(self) -> MutableMapping[str, Any]:
        """Return the next message."""
        self.begun = True
        message = await self._receive()
        self.ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def drop(self, most: int) -> None:
        """Read to the end, or until `most` bytes have come."""
        while not self.ended and most > 0:
            most -= len((await self.receive()).get("body", b""))


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in scope["headers"]
    )


def _waits_for_leave(scope: Scope) -> bool:
    """Say whether the sender holds the body back until it is asked for it."""
    return any(
        name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"]
    )


def _closing(message: MutableMapping[str, Any]) -> list[tuple[bytes, bytes]]:
    given = any(name.lower() == b"connection" for name, _ in message["headers"])
    return [] if given else [(b"connection", b"close")]
