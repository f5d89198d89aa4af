"""Progress of long work on a terminal: how much, how fast and how long still."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pocket_colbert.cli.terminal import columns

Update = Callable[..., None]
"""Called with the number of items done and, if it has changed, the total."""

_NARROW = 60


@contextmanager
def progress_bar(label: str, total: int | None, quiet: bool) -> Iterator[Update]:
    """Show a progress bar on a terminal; nothing in a pipe or with --json.

    Args:
        label: What is being done, in a word.
        total: Number of items, which need not be exact; None where it is not known.
        quiet: Whether to show nothing.
    """
    if quiet or not sys.stderr.isatty():
        yield _show_nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """How many items, of how many, how fast, and the time left."""

        def render(self, task: Task) -> Text:
            return Text(
                progress_text(
                    int(task.completed),
                    None if task.total is None else int(task.total),
                    task.finished_speed or task.speed,
                    task.time_remaining,
                ),
                no_wrap=True, overflow="ellipsis",
            )  # fmt: skip

    wide = columns() >= _NARROW
    parts = [TextColumn("{task.description}"), *([BarColumn(20)] if wide else []), Rate()]
    bar = Progress(*parts, console=Console(stderr=True), transient=True)
    task = bar.add_task(label, total=total)
    expected = total

    def update(done: int, total: int | None = None) -> None:
        nonlocal expected
        expected = total if total is not None else expected
        # A file may hold more documents than it was counted for.
        most = None if expected is None else max(expected, done)
        bar.update(task, completed=done, total=most)
        bar.start()  # once there is something to show

    try:
        yield update
    finally:
        bar.stop()


def is_shown(update: Update) -> bool:
    """Return whether anything is shown, so that a total is worth counting."""
    return update is not _show_nothing


def _show_nothing(done: int, total: int | None = None) -> None:
    pass


def progress_text(done: int, total: int | None, rate: float | None, seconds: float | None) -> str:
    """Return for example "120 of 500, 34/s, 0:11 left"."""
    parts = [str(done) if total is None else f"{done} of {total}"]
    if rate:
        parts.append(f"{rate:.0f}/s" if rate >= 10 else f"{rate:.1f}/s")
    if total is not None and seconds is not None and done < total:
        minutes, left = divmod(int(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        clock = f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
        parts.append(f"{clock} left")
    return ", ".join(parts)
