"""What indexing takes of memory, whatever the texts are, in a process that may not have much."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

LIMIT = 512_000_000
"""Bytes of memory of its own that the process may have. Address space, which is only reserved for
the threads' heaps and says nothing of what is used, has no limit: it differs between machines."""

MOST = 400_000
"""Kilobytes that it may use at a time."""

SHARE = 1.0 if "POCKET_COLBERT_MEMORY" in os.environ else 0.4
"""Of 100 files of 50 kB, or one of 5 MB. With all of it each test takes half a minute longer."""

PROGRAM = f"""
import itertools, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, ({LIMIT}, {LIMIT}))
import numpy as np
from pocket_colbert.model.session import Session

# The model runs on every fortieth passage, which shows what it takes of memory; other passages have
# vectors made up, or this would take minutes.
real, calls = Session.run, itertools.count()
made = np.random.default_rng(1).normal(size=(1, 512, 96)).astype(np.float32)
made /= np.linalg.norm(made, axis=2, keepdims=True)

def run(session, input_ids, attention_mask):
    vectors = real(session, input_ids, attention_mask) if next(calls) % 40 == 0 else made
    return vectors[:, : input_ids.shape[1]]

Session.run = run
kind, path, into = sys.argv[1:]
if kind == "command":
    from pocket_colbert.cli.commands import main
    main(["index", path, "--into", into, "-m", "tiny", "--threads", "2"], standalone_mode=False)
else:
    import pathlib
    from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
    encoder = Encoder.load("tiny", threads=2)
    config = IndexConfig(dim=encoder.dim)
    with Index.create(into, config, threads=2) as index:
        files = sorted(pathlib.Path(path).iterdir())
        Retriever(encoder, index).add([Document(f.name, f.read_text()) for f in files])
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print("peak", line.split()[1])
"""


def words(size: int) -> str:
    """Return English of about a token every five characters."""
    chance = random.Random(size)
    known = Path(__file__).read_text().split()
    return " ".join(chance.choices(known, k=size // 6))


def dense(size: int) -> str:
    """Return a text of a token a character."""
    chance = random.Random(size)
    return "".join(chance.choices("的一是了我不人在他有", k=size))


def many(folder: Path) -> None:
    for number in range(int(100 * SHARE)):
        (folder / f"{number}.txt").write_text(words(50_000))


def large(folder: Path) -> None:
    (folder / "large.txt").write_text(words(int(5_000_000 * SHARE)))


def characters(folder: Path) -> None:
    for number in range(int(10 * SHARE)):
        (folder / f"{number}.txt").write_text(dense(190_000))


def line(folder: Path) -> None:
    (folder / "one.jsonl").write_text(
        json.dumps({"_id": "a", "text": words(int(5_000_000 * SHARE))})
    )


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("command", many), ("command", large), ("command", characters), ("command", line),
        ("python", many),
    ],
)  # fmt: skip
def test_indexing_takes_little_memory(
    kind: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    make(folder)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kind, folder, tmp_path / "index"],
        capture_output=True, text=True, check=False,
        env={
            **os.environ, "PYTHONPATH": os.pathsep.join(sys.path),
            # A stack for each of many cores would be of the machine, not of indexing.
            "OPENBLAS_NUM_THREADS": "2", "RAYON_NUM_THREADS": "2",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    peak = int(done.stdout.rpartition("peak ")[2])
    assert peak < MOST, f"{peak} kB"
