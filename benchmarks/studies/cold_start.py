"""Cold start: from the start of a process to its first answer, beside the floor.

    python -m benchmarks.studies.cold_start --rounds 15 --json benchmarks/results/cold_start.json
    python -m benchmarks.studies.cold_start --bundle fn.zip     # of `pocket-colbert bundle`
    python -m benchmarks.studies.cold_start --fastembed FE FP32_MODEL \
        --sentence-transformers ST CHECKPOINT

FE is the Python of an environment with fastembed and qdrant-client, ST of one with
sentence-transformers. CHECKPOINT is answerai-colbert-small-v1, FP32_MODEL what fastembed takes of
it: its float32 export with the graph named vespa_colbert.onnx, and the checkpoint's tokenizer and
config files.

The floor is a plain script that imports onnxruntime, numpy, usearch and tokenizers, opens the same
ONNX file and tokenizer with the libraries' own defaults and encodes one query. All are fresh
processes that take turns; files are in the system's cache. Time ends when the answer is read from
the process's output, and CPU time and peak memory are the system's count for the whole process.
This script imports only the standard library, as a child's peak starts at its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import in_turns
from benchmarks.systems.encoders import SEARCH, STORE

QUERY = "How long does it take to open an index?"

THREADS = """
import json, time
def threads():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads"))
def answer(again):
    print(json.dumps({"threads": threads(), "cpu_ms": 1000 * time.process_time()}), flush=True)
    times = []
    for _ in range(9):
        started = time.perf_counter()
        again()
        times.append(time.perf_counter() - started)
    print(json.dumps({"warm_ms": 1000 * sorted(times)[4]}), flush=True)
"""

FLOOR = """
import sys
import numpy, onnxruntime, tokenizers, usearch.index
model, query = sys.argv[1], sys.argv[3]
tokenizer = tokenizers.Tokenizer.from_file(model + "/tokenizer.json")
session = onnxruntime.InferenceSession(model + "/model_int8.onnx")
def encode():
    ids = numpy.array([tokenizer.encode(query).ids])
    feeds = {"input_ids": ids, "attention_mask": numpy.ones_like(ids)}
    return session.run(None, feeds)[0]
encode()
"""

SCRIPTS = {
    "the floor: encode one query": FLOOR + THREADS + "answer(encode)",
    "python alone": THREADS + "answer(lambda: None)",
    "import pocket_colbert": "import pocket_colbert" + THREADS + "answer(lambda: None)",
    "Encoder.load, encode one query": """
import sys
from pocket_colbert import Encoder
encoder = Encoder.load(sys.argv[1])
encode = lambda: encoder.encode_query([sys.argv[3]])
encode()
""" + THREADS + "answer(encode)",
    "Encoder, Index, Retriever: search": """
import sys
from pocket_colbert import Encoder, Index, Retriever
retriever = Retriever(Encoder.load(sys.argv[1]), Index.load(sys.argv[2]))
search = lambda: retriever.retrieve([sys.argv[3]])
search()
""" + THREADS + "answer(search)",
}  # fmt: skip

HANDLER = """
import sys
sys.path.insert(0, sys.argv[4])
import handler
search = lambda: handler.handler({"query": sys.argv[3]}, None)
assert search()["hits"]
""" + THREADS + "answer(search)"  # fmt: skip


def measure(command: list[str]) -> dict[str, float]:
    """Run a process; return what its first answer, and it in all, took."""
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - started
        rest = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or not first:
        raise SystemExit(f"{command} ended with {process.returncode}.")
    found = {"ms": 1000 * seconds, "peak_mb": usage.ru_maxrss * 1024 / 1e6}
    try:
        found |= {**json.loads(first), **json.loads(rest)}
    except ValueError:  # the command line prints hits
        found["cpu_ms"] = 1000 * (usage.ru_utime + usage.ru_stime)
    return found


def corpus(path: Path, count: int) -> None:
    """Write documents made of this repository's own pages, a few sentences each."""
    root = Path(__file__).parents[2]
    words = " ".join(
        file.read_text(encoding="utf-8")
        for file in [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    ).split()
    with path.open("w", encoding="utf-8") as stream:
        for n in range(count):
            start = n * 37 % (len(words) - 60)
            text = " ".join(words[start : start + 60])
            stream.write(json.dumps({"_id": str(n), "text": text}) + "\n")


def unpack(path: Path, place: Path, *, bytecode: bool) -> None:
    """Unpack a bundle, with or without what its modules compile to."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if bytecode or not name.endswith(".pyc")]
        archive.extractall(place, names)


def rival(name: str, python: str, model: str, folder: Path) -> list[str]:
    """Store the documents with a rival; return the command that answers from what it stored."""
    store = str(folder / name)
    corpus_file = str(folder / "corpus.jsonl")
    subprocess.run(
        [python, "-W", "ignore", "-c", STORE[name], model, store, corpus_file], check=True
    )
    script = SEARCH[name] + THREADS + "answer(search)"
    return [python, "-W", "ignore", "-c", script, model, store, QUERY]


def table(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Return medians as a table, with ratios to the floor."""
    floor = rows["the floor: encode one query"]

    def cells(name: str, turns: Sequence[Mapping[str, float]]) -> list[str]:
        def median(key: str) -> float | None:
            return statistics.median(turn[key] for turn in turns) if key in turns[0] else None

        def ratio(key: str) -> float:
            # Of each turn, as the machine's load changes between turns.
            pairs = zip(turns, floor, strict=True)
            return statistics.median(ours[key] / plain[key] for ours, plain in pairs)

        warm = median("warm_ms")
        return [
            name, decimals(median("ms"), 0), decimals(ratio("ms"), 2),
            decimals(median("cpu_ms"), 0), decimals(ratio("cpu_ms"), 2),
            decimals(warm if warm and warm > 0.01 else None, 1),
            decimals(median("peak_mb"), 0), decimals(median("threads"), 0),
        ]  # fmt: skip

    heads = (
        "", "first answer, ms", "of the floor", "CPU, ms", "of the floor", "warm, ms", "peak MB",
        "threads",
    )  # fmt: skip
    return markdown(heads, [cells(name, turns) for name, turns in rows.items()])


def main() -> None:
    """Measure all, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--bundle", type=Path, default=None, help="Zip of `pocket-colbert bundle`.")
    for name in SEARCH:
        parser.add_argument(f"--{name}", nargs=2, default=None, metavar=("PYTHON", "MODEL"))
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    run = Run.begin("cold_start", options)

    model = subprocess.run(
        [sys.executable, "-c", "from pocket_colbert.model.folder import *; "
         "print(find_model(DEFAULT_MODEL))"], capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        corpus(folder / "corpus.jsonl", options.documents)
        tool = [str(Path(sys.executable).with_name("pocket-colbert"))]
        subprocess.run(
            [*tool, "index", str(folder / "corpus.jsonl"), "--into", str(folder / "index")],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        arguments = [model, str(folder / "index"), QUERY]
        commands = {
            name: [sys.executable, "-c", script, *arguments] for name, script in SCRIPTS.items()
        }
        commands["pocket-colbert search"] = [*tool, "search", str(folder / "index"), QUERY]
        if options.bundle:
            for name, place in (
                ("the bundle's handler", folder / "bundle"),
                ("the same without its bytecode", folder / "sources"),
            ):
                unpack(options.bundle, place, bytecode=place.name == "bundle")
                isolated = [sys.executable, "-I", "-S", "-B", "-c", HANDLER]
                commands[name] = [*isolated, *arguments, str(place)]
        for name in SEARCH:
            if chosen := getattr(options, name.replace("-", "_")):
                commands[name] = rival(name, *chosen, folder)
        rows = in_turns(
            {name: partial(measure, command) for name, command in commands.items()},
            options.rounds, warm_up=1,  # which fills the system's cache
        )  # fmt: skip
    print(table(rows))
    run.save(options.json, rows)


if __name__ == "__main__":
    main()
