"""Listens, serves until it is told to stop, and stops in order."""

from __future__ import annotations

import math
import signal
import socket

import uvicorn
from threadpoolctl import threadpool_limits

from pocket_colbert.server.security import Application

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than clients and proxies keep theirs (60 at
most, by default), as who closes first may do so just when a request is on its way."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(app: Application, listening: socket.socket, *, seconds: float) -> None:
    """Serve until SIGINT or SIGTERM; then let what is under way come to its end.

    Args:
        app: The application.
        listening: A listening socket.
        seconds: How long requests may take to end. A second signal waits for none.
    """
    config = uvicorn.Config(
        app, lifespan="on", log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, ws="none", timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(seconds),
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        """Take a signal that comes before uvicorn listens to them, and those it raises again.

        It does that when it has ended, for whoever handled them before; an ordered stop is no
        failure that anybody needs to hear of.
        """
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        # Requests run beside each other already; numpy's own threads would wait for each other, by
        # spinning: with four clients on two busy cores that took fourteen times as long.
        with threadpool_limits(1, user_api="blas"):
            server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listening.close()
