"""What a run of `index` left out, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal, get_args

Reason = Literal[
    "unreadable", "needs extra", "binary", "archive", "ignored", "hidden", "generated", "empty",
    "excluded",
]  # fmt: skip
"""Why a file or folder was left out. `unreadable` ones are failures, the others are not."""

REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was left out.

    Attributes:
        path: Its path; bytes that are no UTF-8 are escaped.
        reason: Why, in a word.
        detail: Why, in a sentence without its end.
        advice: What to do about it, "" for nothing.
    """

    path: str
    reason: Reason
    detail: str = ""
    advice: str = ""

    def __str__(self) -> str:
        """Return one line."""
        text = f"{self.path}: {self.detail or self.reason}"
        return f"{text}; {self.advice}" if self.advice else text


def printable_path(path: str | PurePath) -> str:
    """Return a path that can be printed and stored, whatever bytes its name has."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")


def summary(left_out: Sequence[LeftOut]) -> str:
    """Return one line that counts what was left out, for example "3 left out: 3 binary"."""
    counts = Counter(item.reason for item in left_out)
    parts = []
    for reason in REASONS:
        if not counts[reason]:
            continue
        if reason == "needs extra":
            suffixes = sorted(_suffixes(item.path for item in left_out if item.reason == reason))
            parts.append(f"{counts[reason]} need pocket-colbert[files] ({', '.join(suffixes)})")
        elif reason == "unreadable":
            parts.append(f"{counts[reason]} cannot be read")
        else:
            parts.append(f"{counts[reason]} {reason}")
    total = len(left_out)
    return f"{total} file{'s' * (total != 1)} left out: {', '.join(parts)}"


def _suffixes(paths: Iterable[str]) -> set[str]:
    return {PurePath(path).suffix.lower() or PurePath(path).name for path in paths}
