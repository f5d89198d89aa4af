"""Answers to requests that come again while the index stays as it is, or at the same time."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from concurrent.futures import Future
from typing import NamedTuple


class Answer(NamedTuple):
    """What a request is answered with.

    Attributes:
        content: JSON.
        truncated: Whether the query was cut.
    """

    content: bytes
    truncated: bool


class Computation:
    """An answer that its owner computes, and others wait for; `finish` or `fail` ends it.

    Attributes:
        version: What it is computed from, or something newer.
        future: The answer, None if it failed.
    """

    def __init__(self, cache: AnswerCache, key: bytes, version: object) -> None:
        self.version = version
        self.future: Future[Answer | None] = Future()
        self._cache = cache
        self._key = key

    def finish(self, answer: Answer) -> None:
        """Give the answer to all who wait, and keep it."""
        self._cache._end(self._key, self, answer)
        self.future.set_result(answer)

    def fail(self) -> None:
        """Let all who wait compute it themselves: what failed may concern one of them only."""
        self._cache._end(self._key, self, None)
        self.future.set_result(None)


class AnswerCache:
    """The last answers from one version of what is served, and those being computed.

    Any thread may use it.
    """

    def __init__(self, *, answers: int = 512, size: int = 8_000_000) -> None:
        """Begin without answers.

        Args:
            answers: How many to keep at most.
            size: Bytes that they have together at most; an answer of more than an eighth of that
                is not kept.
        """
        self._most = answers
        self._size = size
        self._lock = threading.Lock()
        # Weak, so that segments that were merged away can be closed.
        self._version: weakref.ref[object] | None = None
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self._bytes = 0
        self._running: dict[bytes, Computation] = {}

    def begin(self, version: object, key: bytes) -> Answer | Future[Answer | None] | Computation:
        """Look for an answer.

        Args:
            version: What is served now; the same object as long as it does not change.
            key: All that the answer depends on besides.

        Returns:
            The answer, one that another thread is computing, or the caller's own task to do so.
        """
        with self._lock:
            if self._version is None or self._version() is not version:
                self._answers.clear()
                self._bytes, self._version = 0, weakref.ref(version)
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
            running = self._running.get(key)
            if running is not None and running.version is version:
                return running.future
            self._running[key] = computation = Computation(self, key, version)
            return computation

    def _end(self, key: bytes, computation: Computation, answer: Answer | None) -> None:
        with self._lock:
            if self._running.get(key) is computation:
                del self._running[key]
            known = self._version is not None and self._version() is computation.version
            if answer is None or not known or len(answer.content) > self._size // 8:
                return
            self._answers[key] = answer
            self._bytes += len(answer.content)
            while self._bytes > self._size or len(self._answers) > self._most:
                _, oldest = self._answers.popitem(last=False)
                self._bytes -= len(oldest.content)
