"""Native code that still runs when the interpreter exits.

Threads that nobody waits for (daemons) are ended by force as the interpreter exits. Python unwinds
their stack; where C++ is on it, as below a run of onnxruntime, that aborts the whole process:
"terminate called without an active exception". So the exit waits for the calls that are running,
and lets threads start no more of them.
"""

from __future__ import annotations

import atexit
import os
import threading


class NativeCalls:
    """Counts calls that are running; use it in a `with` block around each."""

    def __init__(self) -> None:
        """Begin with none."""
        self._idle = threading.Condition(threading.Lock())
        self._running = 0
        self._exiting = False

    def __enter__(self) -> None:
        with self._idle:
            if self._exiting and threading.current_thread().daemon:
                raise SystemExit  # ends the thread without a word
            self._running += 1

    def __exit__(self, *error: object) -> None:
        with self._idle:
            self._running -= 1
            if not self._running:
                self._idle.notify_all()

    def close(self) -> None:
        """Let daemons start no more calls, and wait for those that are running."""
        with self._idle:
            self._exiting = True
            self._idle.wait_for(lambda: not self._running)

    def reset(self) -> None:
        """Forget the threads of the parent, in a child that was forked."""
        self._idle = threading.Condition(threading.Lock())
        self._running = 0


native_calls: NativeCalls = NativeCalls()
atexit.register(native_calls.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=native_calls.reset)
