"""The one timing loop: calls after some to warm up, systems in turns. Standard library only."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def seconds_of(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def each_ms(
    call: Callable[[T], R],
    items: Iterable[T],
    *,
    warm_up: int = 1,
    least: int = 1,
    seconds: float | None = None,
) -> tuple[list[float], list[R]]:
    """Call with one item after the other; return the milliseconds and the results of each.

    Args:
        call: What is timed.
        items: What it is called with.
        warm_up: How many of the items it is called with beforehand, untimed.
        least: How many calls are timed whatever they take.
        seconds: Stop when calls have taken so long in all; None for never.
    """
    items = list(items)
    for item in items[:warm_up]:
        call(item)
    times: list[float] = []
    results: list[R] = []
    for item in items:
        if seconds is not None and len(times) >= least and sum(times) > 1000 * seconds:
            break
        started = time.perf_counter()
        results.append(call(item))
        times.append(1000 * (time.perf_counter() - started))
    return times, results


def median_ms(call: Callable[[], object], rounds: int) -> float:
    """Return the median milliseconds of `rounds` calls after one to warm up."""
    call()
    return 1000 * statistics.median(seconds_of(call) for _ in range(rounds))


def in_turns(
    calls: Mapping[str, Callable[[], R]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[R]]:
    """Call systems in turns, so that a machine that slows down slows all of them.

    Args:
        calls: One call a system.
        rounds: How many turns each has.
        warm_up: Turns before those, whose results are dropped.

    Returns:
        What each system's calls returned, turn by turn.
    """
    results: dict[str, list[R]] = {name: [] for name in calls}
    for turn in range(warm_up + rounds):
        for name, call in calls.items():
            result = call()
            if turn >= warm_up:
                results[name].append(result)
    return results
