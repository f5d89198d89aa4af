"""Kill the commands `index`, `compact` and `merge`, and `serve`, and look what is left.

The commands run with the small model of the tests, in forked processes. What they have
acknowledged, by a commit that returned, by what they print or by an answer to a request, must be
there afterwards; and the same command, run again, must come to its end.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from pocket_colbert import Index, PocketColbertError
from tests.support.paths import DATA
from tests.tools.attack.children import Child, Say, random_signal, run_command
from tests.tools.attack.tally import Tally
from tests.tools.attack.writer import check_no_leftovers, state_of

MODEL = ("--model", DATA / "tiny-colbert")
PATIENCE = 60.0
WORDS = ["bees", "roof", "paris", "dough", "capital", "contract", "honey", "supplier"]

State = dict[str, str]


def held(folder: Path) -> State:
    """Return what an index holds, all checksums verified, its lock free and no leftovers in it."""
    with Index.load(folder, verify=True, writable=True, threads=1) as index:
        check_no_leftovers(index, folder)
        return state_of(index)


def text_of(chance: random.Random, name: str) -> str:
    """Return a text that says which it is."""
    return f"{name} {chance.random()} " + " ".join(chance.choices(WORDS, k=chance.randint(5, 60)))


def signalled(child: Child, chance: random.Random, usual: float) -> tuple[int | None, int]:
    """Send a signal at a random moment; return the exit code and the signal."""
    time.sleep(chance.uniform(0, usual))
    how = random_signal(chance)
    return child.end(how, PATIENCE), how


def kill_indexing(tally: Tally, kills: int, seed: int, temporary: Path) -> None:
    """Kill `index` while it brings an index up to date with a folder that changes."""
    chance = random.Random(seed)
    texts, folder = temporary / "texts", temporary / "texts.index"
    texts.mkdir()
    for number in range(40):
        (texts / f"{number}.txt").write_text(text_of(chance, str(number)))
    acknowledged: State = {}
    usual = 0.5

    def work(say: Say) -> None:
        _commit_often()
        commit = Index.commit

        def reported(index: Index, **options: Any) -> None:
            commit(index, **options)
            say(state_of(index))

        Index.commit = reported  # type: ignore[method-assign]
        run_command("index", texts, "--into", folder, *MODEL, "--threads", 1)

    for number in range(kills):
        if tally.over:
            break
        for name in chance.sample(range(40), 6):  # one of them may go
            (texts / f"{name}.txt").write_text(text_of(chance, str(name)))
        gone = texts / f"{chance.randrange(40)}.txt"
        gone.unlink(missing_ok=True)
        current = {path.name: path.read_text() for path in texts.iterdir()}
        started = time.perf_counter()
        child = Child(work, temporary / "output")
        last = number % 10 == 9
        if last:
            code, how = child.end(None, PATIENCE), 0
            usual = 0.5 * usual + 0.5 * (time.perf_counter() - started)
        else:
            code, how = signalled(child, chance, usual)
            tally.counts[signal.Signals(how).name] += 1
            tally.tried += 1
        acknowledged = child.messages[-1] if child.messages else acknowledged
        tally.counts["commits"] += len(child.messages)
        try:
            found = held(folder) if (folder / "manifest.json").exists() else {}
            check_ending(code, how, child.printed(), found, finished=found == current)
            lost = set(acknowledged) - set(found)
            assert lost <= set(acknowledged) - set(current), f"lost {lost}"
            for name, text in found.items():
                assert text in (acknowledged.get(name), current.get(name)), (name, text)
            assert not last or found == current, f"{found} is not {current}"
            acknowledged = found
        except Exception:
            tally.fail(f"kill {number}, {how}, {code}: {traceback.format_exc()}{child.printed()}")
            break


def _commit_often() -> None:
    """Make `index` commit after every few documents, so that there is something to kill."""
    from functools import partial

    from pocket_colbert.ingest import incremental

    often = partial(incremental.Pace, documents=4, seconds=0.001, tokens=100, first_tokens=100)
    incremental.Pace = often  # type: ignore[misc,assignment]


def check_ending(code: int | None, how: int, printed: str, found: State, *, finished: bool) -> None:
    """Check that a command ended as the signal asks and says truly what it has kept."""
    codes = {signal.SIGKILL: (-9,), signal.SIGINT: (130,), signal.SIGTERM: (143, -15), 0: (0,)}
    assert code in codes[how] or (finished and code == 0), f"ended with {code}: {printed}"
    assert "Traceback" not in printed, printed
    said = re.search(r"Interrupted after (\d+) documents", printed)
    assert said is None or int(said[1]) == len(found), f"{printed} but it has {len(found)}"


def make_many_segments(folder: Path, chance: random.Random) -> None:
    """Make an index with small segments and deleted documents."""
    from tests.tools.attack.writer import DIM, put

    state: State = {}
    with Index(DIM) as index:
        index.save(folder)
    with Index.load(folder, writable=True, threads=1) as index:
        for number in range(7):
            put(index, state, [f"{folder.name}{number}-{n}" for n in range(12)], number, new=True)
            index.commit()
        gone = chance.sample(sorted(state), 20)
        index.delete(gone)
        index.commit()


def kill_merging(tally: Tally, kills: int, seed: int, temporary: Path) -> None:
    """Kill `compact` and `merge`."""
    chance = random.Random(seed)
    for name in ("a", "b"):
        make_many_segments(temporary / name, chance)
    before = {name: held(temporary / name) for name in ("a", "b")}
    both = before["a"] | before["b"]
    first, second, target = (temporary / name for name in ("first", "second", "target"))
    usual = {"compact": 0.1, "merge": 0.1}
    for number in range(kills):
        if tally.over:
            break
        command = ("compact", "merge")[number % 2]
        for path, source in ((first, "a"), (second, "b")):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(temporary / source, path)
        shutil.rmtree(target, ignore_errors=True)
        arguments: list[object] = ["compact", first]
        if command == "merge":
            arguments = ["merge", first, second, "--into", target]
        run = _running(arguments)
        if number < 4:  # how long it takes
            started = time.perf_counter()
            Child(run, temporary / "output").end(None, PATIENCE)
            usual[command] = time.perf_counter() - started
            shutil.rmtree(target, ignore_errors=True)
        child = Child(run, temporary / "output")
        code, how = signalled(child, chance, 1.1 * usual[command])
        tally.tried += 1
        tally.counts[command] += 1
        tally.counts[signal.Signals(how).name] += 1
        try:
            finished = code == 0
            check_ending(code, how, child.printed(), {}, finished=finished)
            assert held(first) == before["a"] and held(second) == before["b"]
            if command == "merge":
                whole = (target / "manifest.json").exists()
                tally.counts["had ended"] += whole
                if not whole:
                    again = Child(run, temporary / "output")
                    assert again.end(None, PATIENCE) == 0, again.printed()
                assert held(target) == both
            else:
                again = Child(run, temporary / "output")
                assert again.end(None, PATIENCE) == 0, again.printed()
                assert held(first) == before["a"]
        except Exception:
            tally.fail(f"kill {number}, {how}, {code}: {traceback.format_exc()}{child.printed()}")
            break


def _running(arguments: list[object]) -> Callable[[Say], None]:
    return lambda say: run_command(*arguments)


def kill_servers(tally: Tally, kills: int, seed: int, temporary: Path) -> None:
    """Kill `serve` while a client adds, replaces and deletes documents."""
    chance = random.Random(seed)
    folder = temporary / "served"
    with Index.create(folder, _config(), threads=1) as index:
        index.commit()
    state: State = {}
    for number in range(kills):
        if tally.over:
            break
        child = Child(
            _running(["serve", folder, "--port", 0, *MODEL, "--threads", 1]), temporary / "output"
        )
        port = port_of(child)
        how = random_signal(chance)
        pending: State | None = state
        if port is None:
            code = child.end(signal.SIGKILL, PATIENCE)
            tally.fail(f"the server did not start ({code}): {child.printed()}")
            break
        signal.signal(signal.SIGALRM, lambda *_, pid=child.pid, how=how: _send(pid, how))
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.6))
        with suppress(OSError, http.client.HTTPException):
            while True:
                pending, request = _change(state, chance)
                ask(port, *request)
                state, pending = pending, None
                tally.counts["acknowledged"] += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        code = child.end(None, PATIENCE)
        tally.tried += 1
        tally.counts[signal.Signals(how).name] += 1
        try:
            found = held(folder)
            assert found in (state, pending), f"found {found}, not {state} or {pending}"
            assert code in {signal.SIGKILL: (-9,)}.get(how, (0,)), code
            assert "Traceback" not in child.printed()
            state = found
        except Exception:
            tally.fail(f"kill {number}, {how}, {code}: {traceback.format_exc()}{child.printed()}")
            break


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _config() -> Any:
    from pocket_colbert import Encoder, IndexConfig

    encoder = Encoder.load(DATA / "tiny-colbert", threads=1)
    return IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)


def port_of(child: Child) -> int | None:
    """Return the port on which a server listens, None if it does not in time."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        match = re.search(r"http://127.0.0.1:(\d+)\n", child.printed() if child.output.exists()
                          else "")  # fmt: skip
        if match:
            return int(match[1])
        time.sleep(0.005)
    return None


def _change(state: State, chance: random.Random) -> tuple[State, tuple[str, str, bytes]]:
    """Return a change of a state, and the request that makes it."""
    after = dict(state)
    if len(state) > 30 or (state and chance.random() < 0.3):
        gone = chance.sample(sorted(state), chance.randint(1, min(4, len(state))))
        for name in gone:
            del after[name]
        query = "&".join(f"id={name}" for name in gone)
        return after, ("DELETE", f"/api/documents?{query}", b"")
    names = {f"d{chance.randrange(60)}" for _ in range(chance.randint(1, 4))}
    documents = [{"id": name, "text": text_of(chance, name)} for name in sorted(names)]
    for item in documents:
        after.pop(item["id"], None)
        after[item["id"]] = item["text"]
    return after, ("PUT", "/api/documents", json.dumps({"documents": documents}).encode())


def ask(port: int, method: str, path: str, content: bytes) -> None:
    """Send a request; OSError unless it is answered with success."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(method, path, content or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        said = answer.read()
        if answer.status == 503:  # it is closing
            raise ConnectionError(said)
        if answer.status >= 300:
            raise PocketColbertError(f"{method} {path}: {answer.status} {said[:200]!r}")
    finally:
        connection.close()
