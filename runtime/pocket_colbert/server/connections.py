"""Connections that do not stay for ever: slow senders of headers, slow readers of answers."""

from __future__ import annotations

import asyncio
import socket

from uvicorn.protocols.http.h11_impl import H11Protocol

from pocket_colbert.server.problems import RequestError, error_body
from pocket_colbert.server.security import HEADERS

_LOOKS = 4
"""How often a connection is looked at within the time it has."""

LEAST_READ = 16_000
"""Bytes a second that a client must read of a waiting answer."""

MAX_HEAD = 256_000
"""Bytes of a request's first line and headers: 100 ids of 1 000 characters fit."""

_NOT_HTTP = (
    f"the request is not valid HTTP, or its first line and headers have more than {MAX_HEAD} bytes."
)


def protocol_of(seconds: float) -> type[H11Protocol]:
    """Return uvicorn's protocol with limits of time.

    Args:
        seconds: How long the headers of a request may take, and within how long a client must
            have read some of a waiting answer, or the connection is closed. (The body's time is
            checked where it is read; how long a connection may be idle is uvicorn's setting.)
    """

    class Protocol(_Watched):
        limit = seconds

    return Protocol


class _Watched(H11Protocol):
    """Looks at its connection now and then, and ends one that makes no progress."""

    limit: float
    _look: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look at a new connection."""
        super().connection_made(transport)
        # asyncio does so only for sockets whose protocol is named. Head and body of an answer are
        # two packets, and without it the second waits 40 ms until the client confirms the first.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = self.loop.time()
        self._head_since: float | None = now
        self._written_since, self._unread = now, 0
        self._look_later()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        if self._look is not None:
            self._look.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and notice when a request's headers begin and when they are complete."""
        if self._refused:
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_since = None
        elif self._head_since is None:
            self._head_since = self.loop.time()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request, which takes as long as the client likes."""
        self._head_since = None
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Say what is no HTTP in the shape that all errors have, and drop what still comes."""
        self._refused = True
        self._head_since = self.loop.time()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # It was the body of a request that is being answered.
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        content = error_body(RequestError(400, "malformed_http", _NOT_HTTP), "")
        head = {
            "content-type": "application/json", "content-length": str(len(content)),
            "connection": "close", **HEADERS,
        }  # fmt: skip
        lines = ["HTTP/1.1 400 Bad Request", *(f"{name}: {value}" for name, value in head.items())]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + content)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def _look_later(self) -> None:
        self._look = self.loop.call_later(self.limit / _LOOKS, self._check)

    def _check(self) -> None:
        now = self.loop.time()
        if self._head_since is not None and now - self._head_since >= self.limit:
            self.transport.abort()
            return
        unread = self.transport.get_write_buffer_size()
        if not unread or self._unread - unread >= LEAST_READ * self.limit or unread > self._unread:
            self._written_since, self._unread = now, unread
        elif now - self._written_since >= self.limit:
            self.transport.abort()
            return
        self._look_later()
