"""The worst bodies to every endpoint, eight at a time, and what they take of memory."""

from __future__ import annotations

import http.client
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pocket_colbert import Document, Encoder, Index, IndexConfig, Passage
from pocket_colbert.types import EncodedDocument
from tests.support.paths import DATA
from tests.support.worst_bodies import WORST, many, nested
from tests.tools.attack.children import Child, run_command
from tests.tools.attack.commands import MODEL, port_of
from tests.tools.attack.tally import Tally

DOCUMENTS = 20_000
PATIENCE = 120.0
AT_ONCE = 8
MOST = 200
"""Megabytes that eight requests of a kind may take above what the server has when it is idle. Eight
bodies of 4 MB, each parsed once, are most of it."""

LATE = -1
"""In place of a status where no answer came in `PATIENCE` seconds."""

LIMIT = 4_000_000
GENERIC = {
    "nothing": b"",
    "no JSON": b"{",
    "spaces": b" " * (LIMIT - 2) + b"{}",
    "too large": b" " * (LIMIT + 1),
    "deep lists": b"[" * (LIMIT - 1),
    "deep objects": nested(b'{"a": ', 500_000),
    "a long number": b'{"k": ' + b"1" * (LIMIT - 10) + b"}",
    "many keys": b"{" + b",".join(b'"%d": 0' % n for n in range(250_000)) + b"}",
    "one key again and again": b"{" + b",".join([b'"query": "a"'] * 300_000) + b"}",
    "escapes": b'{"query": "' + b"\\u0000" * 600_000 + b'"}',
    "half a pair": b'{"query": "\\ud800", "documents": ["\\udfff"], "texts": ["\\ud800"]}',
    "no UTF-8": b'{"query": "\xff\xfe"}',
    "zero bytes": b"\x00" * 1_000_000,
    "numbers that are none": b'{"query": "a", "k": NaN, "offset": -Infinity}',
    "huge numbers": b'{"query": "a", "k": 1e400, "limit": 99999999999999999999}',
    "list of lists": many(b"[]", 1_000_000),
}  # fmt: skip
PATHS = [
    ("POST", "/api/search"), ("POST", "/api/rerank"), ("POST", "/api/encode"),
    ("POST", "/api/documents"), ("PUT", "/api/documents"), ("POST", "/rerank"),
    ("POST", "/v1/rerank"), ("POST", "/v2/rerank"), ("POST", "/reranking"),
]  # fmt: skip
ADDRESSES = [
    ("GET", "/api/documents?" + "&".join(f"id=d{n}" for n in range(3_000))),
    ("DELETE", "/api/documents?" + "&".join(f"id=x{n}" for n in range(3_000))),
    ("GET", "/api/documents?id=" + "%00" * 10_000),
    ("GET", "/api/fields"), ("GET", "/api/info"), ("GET", "/openapi.json"), ("GET", "/health"),
    ("GET", "/../../etc/passwd"), ("GET", "/%2e%2e/%2e%2e/etc/passwd"), ("GET", "/" + "a" * 60_000),
]  # fmt: skip


def requests() -> dict[str, tuple[str, str, bytes]]:
    """Return the requests by what they are."""
    found = {}
    for method, path in PATHS:
        for name, content in GENERIC.items():
            found[f"{method} {path}: {name}"] = (method, path, content)
    for method, address in ADDRESSES:
        found[f"{method} {address[:40]}"] = (method, address, b"")
    # Last, as these take their time: they make the model run.
    worst = {f"{path}: {name}": (method, path, content)
             for name, (method, path, content) in WORST.items()}  # fmt: skip
    return found | worst


def send_worst_bodies(tally: Tally, tries: int, seed: int, temporary: Path) -> None:
    """Send each request once, then eight times at once; then ask something simple."""
    folder = temporary / "large.index"
    _make_index(folder)
    arguments = ["serve", folder, "--port", 0, *MODEL, "--threads", 1, "--timeout", 6]
    child = Child(lambda say: run_command(*arguments), temporary / "output")
    port = port_of(child)
    if port is None:
        tally.fail(f"the server did not start: {child.printed()}")
        return
    worst = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, (method, path, content) in requests().items():
            if tally.over:
                break
            _ask(port, method, path, content)  # buffers of the libraries grow once, and stay
            idle = _reset_peak(child.pid)
            asked = [pool.submit(_ask, port, method, path, content) for _ in range(AT_ONCE)]
            statuses = [item.result() for item in asked]
            peak = (_peak(child.pid) - idle) // 1024
            tally.tried += AT_ONCE
            tally.counts.update(f"{status}" if status else "closed" for status in statuses)
            worst = max(worst, peak)
            if set(statuses) & {LATE, 500, 502} or peak > MOST:
                tally.fail(f"{name}: {statuses}, {peak} MB above idle")
    said = _ask(port, "POST", "/api/search", json.dumps({"query": "bees"}).encode())
    if said != 200:
        tally.fail(f"the server answers {said} afterwards")
    tally.counts["peak MB above idle"] = worst
    code = child.end(signal.SIGTERM, PATIENCE)
    if code != 0:
        tally.fail(f"the server ended with {code}: {child.printed()[-2000:]}")


def _make_index(folder: Path) -> None:
    encoder = Encoder.load(DATA / "tiny-colbert", threads=1)
    vectors = encoder.encode_document(["bees", "roof", "paris"])
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(folder, config, threads=1) as index:
        index.add_documents([
            EncodedDocument(
                Document(f"d{n}", "bees", None, {"n": n % 100, "tag": ["a", f"t{n % 7}"]}),
                [Passage(0, 4, np.array(vectors[n % 3]))],
            )
            for n in range(DOCUMENTS)
        ])  # fmt: skip


def _ask(port: int, method: str, path: str, content: bytes) -> int:
    """Return the status of an answer, 0 when the connection was closed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except TimeoutError:
        return LATE
    except (ConnectionError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _status(pid: int, name: str) -> int:
    """Return a number of kilobytes of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{name}:")[2].split()[0])


def _reset_peak(pid: int) -> int:
    """Let the peak of a process begin at what it has now, which is returned."""
    descriptor = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    os.write(descriptor, b"5")
    os.close(descriptor)
    return _status(pid, "VmRSS")


def _peak(pid: int) -> int:
    return _status(pid, "VmHWM")
