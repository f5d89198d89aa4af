"""The server under load: from one client to far more than it lets wait.

    python -m benchmarks.studies.load --json benchmarks/results/load.json

It indexes this repository's Markdown files, starts `pocket-colbert serve` over them as a process of
its own, and asks it from this one: at each concurrency so many clients each send a search, wait for
the answer and send the next, over connections that stay open, for `--seconds`. A search is whole:
encoding the query, MaxSim over all passages, snippets. Queries differ, so nothing is answered from
memory.

What must hold, or it ends with an error: every request is answered, with 200 or with 503 and
`Retry-After`; what is answered 200 is right (the same hits as without load); a document that was
added under load, with 201, is there after a kill; and the server still answers when all is over.
Its memory is read from /proc before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from pocket_colbert import Index
from pocket_colbert.hardware import usable_cores

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from pocket_colbert.cli.commands import main; main()"]
QUERIES = [
    "What does a commit promise after a power cut?",
    "How do I export a checkpoint?",
    "Which model is the default?",
    "How are long documents split?",
    "Who may ask the server?",
    "How small can an index get?",
    "What is a filter on metadata?",
    "How many threads does a search use?",
]


@dataclass
class Tally:
    """What clients got at one concurrency.

    Attributes:
        clients: How many asked at a time.
        seconds: For how long.
        statuses: Answers by status.
        milliseconds: Time of every answer with status 200.
        refused: The same for status 503.
        wrong: What was not as it must be.
    """

    clients: int
    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return a row of the table."""
        done = self.statuses[200]
        other = sum(self.statuses.values()) - done - self.statuses[503]
        return {
            "clients": self.clients,
            "ok": done,
            "refused": self.statuses[503],
            "other": other,
            "ok_per_second": done / self.seconds,
            "answers_per_second": sum(self.statuses.values()) / self.seconds,
            "p50_ms": _quantile(self.milliseconds, 0.5),
            "p99_ms": _quantile(self.milliseconds, 0.99),
            "refused_p99_ms": _quantile(self.refused, 0.99),
        }


def _quantile(values: list[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if values else None


def question(number: int) -> str:
    """Make a query that no other is like, with one answer known."""
    return f"{QUERIES[number % len(QUERIES)]} ({number})"


async def search(client: httpx.AsyncClient, query: str) -> httpx.Response:
    """Ask for the best three documents."""
    return await client.post("/api/search", json={"query": query, "k": 3})


def hits_of(answer: httpx.Response) -> list[tuple[str, float]]:
    """Return ids and scores, rounded to what other threads' sums do not move."""
    return [(hit["id"], round(hit["score"], 3)) for hit in answer.json()["hits"]]


async def load(
    address: str, clients: int, seconds: float, expected: list[list[tuple[str, float]]]
) -> Tally:
    """Ask from so many clients for so many seconds."""
    tally = Tally(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:
        end = time.perf_counter() + seconds

        async def ask(first: int) -> None:
            number = first
            while time.perf_counter() < end:
                which = number % len(expected)
                begin = time.perf_counter()
                answer = await search(client, question(which))  # an error here ends it all
                took = 1000 * (time.perf_counter() - begin)
                tally.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    tally.milliseconds.append(took)
                    if hits_of(answer) != expected[which]:
                        tally.wrong.append(f"other hits for {question(which)!r}")
                else:
                    tally.refused.append(took)
                    if answer.status_code != 503 or "retry-after" not in answer.headers:
                        tally.wrong.append(f"status {answer.status_code}: {answer.text[:200]}")
                    # As `Retry-After` asks for, but sooner, so that it is refused again.
                    await asyncio.sleep(0.05)
                number += clients

        begin = time.perf_counter()
        await asyncio.gather(*(ask(n) for n in range(clients)))
        tally.seconds = time.perf_counter() - begin
    return tally


async def write_under_load(address: str, clients: int) -> list[str]:
    """Add documents while more search than may wait; return the ids that were acknowledged."""
    acknowledged: list[str] = []
    async with httpx.AsyncClient(base_url=address, timeout=120) as client:

        async def add(number: int) -> None:
            document = {"id": f"load-{number}", "text": f"Load number {number}."}
            answer = await client.post("/api/documents", json={"documents": [document]})
            if answer.status_code == 201:
                acknowledged.append(document["id"])

        searches = (search(client, question(n)) for n in range(clients))
        await asyncio.gather(*(add(n) for n in range(20)), *searches)
    return acknowledged


def memory(process: int) -> float:
    """Return the megabytes that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


def start(folder: Path, threads: int) -> tuple[subprocess.Popen[str], str]:
    """Start the server and return it and its address."""
    arguments = ["serve", str(folder), "--port", "0", "--threads", str(threads)]
    process = subprocess.Popen([*COMMAND, *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    line = process.stderr.readline()
    if "Serving" not in line:
        raise SystemExit(line + process.stderr.read())
    return process, line.split()[-1]


def make_index(folder: Path) -> None:
    """Index what this repository says of itself."""
    paths = [ROOT / name for name in ("README.md", "CHANGELOG.md", "docs")]
    subprocess.run([*COMMAND, "index", *map(str, paths), "--into", str(folder)], check=True)


def measure(folder: Path, clients: list[int], seconds: float, threads: int) -> dict[str, Any]:
    """Start a server, load it, and return what was seen; SystemExit where it does not hold."""
    process, address = start(folder, threads)
    try:

        async def calm() -> list[list[tuple[str, float]]]:
            async with httpx.AsyncClient(base_url=address, timeout=120) as client:
                return [hits_of(await search(client, question(n))) for n in range(64)]

        expected = asyncio.run(calm())
        before = memory(process.pid)
        tallies = [asyncio.run(load(address, n, seconds, expected)) for n in clients]
        after = memory(process.pid)
        wrong = [text for tally in tallies for text in tally.wrong]
        acknowledged = asyncio.run(write_under_load(address, max(clients)))
        if httpx.get(f"{address}/health").json() != {"status": "ok"}:
            wrong.append("the server does not answer any more")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Index.load(folder) as index:
        wrong += [f"{name} is lost" for name in acknowledged if name not in index]
        documents = len(index) - len(acknowledged)
    if wrong or not acknowledged:
        raise SystemExit("\n".join(wrong[:20]) or "nothing could be added under load")
    return {
        "cores": usable_cores(),
        "threads": threads,
        "documents": documents,
        "memory_mb": [before, after],
        "added_under_load": len(acknowledged),
        "rows": [tally.row() for tally in tallies],
    }


def table(found: dict[str, Any]) -> str:
    """Return the table of clients, and what became of memory and of added documents."""
    heads = ("clients", "200 a second", "p50 ms", "p99 ms", "200", "503", "other", "p99 ms of 503")
    rows = [
        (
            str(row["clients"]), decimals(row["ok_per_second"], 1), decimals(row["p50_ms"], 0),
            decimals(row["p99_ms"], 0), str(row["ok"]), str(row["refused"]), str(row["other"]),
            decimals(row["refused_p99_ms"], 0),
        )
        for row in found["rows"]
    ]  # fmt: skip
    before, after = found["memory_mb"]
    return markdown(heads, rows) + (
        f"\n\n{found['documents']} documents, {found['cores']} cores, "
        f"--threads {found['threads']}. Memory {before:.0f} MB before, {after:.0f} MB after. "
        f"{found['added_under_load']} documents added under load, all there after a kill."
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 2, 8, 32, 128, 512])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    run = Run.begin("load", arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "docs.index"
        make_index(folder)
        found = measure(folder, arguments.clients, arguments.seconds, arguments.threads)
    print(table(found))
    run.save(arguments.json, found)


if __name__ == "__main__":
    main()
