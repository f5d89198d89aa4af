"""Who is to release what an index holds: one caller, once, when nobody uses it any more."""

from __future__ import annotations

import os
import threading

import pytest

from pocket_colbert import ClosedError
from pocket_colbert.index.usage import SEARCH_THREADS, Usage, in_use, is_search_thread


def test_closing_releases_once() -> None:
    usage = Usage()
    assert not usage.closed
    usage.begin()
    assert not usage.end()  # it is not closed
    assert usage.close() and usage.closed
    assert not usage.close() and not usage.close()
    for call in (usage.begin, usage.check):
        with pytest.raises(ClosedError, match="the index is closed"):
            call()


def test_closing_within_a_call_releases_at_its_end() -> None:
    usage = Usage()
    usage.begin()
    usage.begin()
    assert not usage.close()
    usage.check()  # its own call began before
    usage.begin()
    assert not usage.end() and not usage.end()
    assert usage.end()
    assert not usage.close()


def test_a_call_of_another_thread_is_waited_for() -> None:
    usage, begun, go = Usage(), threading.Event(), threading.Event()
    ended: list[bool] = []

    def call() -> None:
        usage.begin()
        begun.set()
        assert go.wait(20)
        ended.append(usage.end())

    thread = threading.Thread(target=call)
    thread.start()
    assert begun.wait(20)
    closed: list[bool] = []
    closing = threading.Thread(target=lambda: closed.append(usage.close()))
    closing.start()
    while not usage.closed:
        pass
    with pytest.raises(ClosedError):
        usage.begin()
    closing.join(0.05)
    assert closing.is_alive() and not ended
    go.set()
    thread.join(20)
    closing.join(20)
    # Either of the two releases, never both.
    assert sorted([*ended, *closed]) == [False, True]


def test_a_thread_that_searches_does_not_wait_for_its_own_search() -> None:
    usage = Usage()
    usage.begin()
    closed: list[bool] = []
    name = f"{SEARCH_THREADS}_3"
    thread = threading.Thread(target=lambda: closed.append(usage.close()), name=name)
    thread.start()
    thread.join(20)
    assert closed == [False] and usage.end()
    assert not is_search_thread()


@pytest.mark.parametrize("parent", [-1, 1])
def test_calls_of_a_forked_parent_are_not_waited_for(
    parent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for close_first in (True, False):
        usage = Usage()
        usage.begin()
        usage.begin()
        process = os.getpid() + parent  # in a child, whose number may be larger or smaller
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        if close_first:
            assert usage.close()
        else:
            usage.begin()
            assert not usage.end()
            assert usage.close()
        monkeypatch.undo()


class Owner:
    """What is released is counted."""

    def __init__(self) -> None:
        self._usage = Usage()
        self.released = 0

    def _release(self) -> None:
        self.released += 1

    def close(self) -> None:
        if self._usage.close():
            self._release()

    @in_use
    def double(self, value: int, *, fail: bool = False, close: bool = False) -> int:
        """Return twice the value."""
        if close:
            self.close()
            assert not self.released
        if fail:
            raise ValueError("failed")
        return 2 * value


def test_methods_in_use() -> None:
    owner = Owner()
    assert owner.double(4) == 8 and Owner.double.__doc__ == "Return twice the value."
    with pytest.raises(ValueError, match="failed"):
        owner.double(4, fail=True)
    assert not owner.released
    with pytest.raises(ValueError, match="failed"):
        owner.double(4, fail=True, close=True)
    assert owner.released == 1
    with pytest.raises(ClosedError):
        owner.double(4)
    owner.close()
    assert owner.released == 1
