"""How many small bugs the tests notice, in the folders that hold data, scores and guards.

    make mutants                    # a few hours on one core; ends with a table
    make mutants ARGS="--room storage --sample 50"
    make mutants ARGS=--survivors   # only those that no test has noticed so far

Changes one place at a time in a copy of the checkout (`.mutants/`), runs the tests that run the
changed line, the cheapest first, and stops at the first that fails. Places are sampled over all
rooms alike, by a seed. Goes on where it was stopped: what was noticed stays noticed until its file
changes. `tests/tools/survivors.txt` lists what no test notices, each with a reason; the exit
status is 1 if it differs from what was found, or if less than 90 % is noticed.

Needs the extra `mutants` (cosmic-ray and coverage).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.tools.mutant_sites import Mutant, Place, mutant_at, places_of

ROOT = Path(__file__).parents[2]
WORK = ROOT / ".mutants"
TREE = WORK / "tree"
SURVIVORS = ROOT / "tests" / "tools" / "survivors.txt"

RUNTIME, EXPORT = "runtime/pocket_colbert", "export/pocket_colbert_export"
ROOMS: dict[str, list[str]] = {
    "vectors": [f"{RUNTIME}/vectors/*.py"],
    "model": [f"{RUNTIME}/model/*.py"],
    "storage": [f"{RUNTIME}/storage/*.py"],
    "search": [f"{RUNTIME}/search/*.py"],
    "index": [f"{RUNTIME}/index/*.py"],
    "server": [
        f"{RUNTIME}/server/{name}.py" for name in ("bodies", "gate", "problems", "security")
    ],
    "export": [
        f"{EXPORT}/{name}.py"
        for name in (
            "checkpoints/raw",
            "folder/write_folder",
            "proof/fidelity",
            "proof/parity",
            "reduced_precision",
        )
    ],
}
# The folders of tests that can notice, besides the room's own.
TESTS: dict[str, list[str]] = {
    "vectors": ["storage", "search"],
    "model": ["."],
    "storage": ["search", "index"],
    "search": ["storage"],
    "index": ["storage", "search"],
    "server": [],
    "export": [],
}
# Browsers, real clients, generated requests, power cuts, peaks of memory, whole exports, training
# and hundreds of random folders take minutes each. They may notice what is counted as a survivor
# here; the list of survivors names those that do.
LEFT_OUT = {
    "test_clients.py",
    "test_compatible.py",
    "test_distill.py",
    "test_durability.py",
    "test_equal_builds.py",
    "test_export.py",
    "test_export_command.py",
    "test_float16.py",
    "test_generated_clients.py",
    "test_hostile_index.py",
    "test_memory.py",
    "test_model_layouts.py",
    "test_page.py",
    "test_pickling.py",
    "test_retriever.py",
    "test_server.py",
    "test_server_backends.py",
    "test_threads.py",
    "test_untrusted_folder.py",
}


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=300, help="how many mutants")
    parser.add_argument("--seed", default="17")
    parser.add_argument("--room", choices=ROOMS, nargs="+", help="only of these rooms")
    parser.add_argument("--survivors", action="store_true", help="only what survived so far")
    parser.add_argument("--map", action="store_true", help="only see which test runs which line")
    parser.add_argument("--table", action="store_true", help="only print what is known")
    parser.add_argument("--list", action="store_true", help="only print the sample")
    parser.add_argument(
        "--seconds", type=float, default=8, help="what the tests for one mutant may cost, at most"
    )
    options = parser.parse_args()
    rooms = options.room or list(ROOMS)
    mutants = list(sampled(options.seed, options.sample, rooms))
    if options.list:
        say(*(mutant.name for _, mutant in mutants))
        return 0
    if options.table:
        return told(mutants)
    copy_tree()
    runner = Runner(export="export" in rooms)
    tests = Tests(recorded(runner, rooms))
    if options.map:
        return 0
    test_all(mutants, tests, runner, options.seconds, survivors_only=options.survivors)
    return told(mutants)


def say(*lines: str) -> None:
    """Print lines at once, as a run takes hours."""
    print(*lines, sep="\n", flush=True)  # noqa: T201


def sampled(seed: str, number: int, rooms: Sequence[str]) -> Iterator[tuple[str, Mutant]]:
    """Yield (room, mutant) for a sample of all places, the same ones for a seed."""
    places: list[tuple[str, Place]] = []
    sources: dict[str, str] = {}
    for name, patterns in ROOMS.items():
        for path in sorted(path for pattern in patterns for path in ROOT.glob(pattern)):
            file = str(path.relative_to(ROOT))
            sources[file] = source = path.read_text()
            found = kept(_places, file, source, seed)
            places += [(name, Place(**place)) for place in found]
    places.sort(key=lambda item: item[1].digest)
    for name, place in places:
        if number == 0:
            return
        source = sources[place.file]
        values = kept(_mutant, place, source)
        if values is not None:
            number -= 1
            if name in rooms:
                yield name, Mutant(**values)


def kept(make: Callable[..., Any], *arguments: Any) -> Any:
    """Return what was made of some arguments before, or make it: trees take their time."""
    key = f"{_operators()}|{make.__name__}|{arguments!r}"
    path = WORK / "made" / hashlib.sha256(key.encode()).hexdigest()[:24]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make(*arguments)))
    return json.loads(path.read_text())


@cache
def _operators() -> str:
    return (ROOT / "tests" / "tools" / "mutant_sites.py").read_text()


def _places(file: str, source: str, seed: str) -> list[dict[str, Any]]:
    return [vars(place) for place in places_of(file, source, seed)]


def _mutant(place: Place, source: str) -> dict[str, Any] | None:
    mutant = mutant_at(place, source)
    return None if mutant is None else vars(mutant)


def copy_tree() -> None:
    """Copy the checkout's code and tests, so that nobody ever sees a mutant in the checkout."""
    if TREE.exists():
        shutil.rmtree(TREE)
    TREE.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "models", ".mutants")
    for name in ("runtime", "export", "tests", "benchmarks", "examples", "docs"):
        shutil.copytree(ROOT / name, TREE / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"):
        shutil.copy2(ROOT / name, TREE / name)
    (TREE / "models").symlink_to(ROOT / "models")
    (TREE / RUNTIME / "models").symlink_to(ROOT / "models")


class Runner:
    """Runs tests of the copy; see `forking_runner`."""

    def __init__(self, *, export: bool) -> None:
        self.output = WORK / "output.txt"
        path = os.pathsep.join(str(TREE / name) for name in ("runtime", "export", "."))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.tools.forking_runner", *["--export"] * export],
            cwd=TREE,
            # Plugins that other packages bring cost seconds each time.
            env={**os.environ, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, limit: float) -> str:
        """Run pytest; return its exit status, or "hung"."""
        fixed = [
            "-q",
            "--tb=line",
            "-m",
            "not shared",
            "-p",
            "no:cacheprovider",
            "-p",
            "_hypothesis_pytestplugin",
        ]
        fixed += ["-p", "tests.tools.covered_tests", f"--basetemp={WORK / 'temporary'}"]
        ordered = {"arguments": [*fixed, *arguments], "output": str(self.output), "limit": limit}
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(ordered) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("what runs the tests has ended")
        return answer

    def said(self) -> list[str]:
        """Return what the last run printed."""
        return self.output.read_text(errors="replace").splitlines()


def recorded(runner: Runner, rooms: Sequence[str]) -> list[dict[str, Any]]:
    """Return which tests run which lines, by file of tests; only what has changed is run."""
    folders = list(dict.fromkeys([*rooms, *(name for room in rooms for name in TESTS[room])]))
    files = [path for name in folders for path in sorted((TREE / "tests" / name).glob("test_*.py"))]
    digest = hashlib.sha256()
    for path in sorted([*TREE.glob("runtime/**/*.py"), *TREE.glob("export/**/*.py")]):
        digest.update(path.read_bytes())
    records = []
    for path in files:
        if path.name in LEFT_OUT:
            continue
        test = str(path.relative_to(TREE))
        key = hashlib.sha256(path.read_bytes() + digest.digest()).hexdigest()[:16]
        record = WORK / "records" / f"{test.replace('/', '.')}.{key}.json"
        if not record.exists():
            start = time.perf_counter()
            record.parent.mkdir(parents=True, exist_ok=True)
            runner.run(test, "--covered-tests", str(record), limit=1800)
            told_one = f"recorded {test} in {time.perf_counter() - start:.0f} s"
            say(f"{told_one}: {runner.said()[-1]}")
        records.append(json.loads(record.read_text()))
    return records


class Tests:
    """Which tests run a line, and what they cost."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.own: dict[str, float] = {}
        self.shared: dict[str, dict[str, float]] = {}
        self.lines: dict[tuple[str, int], set[str]] = defaultdict(set)
        for record in records:
            names = list(record["tests"])
            for name, test in record["tests"].items():
                if test.get("outcome") != "passed":
                    continue
                self.own[name] = test["seconds"]
                used = set(test["fixtures"])
                fixtures = record["fixtures"].items()
                self.shared[name] = {key: cost for key, cost in fixtures if key in used}
            for file, lines in record["lines"].items():
                for line, numbers in lines.items():
                    passed = (names[number] for number in numbers if names[number] in self.own)
                    self.lines[file, int(line)].update(passed)

    def cost(self, name: str) -> float:
        """Return what a test costs alone."""
        return self.own[name] + sum(self.shared[name].values())

    def for_mutant(self, room: str, mutant: Mutant, seconds: float) -> tuple[list[str], float, int]:
        """Return the tests to run, what they cost, and how many would be too many.

        Tests that run the line, or, if none does while it is recorded (what runs at import and in
        other processes), tests that run other lines of the file.
        """
        changed = range(mutant.line, mutant.last_line + 1)
        names = set().union(*(self.lines.get((mutant.file, line), set()) for line in changed))
        if not names:
            for (file, _), tests in self.lines.items():
                names |= tests if file == mutant.file else set()
        folder = f"tests/{room}/"
        order = sorted(names, key=lambda name: (not name.startswith(folder), self.cost(name), name))
        chosen: list[str] = []
        total, fixtures = 0.0, set[str]()
        for name in order:
            more = self.own[name] + sum(
                cost for fixture, cost in self.shared[name].items() if fixture not in fixtures
            )
            if chosen and total + more > seconds:
                continue
            chosen.append(name)
            total += more
            fixtures.update(self.shared[name])
        return chosen, total, len(order) - len(chosen)


def test_all(
    mutants: list[tuple[str, Mutant]],
    tests: Tests,
    runner: Runner,
    seconds: float,
    *,
    survivors_only: bool,
) -> None:
    """Test every mutant whose outcome is not known yet."""
    known = results()
    for number, (room, mutant) in enumerate(mutants, start=1):
        before = known.get(key_of(mutant))
        if (before is None or before["outcome"] != "survived") if survivors_only else before:
            continue
        start = time.perf_counter()
        names, cost, left_out = tests.for_mutant(room, mutant, seconds)
        outcome, by = "survived", ""
        if names:
            outcome, by = run_one(mutant, runner, names, limit=20 + 5 * cost)
        result = {
            "key": key_of(mutant),
            "room": room,
            "name": mutant.name,
            "outcome": outcome,
            "by": by,
            "tests": len(names),
            "left_out": left_out,
            "seconds": round(time.perf_counter() - start, 1),
        }
        with (WORK / "results.jsonl").open("a") as file:
            file.write(json.dumps(result) + "\n")
        told_one = f"{number}/{len(mutants)} {outcome} {result['seconds']} s {mutant.name} {by}"
        say(told_one)


def put(path: Path, text: str) -> None:
    """Write a file, and forget what Python compiled of it: both may be of the same second."""
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def run_one(mutant: Mutant, runner: Runner, names: list[str], *, limit: float) -> tuple[str, str]:
    """Put one mutant in, run tests, take it out again; return the outcome and who noticed."""
    path = TREE / mutant.file
    original = path.read_text()
    put(path, mutant.code)
    try:
        status = runner.run("-x", *names, limit=limit)
    finally:
        put(path, original)
    if status == "0":
        return "survived", ""
    if status == "hung":
        return "hung", f"{limit:.0f} s of processor time"
    said = runner.said()
    failed = [line for line in said if line.startswith(("FAILED", "ERROR", "E  "))]
    if status == "5" or (status == "4" and any("unrecognized arguments" in line for line in said)):
        raise RuntimeError("pytest did not run the tests:\n" + "\n".join(said))
    return "noticed", (failed or [f"exit status {status}"])[0][:200]


def key_of(mutant: Mutant) -> str:
    """Return what identifies a mutant of this version of its file."""
    return hashlib.sha256(f"{mutant.file}|{mutant.code}".encode()).hexdigest()[:24]


def results() -> dict[str, dict[str, Any]]:
    """Return the last outcome of every mutant tested so far."""
    path = WORK / "results.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {result["key"]: result for result in map(json.loads, lines)}


def reasons() -> dict[str, str]:
    """Return the listed survivors and why no test notices each."""
    found: dict[str, str] = {}
    name = ""
    for line in SURVIVORS.read_text().splitlines() if SURVIVORS.exists() else ():
        if line.startswith("    "):
            found[name] = line.strip()
        elif line and not line.startswith("#"):
            name = line
            found[name] = ""
    return found


def told(mutants: list[tuple[str, Mutant]]) -> int:
    """Print the table and what differs from the list; return the exit status."""
    known = results()
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    survivors: list[str] = []
    tested = 0
    for room, mutant in mutants:
        result = known.get(key_of(mutant))
        if result is None:
            continue
        tested += 1
        counts[room][result["outcome"]] += 1
        if result["outcome"] == "survived":
            survivors.append(mutant.name)
    say("| room | mutants | noticed | of them hung | survivors |", "|---|---|---|---|---|")
    total: Counter[str] = sum(counts.values(), Counter())
    for room, count in [*counts.items(), ("all", total)]:
        everything = count.total()
        noticed = everything - count["survived"]
        share = noticed / max(everything, 1)
        columns = [room, everything, f"{noticed} ({share:.0%})", count["hung"], count["survived"]]
        say("| " + " | ".join(map(str, columns)) + " |")
    if tested < len(mutants):
        say(f"{len(mutants) - tested} of {len(mutants)} are not tested yet.")
    listed = reasons()
    new = [name for name in survivors if not listed.get(name)]
    every = {mutant.name: known.get(key_of(mutant)) for _, mutant in mutants}
    gone = [
        name for name in listed if name in every and (every[name] or {}).get("outcome") == "noticed"
    ]
    for name in new:
        say(f"survives without a reason in {SURVIVORS.name}: {name}")
    for name in gone:
        say(f"is noticed now, remove it from {SURVIVORS.name}: {name}")
    return int(bool(new or gone) or tested - len(survivors) < 0.9 * tested)


if __name__ == "__main__":
    sys.exit(main())
