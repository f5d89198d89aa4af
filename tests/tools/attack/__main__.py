"""Repeat a day of attack on indexes, models, commands and the server in a few minutes.

    python -m tests.tools.attack --minutes 6
    python -m tests.tools.attack --only writer --tries 1000

It kills writers, commands and servers at random moments and looks for what they had acknowledged;
opens damaged and hostile indexes and models with right checksums; lets every command that writes
loose on folders full of links and FIFOs and compares everything outside; sends the worst bodies to
every endpoint and measures memory; and opens, searches, changes and closes one index in many
threads. It prints what was tried as a table, and ends with 1 if anything was lost, crashed, hung or
got out. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from tests.tools.attack.bodies import send_worst_bodies
from tests.tools.attack.children import preload
from tests.tools.attack.commands import kill_indexing, kill_merging, kill_servers
from tests.tools.attack.folders import use_hostile_folders
from tests.tools.attack.index_mutants import open_index_mutants
from tests.tools.attack.model_mutants import load_model_mutants
from tests.tools.attack.tally import Tally, table
from tests.tools.attack.threads import share_an_index
from tests.tools.attack.writer import kill_writers

Attack = Callable[[Tally, int, int, Path], None]

ATTACKS: dict[str, tuple[str, Attack, int, float]] = {
    "writer": ("kill a Python writer", kill_writers, 260, 0.1),
    "index": ("kill `index`", kill_indexing, 100, 0.15),
    "merge": ("kill `compact` and `merge`", kill_merging, 90, 0.1),
    "serve": ("kill `serve`", kill_servers, 90, 0.15),
    "indexes": ("open mutated indexes", open_index_mutants, 1500, 0.15),
    "models": ("load mutated models", load_model_mutants, 600, 0.1),
    "folders": ("write to hostile folders", use_hostile_folders, 300, 0.15),
    "bodies": ("worst bodies to every endpoint", send_worst_bodies, 1, 0.15),
    "threads": ("8 threads open, search, add, close", share_an_index, 60, 0.05),
}
"""For each attack its title, how often it is tried, and its share of the time at most."""


def main() -> None:
    """Attack, print the table, and end with 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8, help="time at most (default: 8)")
    parser.add_argument("--seed", type=int, default=1, help="another seed tries other things")
    parser.add_argument("--only", choices=ATTACKS, action="append", help="one kind; repeatable")
    parser.add_argument("--tries", type=int, help="how often each kind is tried")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    preload()
    memory = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # where fsync costs nothing
    tallies = []
    chosen = arguments.only or list(ATTACKS)
    shares = sum(ATTACKS[name][3] for name in chosen)
    for name in chosen:
        title, attack, tries, share = ATTACKS[name]
        tally = Tally(title, time.monotonic() + 60 * arguments.minutes * share / shares)
        with tempfile.TemporaryDirectory(prefix="attack-", dir=memory) as temporary:
            attack(tally, arguments.tries or tries, arguments.seed, Path(temporary).resolve())
        tallies.append(tally.end())
        print(tally.row(), file=sys.stderr, flush=True)  # noqa: T201
    print(table(tallies))  # noqa: T201
    sys.exit(any(tally.problems for tally in tallies))


if __name__ == "__main__":
    main()
