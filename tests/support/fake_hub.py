"""A hub of models on this machine, for huggingface_hub itself to download from."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "1234567890abcdef1234567890abcdef12345678"


@contextmanager
def fake_hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as a repository of any name.

    Yields:
        The address, which `HF_ENDPOINT` is to be, and the names of the files that were fetched.
    """
    fetched: list[str] = []
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }

    class Hub(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, content: bytes | None, **headers: str) -> None:
            self.send_response(404 if content is None else 200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if content and self.command == "GET":
                self.wfile.write(content)

        def do_GET(self) -> None:
            path = unquote(self.path.partition("?")[0])
            if path.startswith("/api/models/"):
                siblings = [{"rfilename": name} for name in files]
                about = {"id": "owner/name", "sha": COMMIT, "siblings": siblings}
                self.answer(json.dumps(about).encode(), Content_Type="application/json")
                return
            name = path.partition(f"/resolve/{COMMIT}/")[2]
            if self.command == "GET":
                fetched.append(name)
            tag = hashlib.sha256(files.get(name, b"")).hexdigest()
            self.answer(files.get(name), ETag=f'"{tag}"', X_Repo_Commit=COMMIT)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", fetched
        finally:
            server.shutdown()
            thread.join()
