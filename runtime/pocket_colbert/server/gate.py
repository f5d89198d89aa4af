"""Limits how many requests run and how many wait; refuses the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pocket_colbert.server.problems import Deadline, overloaded

_Result = TypeVar("_Result")
_REFUSAL_PAUSE = 0.5  # seconds


class Gate:
    """Runs functions in its own threads, off the event loop, first come, first served.

    Attributes:
        limit: How many run at the same time.
        queue: How many may wait.
    """

    def __init__(self, name: str, limit: int, queue: int) -> None:
        self.limit = limit
        self.queue = queue
        self._present = 0
        self._slots = asyncio.Semaphore(limit)
        self._executor = ThreadPoolExecutor(limit, f"pocket-colbert-{name}")

    async def run(self, function: Callable[[Deadline], _Result], deadline: Deadline) -> _Result:
        """Run a function in a thread and return what it returns.

        Raises:
            RequestError: The queue is full, or the time is up before the function starts.
        """
        if self._present >= self.limit + self.queue:
            # A client that retries at once, despite Retry-After, would take the processor from
            # requests that were let in.
            await asyncio.sleep(_REFUSAL_PAUSE)
            raise overloaded(
                f"{self.limit} requests are running and {self.queue} waiting; try again later."
            )
        self._present += 1
        try:
            try:
                await asyncio.wait_for(self._slots.acquire(), deadline.left)
            except asyncio.TimeoutError:
                raise deadline.expired() from None
            try:
                # Shielded: a thread cannot be cancelled, and a commit must not be.
                future = self._executor.submit(function, deadline)
                return await asyncio.shield(asyncio.wrap_future(future))
            finally:
                self._slots.release()
        finally:
            self._present -= 1

    def close(self) -> None:
        """Wait for the functions that are running."""
        self._executor.shutdown(wait=True)
