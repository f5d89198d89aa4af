"""What a server lets in: how many requests run, and how much large bodies hold."""

from __future__ import annotations

import asyncio
import threading

import pytest

from pocket_colbert.server.gate import Gate, Room
from pocket_colbert.server.problems import Deadline, RequestError


def test_a_request_that_is_given_up_keeps_its_slot_while_its_thread_runs() -> None:
    go, running, most = threading.Event(), [0], [0]

    def work(deadline: Deadline) -> None:
        running[0] += 1
        most[0] = max(most[0], running[0])
        go.wait(20)
        running[0] -= 1

    async def main() -> None:
        gate = Gate("test", 1, 1)
        first = asyncio.ensure_future(gate.run(work, Deadline(20)))
        while not running[0]:
            await asyncio.sleep(0.001)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        # The thread still runs: the next one waits, and the one after it is refused.
        second = asyncio.ensure_future(gate.run(work, Deadline(20)))
        await asyncio.sleep(0.05)
        with pytest.raises(RequestError, match="1 requests are running and 1 waiting"):
            await gate.run(work, Deadline(20))
        late = gate.run(work, Deadline(0.01))
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        with pytest.raises(RequestError, match="took more than"):
            await late
        go.set()
        await gate.run(work, Deadline(20))
        gate.close()

    asyncio.run(main())
    assert most == [1]


def test_large_bodies_wait_for_each_other_first_come_first() -> None:
    order: list[str] = []

    async def hold(room: Room, name: str, amount: int, go: asyncio.Event | None = None) -> None:
        async with room.taken(amount, Deadline(20)):
            order.append(name)
            if go is not None:
                await go.wait()

    async def main() -> None:
        room, go = Room(10, 2), asyncio.Event()
        tasks = [asyncio.ensure_future(hold(room, "a", 6, go))]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(hold(room, "b", 99)))  # all there is
        tasks.append(asyncio.ensure_future(hold(room, "c", 1)))  # not before b
        await asyncio.sleep(0.01)
        assert order == ["a"]
        with pytest.raises(RequestError, match="2 requests with large bodies are waiting"):
            await hold(room, "d", 1)
        go.set()
        await asyncio.gather(*tasks)
        assert order == ["a", "b", "c"]
        async with room.taken(10, Deadline(20)):
            with pytest.raises(RequestError, match="took more than"):
                await hold_until(room, 0.01)
        await hold(room, "f", 10)

    async def hold_until(room: Room, seconds: float) -> None:
        async with room.taken(1, Deadline(seconds)):
            order.append("e")

    asyncio.run(main())
    assert order == ["a", "b", "c", "f"]
