"""Kill a writer again and again, and look what is left of its index.

    python -m tests.tools.crash_writer --kills 1000

Each round forks a process that changes an index at random and says through a pipe what state each
commit will lead to, and when it has. It is killed at a random moment, most often within a commit.
The index must then open with all checksums right, in the state that was last said to be reached,
or in the one announced after it, and the next writer must be let in. Where the system forks.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Index, IndexConfig

DIM = 8
MOST = 40
TOLERANCE = 0.02

State = dict[str, str]
"""Texts by id, in order."""


def vectors(text: str) -> NDArray[np.float32]:
    """Return the token vectors of a text: a function of it."""
    values = np.random.default_rng(list(text.encode())).normal(size=(3, DIM))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32)


def put(index: Index, state: State, ids: list[str], version: int, *, new: bool) -> None:
    """Add or upsert documents, in the index and in its model."""
    texts = [f"{document_id} as of {version}" for document_id in ids]
    change = index.add if new else index.upsert
    change(ids, [vectors(text) for text in texts], texts=texts)
    for document_id, text in zip(ids, texts, strict=True):
        state.pop(document_id, None)
        state[document_id] = text


def change(index: Index, state: State, rng: np.random.Generator) -> None:
    """Add, replace and delete some documents at random."""
    version = int(rng.integers(1 << 31))
    put(index, state, [f"n{version}-{n}" for n in range(rng.integers(1, 6))], version, new=True)
    known = list(state)
    chosen = rng.permutation(len(known))[: rng.integers(4)]
    put(index, state, [known[n] for n in chosen], version, new=False)
    known = list(state)
    count = max(len(known) - MOST, int(rng.integers(4)))
    gone = [known[n] for n in rng.permutation(len(known))[:count]]
    index.delete(gone)
    for document_id in gone:
        del state[document_id]


def write_for_ever(folder: Path, pipe: IO[str], seed: int) -> None:
    """Change and commit, until killed; say so before and after."""

    def say(message: dict[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    rng = np.random.default_rng(seed)
    try:
        with Index.load(folder, writable=True, threads=1) as index:
            state = state_of(index)
            while True:
                change(index, state, rng)
                say({"next": state})
                started = time.perf_counter()
                if rng.random() < 0.3:
                    index.compact()
                else:
                    index.commit()
                say({"done": time.perf_counter() - started})
    except BaseException:
        say({"error": traceback.format_exc()})


def state_of(index: Index) -> State:
    """Return what an index holds."""
    found = [(document.document_id, document.text or "") for document in index]
    if not len(found) == len(dict(found)) == len(index):
        raise AssertionError(f"{len(index)} documents, found {found}")
    return dict(found)


def checked_state(folder: Path, *, writable: bool) -> State:
    """Open an index, verify its checksums and some token vectors, and return what it holds."""
    with Index.load(folder, verify=True, writable=writable, threads=1) as index:
        state = state_of(index)
        for document_id, text in list(state.items())[-3:]:
            found = index.passages(document_id)[0].embedding
            np.testing.assert_allclose(found, vectors(text), atol=TOLERANCE)
        if writable:
            named = {segment.entry.name for segment in index.snapshot.segments if segment.entry}
            left = {path.name for path in (folder / "segments").iterdir()}
            if left != named:
                raise AssertionError(f"the folder has segments {left}, not {named}")
    return state


def killed(folder: Path, seed: int, rng: np.random.Generator, usual: float) -> list[dict[str, Any]]:
    """Start a writer, kill it, and return what it said; `usual` is how long a commit takes."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            write_for_ever(folder, pipe, seed)
        os._exit(1)
    os.close(writing)
    lines = []
    with os.fdopen(reading) as pipe:
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0, 0.02))
        else:
            commits = rng.integers(1, 5)
            for line in pipe:
                lines.append(line)
                commits -= line.startswith('{"next"')
                if not commits or line.startswith('{"error"'):
                    break
            time.sleep(rng.uniform(0, usual))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        lines += pipe.readlines()
    return [json.loads(line) for line in lines if line.endswith("\n")]


def main() -> None:
    """Kill writers; print one line, and what was lost, if anything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="a new folder for the index")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    started, usual = time.perf_counter(), 0.01
    within, reached, commits, losses = 0, 0, 0, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "index"
        Index.create(folder, IndexConfig(dim=DIM, codes="int8"), threads=1).close()
        state: State = {}
        for number in range(arguments.kills):
            said = killed(folder, arguments.seed + number, rng, usual)
            announced = state
            for message in said:
                announced = message.get("next", announced)
                if "done" in message:
                    state = announced
                    commits += 1
                    usual = 0.9 * usual + 0.1 * message["done"]
            allowed = [list(state.items()), list(announced.items())]
            try:
                found = checked_state(folder, writable=False)
                again = checked_state(folder, writable=True)
                errors = [message["error"] for message in said if "error" in message]
                if errors or list(found.items()) not in allowed or found != again:
                    raise AssertionError(f"{errors} found {found}, again {again}")
            except Exception:
                losses.append(f"kill {number}: {traceback.format_exc()}allowed {allowed}")
                break
            within += announced != state
            reached += announced != state and found == announced
            state = found
    seconds = time.perf_counter() - started
    print(  # noqa: T201
        f"{number + 1} kills, {within} within a commit, of which {reached} had come to its end; "
        f"{commits} commits seen; {seconds:.1f} s; {len(losses)} losses"
    )
    if losses:
        print(*losses, sep="\n")  # noqa: T201
        sys.exit(1)


if __name__ == "__main__":
    main()
