"""Run the server until it is told to stop, and shut it down in order."""

from __future__ import annotations

import math
import signal
import socket
from collections.abc import Callable

import uvicorn
from threadpoolctl import threadpool_limits

from pocket_colbert.server.connections import MAX_HEAD, protocol_of
from pocket_colbert.server.memory import bound_kept_memory
from pocket_colbert.server.security import Application

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open. Longer than clients and proxies keep theirs (60 by
default): the side that closes first may do so just as a request arrives."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(
    app: Application,
    listening: socket.socket,
    *,
    seconds: float,
    announce: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM, then let running requests finish.

    Args:
        app: The application.
        listening: A listening socket.
        seconds: How long requests may take to finish, and clients to send their headers. A second
            signal does not wait for requests.
        announce: Called once signals are handled: whoever waits for it may send one at once.
    """
    bound_kept_memory()
    config = uvicorn.Config(
        app, lifespan="on", log_level="warning", access_log=False, server_header=False,
        proxy_headers=False, ws="none", timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=math.ceil(seconds), http=protocol_of(seconds),
        h11_max_incomplete_event_size=MAX_HEAD,
    )  # fmt: skip
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        """Handle signals that come before uvicorn handles them, or that it raises again.

        uvicorn raises a signal again after it has stopped, for the handler that was there before;
        an orderly stop is not a failure to report.
        """
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        announce()
        # Requests already run in parallel. NumPy's own threads would spin while they wait for each
        # other: with four clients on two busy cores that took fourteen times as long.
        with threadpool_limits(1, user_api="blas"):
            server.run(sockets=[listening])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listening.close()
