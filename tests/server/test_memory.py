"""What the worst requests take of memory, over an index of 100 000 documents."""

from __future__ import annotations

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
MOST_OF_ENCODING = 96_000_000
"""What is running when memory is asked for differs with the machine's load: 51 to 60 MB here."""
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
    """The process of the real command and its address, after some searches."""
    options = ("--timeout", "6", "--threads", "2", "--concurrency", "2")
    with serve_command(large_folder, *options) as (process, address):

        def warm(_: int) -> None:
            # Buffers of the products with a long query's tokens, which stay.
            asked: dict[str, Any] = {"query": "bees " * 2000, "mode": "exact", "k": 1000}
            httpx.post(f"{address}/api/search", json=asked, timeout=60)
            asked = {"query": "bees", "documents": ["bees"]}
            httpx.post(f"{address}/api/rerank", json=asked, timeout=60)

        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(warm, range(2 * AT_ONCE)))
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


@pytest.mark.parametrize("name", WORST)
def test_the_worst_bodies_take_little_memory(server: tuple[int, str], name: str) -> None:
    pid, address = server
    method, path, content = WORST[name]

    def send(_: int) -> int:
        return httpx.request(
            method, address + path, content=content, headers=HEADERS, timeout=120
        ).status_code

    idle, done = anonymous(pid), threading.Event()
    with ThreadPoolExecutor(AT_ONCE + 1) as threads:
        peak = threads.submit(peak_above, pid, idle, done)
        statuses = list(threads.map(send, range(AT_ONCE)))
        done.set()
    assert set(statuses) <= {200, 400, 413, 422, 503}, statuses
    assert peak.result() < (MOST_OF_ENCODING if name in ENCODING else MOST)
