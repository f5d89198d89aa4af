"""Tables made of results: the ones that studies print and benchmarks/README.md shows.

python -m benchmarks.harness.tables benchmarks/results/encode.json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.harness.results import read_results


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return "\n".join(lines)


def decimals(value: float | None, digits: int) -> str:
    """Return a number with so many decimals, nothing where there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def main() -> None:
    """Print the tables of files of results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, nargs="+")
    for path in parser.parse_args().results:
        content = read_results(path)
        study = import_module(f"benchmarks.studies.{content['study']}")
        print(study.table(content["results"]))


if __name__ == "__main__":
    main()
