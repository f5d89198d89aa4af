"""Notes every answer: in numbers for Prometheus, and as a line of JSON in an access log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, MutableMapping
from datetime import datetime, timezone
from typing import Any, TextIO

import msgspec

from pocket_colbert.server.security import Application, Receive, Scope, Send

logger = logging.getLogger("pocket_colbert.server")
_LONGEST_PATH = 2_000


class AccessLog:
    """Writes a line of JSON for each answer.

    Paths are written without what follows the question mark, which may name documents; headers and
    bodies are not written.
    """

    def __init__(self, file: TextIO) -> None:
        """Write to a file that is open."""
        self._file: TextIO | None = file

    def write(self, **values: Any) -> None:
        """Write a line. If that fails, say so once and write no more: requests are served on."""
        if self._file is None:
            return
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        line = msgspec.json.encode({"time": now, **values}).decode()
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except (OSError, ValueError) as error:
            self._file = None
            logger.warning("the access log cannot be written, and ends here: %s", error)


class Observed:
    """Notes what an application answers."""

    def __init__(
        self,
        inner: Application,
        *,
        route_of: Callable[[str], str],
        note: Callable[[str, str, int, float], None],
        log: AccessLog | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            inner: The application.
            route_of: Returns the route of a path.
            note: Called after each answer with route, method, status and seconds.
            log: Where to write a line for each answer.
        """
        self._inner = inner
        self._route_of = route_of
        self._note = note
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        began = time.perf_counter()
        path, method = scope["path"], scope["method"]
        answer = {"status": 0, "bytes": 0}

        async def send_noted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
            else:
                answer["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._inner(scope, receive, send_noted)
        finally:
            # 499 is what others write where the client hung up before it had an answer.
            status = answer["status"] or 499
            seconds = time.perf_counter() - began
            self._note(self._route_of(path), method, status, seconds)
            if self._log is not None:
                client = scope.get("client")
                self._log.write(
                    client=client[0] if client else None, method=method[:20],
                    path=path[:_LONGEST_PATH], status=status, ms=round(1000 * seconds, 2),
                    bytes=answer["bytes"],
                )  # fmt: skip
