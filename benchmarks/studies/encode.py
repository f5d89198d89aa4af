"""Documents per second of encoders, side by side.

Each system runs in a Python of its own, since their requirements exclude each other, loads once,
and then encodes the same documents when it is told to; systems take turns, and medians are
reported. Two threads each. Systems whose Python or model is not given are left out.

    python -m benchmarks.studies.encode DATASET --int8 FOLDER --fp32 FOLDER \
        --fastembed-python PYTHON --fastembed-model FOLDER \
        --reference-python PYTHON --reference-model FOLDER

`benchmarks/README.md` says how those folders and environments are made.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import in_turns
from benchmarks.systems.encoders import ENCODE

LOOP = """
import json, sys, time, warnings
import numpy as np
texts = json.load(open(texts_file, encoding="utf-8"))
warnings.simplefilter("ignore")
encode(texts[:8])
print("READY", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    vectors = encode(texts)
    print("TIME", time.perf_counter() - started, flush=True)
    if line.strip() == "save":
        np.savez(output, *[np.asarray(v, dtype=np.float32) for v in vectors])
        print("SAVED", flush=True)
"""


class Worker:
    """A system in a process of its own."""

    def __init__(self, python: str, system: str, settings: dict[str, Any]) -> None:
        head = "".join(f"{key} = {value!r}\n" for key, value in settings.items())
        threads = str(settings["threads"])
        environment = os.environ | {
            "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads,
            "RAYON_NUM_THREADS": threads, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true",
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, "-c", head + ENCODE[system] + LOOP],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env=environment,
        )  # fmt: skip
        self._wait("READY")

    def run(self, command: str) -> float:
        """Encode once; return the seconds it took."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        seconds = float(self._wait("TIME"))
        if command == "save":
            self._wait("SAVED")
        return seconds

    def _wait(self, word: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                return line[len(word) :].strip()
        raise RuntimeError(f"the worker ended with code {self.process.wait()} before {word}.")


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--int8", help="our int8 model folder")
    parser.add_argument("--fp32", help="our fp32 model folder")
    parser.add_argument("--fastembed-python")
    parser.add_argument("--fastembed-model")
    parser.add_argument("--reference-python")
    parser.add_argument("--reference-model")
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("encode", options)
    path = options.dataset / "corpus.jsonl.gz"
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][: options.documents]
    texts = [f"{row.get('title', '')} {row['text']}".strip() for row in rows]
    reference = options.reference_python
    wanted = [
        ("pocket-colbert int8", sys.executable, "pocket-colbert", options.int8, ""),
        ("pocket-colbert fp32", sys.executable, "pocket-colbert", options.fp32, ""),
        ("fastembed fp32", options.fastembed_python, "fastembed", options.fastembed_model, ""),
        ("sentence-transformers ONNX int8", reference, "sentence-transformers",
         options.reference_model, "onnx"),
        ("sentence-transformers torch fp32", reference, "sentence-transformers",
         options.reference_model, "torch"),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        texts_file = work / "texts.json"
        texts_file.write_text(json.dumps(texts), encoding="utf-8")
        workers = {}
        for name, python, system, model, backend in wanted:
            if python and model:
                workers[name] = Worker(python, system, {
                    "model": str(Path(model).resolve()), "threads": options.threads,
                    "texts_file": str(texts_file), "backend": backend,
                    "output": str(vectors_of(work, name)),
                })  # fmt: skip
        for worker in workers.values():
            worker.run("save")
        seconds = in_turns(
            {name: partial(worker.run, "go") for name, worker in workers.items()},
            options.rounds, warm_up=0,  # they have encoded everything once
        )  # fmt: skip
        results = {
            name: {
                "documents_per_second": len(texts) / statistics.median(times),
                "fastest": len(texts) / min(times),
                "slowest": len(texts) / max(times),
                "token_cosine_to_torch_fp32": cosine(
                    work, name, "sentence-transformers torch fp32"
                ),
            }
            for name, times in seconds.items()
        }
    print(f"{len(texts)} documents, {options.threads} threads, {options.rounds} rounds, medians\n")
    print(table(results))
    run.save(options.json, results)


def table(results: Mapping[str, Mapping[str, float | None]]) -> str:
    """Return a row for each system."""
    heads = ("system", "documents/s (slowest to fastest)", "token cosine to torch fp32")
    rows = [
        (
            name,
            f"{row['documents_per_second']:.1f} ({row['slowest']:.1f} to {row['fastest']:.1f})",
            decimals(row["token_cosine_to_torch_fp32"], 4),
        )
        for name, row in results.items()
    ]
    return markdown(heads, rows)


def vectors_of(work: Path, name: str) -> Path:
    """Return the file that a system's vectors are saved to."""
    return work / f"{name.replace(' ', '-')}.npz"


def cosine(work: Path, name: str, reference: str) -> float | None:
    """Return the mean token cosine of two systems, None where their tokens differ."""
    paths = [vectors_of(work, item) for item in (name, reference)]
    if not all(path.is_file() for path in paths):
        return None
    with np.load(paths[0]) as ours, np.load(paths[1]) as theirs:
        values = []
        for key in ours.files:
            if ours[key].shape != theirs[key].shape:
                return None
            values.append((ours[key] * theirs[key]).sum(axis=1))
    return float(np.concatenate(values).mean())


if __name__ == "__main__":
    main()
