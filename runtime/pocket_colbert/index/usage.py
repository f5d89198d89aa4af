"""Who uses an index at the moment, so that it is not closed under them."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pocket_colbert.errors import ClosedError

SEARCH_THREADS = "pocket-colbert-search"
"""How the names of threads begin that an index searches with."""


class Usage:
    """Counts calls under way. Closing waits for those of other threads, and no others begin.

    Closing from within a call, as a finalizer may, cannot wait for that call: what is to be
    released then is released at its end. It knows nothing of its owner, which would otherwise
    outlive its last reference.
    """

    def __init__(self) -> None:
        self.closed: bool = False
        self._begin()

    def _begin(self) -> None:
        # Re-entrant: a finalizer may come between any two lines of a thread that holds it.
        self._changed = threading.Condition(threading.RLock())
        self._calls: Counter[int] = Counter()
        self._released = False
        self._process = os.getpid()

    def check(self) -> None:
        """Raise ClosedError if it is closed, unless this thread's call began before that."""
        if self.closed and threading.get_ident() not in self._calls:
            raise ClosedError("the index is closed; open it again to use it.")

    def begin(self) -> None:
        """Count a call of this thread; raise ClosedError if it comes too late."""
        if self._process != os.getpid():  # calls of a forked parent end elsewhere
            self._begin()
        with self._changed:
            self.check()
            self._calls[threading.get_ident()] += 1

    def end(self) -> bool:
        """End a call of this thread, and say whether its caller is to release everything."""
        with self._changed:
            thread = threading.get_ident()
            self._calls[thread] -= 1
            if not self._calls[thread]:
                del self._calls[thread]
            if self._calls:
                return False
            self._changed.notify_all()
            return self.closed and self._first_to_release()

    def close(self) -> bool:
        """Refuse new calls, wait for those of other threads; again does nothing.

        Returns:
            Whether the caller is to release everything.
        """
        if self._process != os.getpid():
            self._begin()
        with self._changed:
            self.closed = True
            # A thread of some index's own may be what a call waits for.
            within = threading.get_ident() in self._calls or is_search_thread()
            while self._calls and not within:
                self._changed.wait()
            return not self._calls and self._first_to_release()

    def _first_to_release(self) -> bool:
        first, self._released = not self._released, True
        return first


def is_search_thread() -> bool:
    """Say whether this thread is one that an index searches with."""
    return threading.current_thread().name.startswith(SEARCH_THREADS)


class _Used(Protocol):
    _usage: Usage

    def _release(self) -> None: ...


_Self = TypeVar("_Self", bound=_Used)
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def in_use(
    method: Callable[Concatenate[_Self, _Given], _Result],
) -> Callable[Concatenate[_Self, _Given], _Result]:
    """Count a method's calls: closing waits for them, and later ones raise ClosedError."""

    @wraps(method)
    def call(self: Any, /, *arguments: _Given.args, **named: _Given.kwargs) -> _Result:
        self._usage.begin()
        try:
            return method(self, *arguments, **named)
        finally:
            if self._usage.end():
                self._release()

    return call
