"""What the worst requests take of memory, over an index of 100 000 documents."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Passage
from pocket_colbert.types import EncodedDocument
from tests.support.servers import serve_command
from tests.support.worst_bodies import ENCODES, RERANKS, WORST

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

DOCUMENTS = 100_000
AT_ONCE = 8
MOST = 64_000_000
REFUSED = 0
HEADERS = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def large_folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of many short documents."""
    folder = tmp_path_factory.mktemp("large") / "large.index"
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    vectors = encoder.encode_document(["Bees swarm.", "Knead the dough.", "The tides rise."])
    text = "Bees swarm. "
    with Index.create(folder, config) as index:
        for start in range(0, DOCUMENTS, 10_000):
            index.add_documents([
                EncodedDocument(
                    Document(f"d{n}", text, None, {"n": n % 100, "tag": ["a", "b", f"t{n % 7}"]}),
                    [Passage(0, len(text), vectors[n % 3])],
                )
                for n in range(start, start + 10_000)
            ])  # fmt: skip
            index.commit()
    return folder


@pytest.fixture(scope="module")
def server(large_folder: Path) -> Iterator[tuple[int, str]]:
    """The process of the real command and its address, warm."""
    with serve_command(large_folder, "--timeout", "6") as (process, address):

        def warm(_: int) -> None:
            # The model's own memory grows with the first full windows, one a thread.
            asked: dict[str, Any] = {"query": "bees " * 2000, "documents": ["bees " * 2000] * 4}
            httpx.post(f"{address}/api/rerank", json=asked, timeout=60)
            asked = {"texts": ["bees " * 2000] * 8}
            httpx.post(f"{address}/api/encode", json=asked, timeout=60)
            asked = {"query": "bees " * 2000, "mode": "exact", "k": 1000, "where": {"n": 1}}
            httpx.post(f"{address}/api/search", json=asked, timeout=60)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(warm, range(3 * AT_ONCE)))
        yield process.pid, address


def anonymous(pid: int) -> int:
    """Return the bytes that a process holds which are not pages of files."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


def peak_above(pid: int, idle: int, done: threading.Event) -> int:
    """Return by how much a process exceeds `idle` until an event."""
    most = 0
    while not done.wait(0.005):
        most = max(most, anonymous(pid) - idle)
    return most


ENCODING = (*RERANKS, *ENCODES, "long documents")
"""Bodies that make the model run on full windows: the buffers that onnxruntime keeps for that grow
with the threads that do so, by an amount that differs between runs. They are measured by hand."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                name in ENCODING and "POCKET_COLBERT_MEMORY" not in os.environ,
                reason="measures onnxruntime's buffers too: set POCKET_COLBERT_MEMORY=1",
            ),
        )
        for name in WORST
    ],
)
def test_the_worst_bodies_take_little_memory(server: tuple[int, str], name: str) -> None:
    pid, address = server
    method, path, content = WORST[name]

    def send(_: int = 0) -> int:
        try:
            return httpx.request(
                method, address + path, content=content, headers=HEADERS, timeout=120
            ).status_code
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return REFUSED  # before all of it was read, and closed: the answer may be lost

    # The libraries' own buffers grow with the first request of a kind, and stay.
    for _ in range(2):
        send()
    idle, done = anonymous(pid), threading.Event()
    with ThreadPoolExecutor(AT_ONCE + 1) as threads:
        peak = threads.submit(peak_above, pid, idle, done)
        statuses = list(threads.map(send, range(AT_ONCE)))
        done.set()
    assert set(statuses) <= {200, 400, 413, 422, 503, REFUSED}, statuses
    assert peak.result() < MOST
