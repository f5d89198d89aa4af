"""Servers that run while a test talks to them, and what their answers look like."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pocket_colbert.server.security import Application

BASE = "http://127.0.0.1:8470"
QDRANT_KEY = "a secret/key"


@contextmanager
def serve_command(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `pocket-colbert serve`, and give the process and its address once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from pocket_colbert.cli.commands import main; main()", "serve",
         *map(str, arguments), "--port", "0"],
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "Serving" in line, line + process.stderr.read()
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


@contextmanager
def listening(app: Application) -> Iterator[str]:
    """Serve an application from a thread, and give its address."""
    import uvicorn

    from pocket_colbert.server.security import listening_socket

    place, _ = listening_socket("127.0.0.1", 0, token=None)
    config = uvicorn.Config(app, lifespan="on", log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    with place:
        thread.start()
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@contextmanager
def qdrant_listening(folder: Path) -> Iterator[str]:
    """Run a Qdrant server that wants a key; give its address, to which a name is added."""
    if not all(map(importlib.util.find_spec, ("qdrant_client", "qdrant_edge"))):
        pytest.skip("needs the 'qdrant' extra and qdrant-edge-py")
    from tests.support.qdrant_server import Server

    with listening(Server(folder, QDRANT_KEY).app()) as url:
        yield url.replace("http", "qdrant")


def error_of(response: Any, status: int) -> str:
    """Return the kind of an error, once it has the shape all errors have."""
    assert response.status_code == status, response.text
    body = response.json()
    detail = body.pop("detail", None)  # for clients of other rerank services
    assert set(body) == {"error"} and set(body["error"]) == {"type", "message"}
    message = body["error"]["message"]
    assert message and (detail is None or message in str(detail) or message == detail[0]["msg"])
    return str(body["error"]["type"])
