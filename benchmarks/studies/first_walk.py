r"""A first-time walk: from `pip install` to an answer from 500 files, in three commands.

    python -m benchmarks.studies.first_walk            # the checkout, in a new environment
    python -m benchmarks.studies.first_walk --package pocket-colbert --folder ~/notes \
        --question "where is the spare key?"

Each command is what a reader of the README types, in a fresh virtual environment whose making is
not counted. Wall time depends on what else the machine does, and on the network while pip
downloads; processor time (user and system) much less, so both are printed.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import mixed_files
from benchmarks.harness.tables import markdown

ROOT = Path(__file__).parents[2]


class Step(NamedTuple):
    """A command, and what it took.

    Attributes:
        command: The command as a user types it.
        wall: Seconds by the clock.
        processor: Seconds of all cores together.
        output: What it printed.
    """

    command: str
    wall: float
    processor: float
    output: str


def walk(package: str, folder: Path, question: str, work: Path) -> list[Step]:
    """Run the three commands in a new environment.

    Args:
        package: What pip installs.
        folder: The files.
        question: What to ask.
        work: Where the environment and the index go.
    """
    subprocess.run([sys.executable, "-m", "venv", work / "venv"], check=True)
    programs, index = work / "venv" / "bin", work / "notes.index"
    commands = [
        (f"pip install {package}", [programs / "pip", "install", "--quiet", package]),
        (
            f"pocket-colbert index {folder.name} --into {index.name}",
            [programs / "pocket-colbert", "index", folder, "--into", index],
        ),
        (
            f'pocket-colbert search {index.name} "{question}"',
            [programs / "pocket-colbert", "search", index, question, "-k", "1"],
        ),
    ]
    return [_run(typed, command) for typed, command in commands]


def _run(typed: str, command: list[str | Path]) -> Step:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{typed}\n{done.stdout}{done.stderr}")
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Step(typed, wall, processor, done.stdout)


def main() -> None:
    """Walk, and print what each command took and the answer."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--package", default=str(ROOT), help="what pip installs")
    parser.add_argument("--folder", type=Path, help="files of your own instead of made ones")
    parser.add_argument("--question", default=mixed_files.QUESTION)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        folder = given.folder or work / "notes"
        if given.folder is None:
            mixed_files.make(folder)
        steps = walk(given.package, folder, given.question, work)
    rows = [[step.command, f"{step.wall:.1f}", f"{step.processor:.1f}"] for step in steps]
    total = [sum(step.wall for step in steps), sum(step.processor for step in steps)]
    rows.append(["all three", *(f"{seconds:.1f}" for seconds in total)])
    print(markdown(["command", "seconds", "processor seconds"], rows))
    print(steps[-1].output)


if __name__ == "__main__":
    main()
