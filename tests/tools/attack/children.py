"""Processes that are forked from this one, which has loaded everything, and killed."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)

Say = Callable[[Any], None]
"""Sends a message from the child."""


class Child:
    """A forked process that says something through a pipe.

    Attributes:
        pid: Its number.
        messages: What it has said so far.
        output: The file with its standard output and standard error.
    """

    def __init__(
        self, work: Callable[[Say], None], output: Path, *, address_space: int | None = None
    ) -> None:
        """Start it.

        Args:
            work: What it does; given a function that sends a message.
            output: The file for what it prints.
            address_space: Bytes it may map beyond those it has, unlimited by default.
        """
        self.messages: list[Any] = []
        self.output = output
        self._left = b""
        reading, writing = os.pipe()
        sys.stdout.flush()
        output.write_bytes(b"")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.pid = os.fork()
        if not self.pid:
            os.close(reading)
            _run(work, output, writing, address_space)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.close(writing)
        self._pipe = reading
        os.set_blocking(reading, False)

    def said(self) -> list[Any]:
        """Return all that was said so far."""
        with suppress(BlockingIOError):
            while data := os.read(self._pipe, 1 << 20):
                *lines, self._left = (self._left + data).split(b"\n")
                self.messages += map(json.loads, lines)
        return self.messages

    def wait_for(self, number: int, seconds: float) -> bool:
        """Wait until it has said so many messages or has ended; say whether it has said them."""
        end = time.monotonic() + seconds
        while len(self.said()) < number and time.monotonic() < end and self._is_alive():
            time.sleep(0.001)
        return len(self.said()) >= number

    def _is_alive(self) -> bool:
        done = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return done is None

    def end(self, number: int | None, seconds: float) -> int | None:
        """Send a signal, if any, and wait for the end; None if it does not come in time.

        Returns:
            The exit code, below 0 for a signal.
        """
        if number is not None:
            os.kill(self.pid, number)
        limit = time.monotonic() + seconds
        hung = False
        while self._is_alive():
            if time.monotonic() > limit:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
                limit = float("inf")
            self.said()  # a full pipe would hold it up
            time.sleep(0.001)
        _, status = os.waitpid(self.pid, 0)
        self.said()
        os.close(self._pipe)
        return None if hung else os.waitstatus_to_exitcode(status)

    def printed(self) -> str:
        """Return what it has printed."""
        return self.output.read_text(errors="replace")


def _run(
    work: Callable[[Say], None], output: Path, writing: int, address_space: int | None
) -> None:
    """Do the work of a child, and end it."""

    def say(message: Any) -> None:
        content = json.dumps(message).encode() + b"\n"
        # A signal would cut what is longer than the pipe holds.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            while content:
                content = content[os.write(writing, content) :]
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    code = 1
    try:
        gc.freeze()
        for number in (signal.SIGTERM, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # until the work handles it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.setitimer(signal.ITIMER_REAL, 0)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if address_space is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + address_space,) * 2)
        work(say)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def preload() -> None:
    """Import what the commands import, so that a forked process starts in milliseconds."""
    import pocket_colbert.cli.commands
    import pocket_colbert.index.multi_index
    import pocket_colbert.ingest.indexing
    import pocket_colbert.retriever
    import pocket_colbert.server.app
    import pocket_colbert.server.background_indexing
    import pocket_colbert.server.run
    import pocket_colbert.server.writing  # noqa: F401


def run_command(*arguments: object) -> None:
    """Run `pocket-colbert` in this process as its script does."""
    from pocket_colbert.cli.entry import main

    sys.argv = ["pocket-colbert", *map(str, arguments)]
    main()


def random_signal(chance: random.Random) -> int:
    """Return SIGKILL half of the time, or one that asks."""
    return chance.choice((signal.SIGKILL, *SIGNALS))
