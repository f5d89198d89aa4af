"""What `pocket-colbert` runs first: Ctrl-C is one line and exit code 130, at any moment."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import time
import weakref
from importlib import import_module
from typing import Any

_LINE = b"Interrupted.\n"
_CODE = 130
_RETRY = 0.02
_LONGEST = 5.0
"""Seconds after which an import is interrupted all the same."""

# The last thing at exit, being the first that is registered: Python then takes its handlers away,
# and a signal would end the process by force although all is done.
atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Run `pocket-colbert`."""
    run("pocket_colbert.cli.commands")


def run(module: str) -> None:
    """Run the command that is the `main` of a module.

    Args:
        module: Its name. It is imported here, once Ctrl-C is handled.
    """
    # A script that a shell started in the background, or with `nohup`, is not to be interrupted.
    watched = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if watched:
        signal.signal(signal.SIGINT, _leave)
    command = import_module(module).main
    interrupt = _Interrupt()
    try:
        if watched:
            signal.signal(signal.SIGINT, interrupt)
        command()
    finally:
        # The command has ended, and what it wrote is written; only the interpreter's exit is left.
        if watched:
            signal.signal(signal.SIGINT, _leave)
        interrupt.forget()


def _leave(number: int, frame: object) -> None:
    """End at once, where nothing has begun or all is done."""
    os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, _LINE)
    os._exit(_CODE)


class _Interrupt:
    """Raises KeyboardInterrupt, but not within an import or a finalizer.

    There it may come out as another error, or be printed and forgotten, and leaves half a module
    behind. The handler calls itself again a little later instead.
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def __call__(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self._since is None:
            self._since = now
        if _is_lost_in(frame) and now - self._since < _LONGEST:
            signal.signal(signal.SIGALRM, self)
            signal.setitimer(signal.ITIMER_REAL, _RETRY)
            return
        self._since = None
        raise KeyboardInterrupt

    def forget(self) -> None:
        """Drop an interrupt that still waits for the end of an import."""
        if self._since is not None:
            self._since = None
            signal.setitimer(signal.ITIMER_REAL, 0)


def _is_lost_in(frame: Any) -> bool:
    """Say whether a frame is in an import or a finalizer, where the system can try again later."""
    if not hasattr(signal, "setitimer"):
        return False
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename.startswith("<frozen importlib"):
            return True
        if code.co_filename == weakref.__file__:
            return True
        frame = frame.f_back
    return False
