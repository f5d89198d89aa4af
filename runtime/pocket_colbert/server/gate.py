"""A bounded number of requests compute, a bounded number wait, the rest is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pocket_colbert.server.problems import Deadline, overloaded

_Result = TypeVar("_Result")
_REFUSAL_PAUSE = 0.5  # seconds


class Gate:
    """Runs functions in threads of its own, off the event loop, first come first served.

    Attributes:
        limit: How many run at a time.
        queue: How many may wait beside them.
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
            RequestError: There is no room to wait in, or the time is over before it begins.
        """
        if self._present >= self.limit + self.queue:
            # Who asks again at once, whatever Retry-After says, would take the processor from
            # those who are let in.
            await asyncio.sleep(_REFUSAL_PAUSE)
            raise overloaded(
                f"{self.limit} requests run and {self.queue} wait already; try again later."
            )
        self._present += 1
        try:
            try:
                await asyncio.wait_for(self._slots.acquire(), deadline.left)
            except asyncio.TimeoutError:
                raise deadline.passed() from None
            try:
                # Shielded: a thread cannot be cancelled, and a commit must not be.
                future = self._executor.submit(function, deadline)
                return await asyncio.shield(asyncio.wrap_future(future))
            finally:
                self._slots.release()
        finally:
            self._present -= 1

    def close(self) -> None:
        """Wait for what runs."""
        self._executor.shutdown(wait=True)
