"""A process ends in order while daemon threads encode: native code is not cut off in its middle."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from pocket_colbert.native_calls import NativeCalls

ENCODES = """
import sys, threading, time
from pocket_colbert import Encoder
encoder = Encoder.load("tiny", threads=1)
began = threading.Event()
def encode():
    while True:
        encoder.encode_query(["what do bees do in May?"])
        began.set()
threading.Thread(target=encode, daemon=True).start()
began.wait()
time.sleep({delay})
"""


@pytest.mark.parametrize("delay", [0.0, 0.011, 0.023])
def test_a_daemon_that_encodes_does_not_abort_the_process(delay: float) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENCODES.format(delay=delay)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_closing_waits_for_calls_and_refuses_those_of_daemons() -> None:
    calls, inside, leave = NativeCalls(), threading.Event(), threading.Event()
    order: list[str] = []

    def call() -> None:
        with calls:
            inside.set()
            leave.wait(10)
            order.append("call")
        with suppress(SystemExit), calls:
            order.append("another call")

    daemon = threading.Thread(target=call, daemon=True)
    daemon.start()
    inside.wait(10)
    closing = threading.Thread(target=lambda: (calls.close(), order.append("closed")))
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    leave.set()
    closing.join(10)
    daemon.join(10)
    assert order == ["call", "closed"]
    with calls:  # threads that the interpreter waits for may still call
        pass
    calls.reset()
    calls.close()
