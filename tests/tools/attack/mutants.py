"""Try many inputs in forked processes of limited memory, which may crash or hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from tests.tools.attack.children import Child, Say
from tests.tools.attack.tally import Tally

MEMORY = 1 << 30
"""Bytes of address space that a process may use beyond what it has."""

BATCH = 100
SECONDS = 90.0
"""Longest that one input may take."""

Try = Callable[[int], tuple[str, str | None]]
"""Tries the input of a number: how it went in a word or two, and what is wrong with that."""


def try_all(tally: Tally, number: int, attempt: Try, temporary: Path) -> None:
    """Try inputs; one that ends the process or does not end is a problem."""
    start = 0
    while start < number and not tally.over:
        end = min(start + BATCH, number)
        child = Child(
            lambda say, first=start, last=end: _work(say, attempt, first, last),
            temporary / "output", address_space=MEMORY,
        )  # fmt: skip
        done, since = 0, time.monotonic()
        while done < end - start and not tally.over:
            if not child.wait_for(done + 1, SECONDS):
                break
            done = len(child.said())
            since = time.monotonic()
        done = min(len(child.said()), end - start)
        for outcome, problem in child.messages[: end - start]:
            tally.tried += 1
            tally.counts[outcome] += 1
            if problem is not None:
                tally.fail(problem)
        whole = done == end - start
        late = time.monotonic() - since >= SECONDS
        code = child.end(None if whole else 9, SECONDS) if late or whole else child.end(None, 1)
        for peak in child.messages[end - start :]:
            tally.counts["peak MB"] = max(tally.counts["peak MB"], peak)
        start += done
        if not whole and not tally.over:
            what = f"took longer than {SECONDS:.0f} s" if late else f"ended the process ({code})"
            tally.fail(f"input {start} {what}: {child.printed()[-2000:]}")
            tally.tried += 1
            start += 1


def _work(say: Say, attempt: Try, first: int, last: int) -> None:
    Path("/proc/self/clear_refs").write_text("5")  # the peak of this process, not its parent's
    before = _megabytes()
    for number in range(first, last):
        say(attempt(number))
    say(_megabytes() - before)


def _megabytes() -> int:
    """Return the peak of the resident set."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024
