"""Indexing many documents from the command line: speed, peak memory, bytes, interruption.

    python -m benchmarks.studies.indexing TEXT --documents 10000 50000 0 --interrupt 60

TEXT is a folder of .jsonl.gz files with the keys `query` and `passage`; 0 stands for all of it.
Peak memory is the resident set of the command's process, what it has mapped included.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pocket_colbert

RESULTS = Path(__file__).parents[1] / "results"
OPTIONS = ["--id-field", "", "--text-field", "passage", "--title-field", "query", "--json"]


def sample(text: Path, documents: int, folder: Path) -> None:
    """Write an even sample of the rows of each file to a folder."""
    files = sorted(text.glob("*.jsonl.gz"))
    rows = {path: gzip.open(path, "rt", encoding="utf-8").readlines() for path in files}
    share = documents / sum(map(len, rows.values()))
    for path, lines in rows.items():
        count = round(len(lines) * share)
        kept = [lines[n * len(lines) // count] for n in range(count)]
        (folder / path.name.removesuffix(".gz")).write_text("".join(kept), encoding="utf-8")


def index(text: Path, into: Path, stop_after: float | None = None) -> dict[str, float]:
    """Run the command, with Ctrl-C after some seconds, and return its figures."""
    command = ["pocket-colbert", "index", str(text), "--into", str(into)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *OPTIONS], stdout=subprocess.PIPE, text=True)
    if stop_after is not None:
        threading.Timer(stop_after, process.send_signal, (signal.SIGINT,)).start()
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code != (0 if stop_after is None else 130):
        raise SystemExit(f"pocket-colbert index ended with {code}")
    found = json.loads(output) if output else {}
    return {
        "seconds": time.perf_counter() - started,
        "peak_mb": usage.ru_maxrss / 1000,
        **{name: found[name] for name in ("added", "unchanged", "documents") if found},
        **({"tokens": found["tokens"], "segments": found["segments"]} if found else {}),
        "mb": sum(p.stat().st_size for p in into.rglob("*") if p.is_file()) / 1e6,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--documents", type=int, nargs="+", default=[10_000, 50_000, 0])
    parser.add_argument("--interrupt", type=float, default=None, metavar="SECONDS")
    options = parser.parse_args()
    print(f"pocket-colbert {pocket_colbert.__version__}, {os.cpu_count()} cores\n")
    print("| run | documents | token vectors | seconds | documents/s | peak MB | MB on disk |")
    print("|---|---|---|---|---|---|---|")
    rows = []

    def report(name: str, row: dict[str, float]) -> None:
        rows.append({"run": name, **row})
        done = row.get("added", 0)
        print(
            f"| {name} | {row.get('documents', '')} | {row.get('tokens', '')} "
            f"| {row['seconds']:.0f} | {done / row['seconds']:.0f} | {row['peak_mb']:.0f} "
            f"| {row['mb']:.0f} |", flush=True,
        )  # fmt: skip

    with tempfile.TemporaryDirectory() as place:
        for documents in options.documents:
            source = options.text
            if documents:
                source = Path(place) / f"text-{documents}"
                source.mkdir()
                sample(options.text, documents, source)
            into = Path(place) / f"index-{documents}"
            if options.interrupt is not None and documents == options.documents[-1]:
                report("interrupted", index(source, into, options.interrupt))
                report("resumed", index(source, into))
            else:
                report(f"{documents or 'all'}", index(source, into))
            report("again, nothing new", index(source, into))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "indexing.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
