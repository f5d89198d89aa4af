"""Kill a Python program that writes to an index, and look what is left.

Each round forks a process that changes an index at random and says through a pipe what state each
commit will lead to, and when it has. It is killed at a random moment, most often within a commit.
The index must then open with all checksums right, in the state that was last said to be reached,
or in the one announced after it, and the next writer must be let in.
"""

from __future__ import annotations

import random
import signal
import time
import traceback
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Index, IndexConfig
from tests.tools.attack.children import Child, Say, random_signal
from tests.tools.attack.tally import Tally

DIM = 8
MOST = 40
TOLERANCE = 0.02
PATIENCE = 30.0

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


def write_for_ever(folder: Path, say: Say, seed: int) -> None:
    """Change and commit, until killed; say so before and after."""
    rng = np.random.default_rng(seed)
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
    except KeyboardInterrupt:
        raise SystemExit(130) from None
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
            check_no_leftovers(index, folder)
    return state


def check_no_leftovers(index: Index, folder: Path) -> None:
    """Raise if a segment of a dead writer is still there."""
    named = {segment.entry.name for segment in index.snapshot.segments if segment.entry}
    left = {path.name for path in (folder / "segments").glob("*")}
    if left != named:
        raise AssertionError(f"the folder has segments {left}, not {named}")


def kill_writers(tally: Tally, kills: int, seed: int, temporary: Path) -> None:
    """Kill writers of one index, one after the other."""
    chance, usual = random.Random(seed), 0.01
    folder = temporary / "index"
    Index.create(folder, IndexConfig(dim=DIM, codes="int8"), threads=1).close()
    state: State = {}
    for number in range(kills):
        if tally.over:
            break
        child = Child(lambda say, n=number: write_for_ever(folder, say, seed + n),
                      temporary / "output")  # fmt: skip
        if chance.random() < 0.1:
            time.sleep(chance.uniform(0, 0.02))
        else:
            child.wait_for(2 * chance.randrange(4) + 1, PATIENCE)  # within a commit
            time.sleep(chance.uniform(0, usual))
        how = random_signal(chance)
        code = child.end(how, PATIENCE)
        announced = state
        for message in child.messages:
            announced = message.get("next", announced)
            if "done" in message:
                state = announced
                tally.counts["commits"] += 1
                usual = 0.9 * usual + 0.1 * message["done"]
        allowed = [list(state.items()), list(announced.items())]
        tally.tried += 1
        tally.counts[signal.Signals(how).name] += 1
        try:
            found = checked_state(folder, writable=False)
            again = checked_state(folder, writable=True)
            errors = [message["error"] for message in child.messages if "error" in message]
            if code is None:
                raise AssertionError("it did not end")
            if errors or list(found.items()) not in allowed or found != again:
                raise AssertionError(f"{errors} found {found}, again {again}")
        except Exception:
            tally.fail(f"kill {number}: {traceback.format_exc()}allowed {allowed}")
            break
        tally.counts["within a commit"] += announced != state
        state = found
