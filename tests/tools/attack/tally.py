"""What an attack did and what went wrong, counted."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

_MOST_SHOWN = 5


@dataclass
class Tally:
    """Counts of one attack.

    Attributes:
        name: What is attacked, and how.
        until: `time.monotonic` at which the attack ends, finished or not.
        tried: How often it was tried.
        counts: How it went, by outcome.
        problems: What was lost, crashed or let out: each is a failure.
    """

    name: str
    until: float = float("inf")
    tried: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def over(self) -> bool:
        """Whether the time is up, or enough has gone wrong."""
        return time.monotonic() > self.until or len(self.problems) >= 20

    def fail(self, what: str) -> None:
        """Note a failure."""
        self.problems.append(what)

    def end(self) -> Tally:
        """Stop the clock."""
        self.seconds = time.monotonic() - self.started
        return self

    def row(self) -> str:
        """Return a row of a Markdown table."""
        outcomes = ", ".join(f"{name}: {number:,}" for name, number in self.counts.most_common())
        return (
            f"| {self.name} | {self.tried:,} | {outcomes} | {len(self.problems)} "
            f"| {self.seconds:.0f} |"
        )


def table(tallies: list[Tally]) -> str:
    """Return the counts as a Markdown table, and what went wrong below it."""
    lines = ["| attack | tried | outcomes | problems | seconds |", "|---|---|---|---|---|"]
    lines += [tally.row() for tally in tallies]
    for tally in tallies:
        for problem in tally.problems[:_MOST_SHOWN]:
            lines += ["", f"{tally.name}:", problem]
    return "\n".join(lines)
