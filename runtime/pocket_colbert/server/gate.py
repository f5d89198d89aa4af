"""Limits how many requests run, how many wait, and what large ones hold; refuses the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.server.problems import Deadline, RequestError, overloaded

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

    @property
    def running(self) -> int:
        """How many run now."""
        return min(self._present, self.limit)

    @property
    def waiting(self) -> int:
        """How many wait now."""
        return max(self._present - self.limit, 0)

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
            await asyncio.wait_for(self._slots.acquire(), deadline.left)
        except BaseException as error:
            self._present -= 1
            if isinstance(error, asyncio.TimeoutError):
                raise deadline.expired() from None
            raise
        try:
            future = asyncio.wrap_future(self._executor.submit(_lightly, function, deadline))
        except BaseException:
            self._leave()
            raise
        # The slot is taken for as long as the thread runs, also if the request is cancelled.
        future.add_done_callback(lambda _: self._leave())
        # Shielded: a thread cannot be cancelled, and a commit must not be.
        return await asyncio.shield(future)

    def _leave(self) -> None:
        self._slots.release()
        self._present -= 1

    def close(self) -> None:
        """Wait for the functions that are running."""
        self._executor.shutdown(wait=True)


def _lightly(function: Callable[[Deadline], _Result], deadline: Deadline) -> _Result:
    """Call a function; an expected error lets go of what its frames hold.

    Futures, their error and its frames refer to each other, so that all the arrays of the request
    would stay until the garbage collector comes.
    """
    try:
        return function(deadline)
    except (RequestError, InvalidInputError) as error:
        error.__cause__ = error.__context__ = None
        raise error.with_traceback(None)  # noqa: B904


class Room:
    """Bytes of large bodies that a server holds at the same time; others wait, first come first.

    Attributes:
        size: How many bytes there are.
        queue: How many requests may wait.
    """

    def __init__(self, size: int, queue: int) -> None:
        self.size = size
        self.queue = queue
        self._left = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, amount: int, deadline: Deadline) -> AsyncIterator[None]:
        """Take bytes, at most `size`, until the end of the block.

        Raises:
            RequestError: Too many requests wait, or the time is up before there is room.
        """
        amount = min(amount, self.size)
        await self._take(amount, deadline)
        try:
            yield
        finally:
            self._left += amount
            self._admit()

    async def _take(self, amount: int, deadline: Deadline) -> None:
        if amount <= self._left and not self._waiting:
            self._left -= amount
            return
        if len(self._waiting) >= self.queue:
            await asyncio.sleep(_REFUSAL_PAUSE)
            raise overloaded(
                f"{self.queue} requests with large bodies are waiting; try again later."
            )
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await asyncio.wait_for(asyncio.shield(turn), deadline.left)
        except BaseException as error:
            if turn.done():  # admitted at the last moment
                self._left += amount
            else:
                self._waiting.remove((amount, turn))
            self._admit()
            if isinstance(error, asyncio.TimeoutError):
                raise deadline.expired() from None
            raise

    def _admit(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            amount, turn = self._waiting.popleft()
            self._left -= amount
            turn.set_result(None)
