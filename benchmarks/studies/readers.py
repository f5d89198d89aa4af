"""Readers on hostile files: processor time against size, for the slowest pattern of each kind.

    python -m benchmarks.studies.readers --json benchmarks/results/readers.json

Every pattern of `tests/support/hostile_texts.py` is read at 10 kB, 100 kB and 1 MB, as often as it
fits; at 10 MB the pattern that was slowest at 1 MB. A linear reader takes ten times as long for ten
times as much. Files of Office and PDF are made by a library and have their own limits, so they are
not here.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from tests.support.hostile_texts import HTML, OTHERS, repeated

from benchmarks.harness.results import Run
from benchmarks.harness.tables import markdown
from pocket_colbert.ingest.extracted import Deadline, Limits, UnreadableFileError
from pocket_colbert.ingest.formats import READERS, Content

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)


def seconds(kind: str, pattern: str, size: int) -> float:
    """Return the processor time that a reader takes for a pattern, repeated."""
    content = Content("a", repeated(pattern, size).encode(), Limits(), Deadline(600))
    started = time.process_time()
    try:
        list(READERS[kind](content))
    except (UnreadableFileError, RecursionError):
        pass
    return time.process_time() - started


def measure() -> list[dict[str, Any]]:
    """Return the slowest pattern of each kind and its times."""
    patterns = defaultdict(list)
    for kind, pattern in [*(("html", pattern) for pattern in HTML), *OTHERS]:
        patterns[kind].append(pattern)
    results = []
    for kind, known in patterns.items():
        times = {pattern: [seconds(kind, pattern, size) for size in SIZES[:-1]]
                 for pattern in known}  # fmt: skip
        worst = max(known, key=lambda pattern: times[pattern][-1])
        times[worst].append(seconds(kind, worst, SIZES[-1]))
        results.append({"kind": kind, "pattern": worst, "seconds": times[worst]})
        print(table(results[-1:]), flush=True)
    return results


def table(results: list[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    heads = ["reader", "slowest pattern", "10 kB", "100 kB", "1 MB", "10 MB"]
    rows = [
        [item["kind"], _code(item["pattern"]), *(f"{value:.3g} s" for value in item["seconds"])]
        for item in results
    ]
    return markdown(heads, rows)


def _code(pattern: str) -> str:
    shown = pattern.encode("unicode_escape").decode().replace("|", "\\|")
    return f"`` {shown} ``" if "`" in shown else f"`{shown}`"


def main() -> None:
    """Measure, print the table, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the results")
    arguments = parser.parse_args()
    run = Run.begin(__spec__.name, arguments)
    results = measure()
    print(table(results))
    if arguments.json is not None:
        run.save(arguments.json, results)


if __name__ == "__main__":
    main()
