"""Open many damaged and hostile index folders, and print each kind of failure once.

python -m tests.tools.attack_index 20000
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.support.hostile_index import Fuzzer


def main() -> None:
    """Try many inputs and print what goes wrong, one of a kind."""
    count, started = int(sys.argv[1]), time.perf_counter()
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(Path(folder))
        for number in range(count):
            what, files = fuzzer.input((seed, number))
            problem = fuzzer.problem(files, check=number % 4 == 0)
            if problem is not None:
                lines = problem.splitlines()
                place = [line for line in lines if 'File "' in line][-1]
                kind = f"{place} {lines[-1][:80]}"
                if not kinds[kind]:
                    print(number, what, problem, sep="\n")  # noqa: T201
                kinds[kind] += 1
    seconds = time.perf_counter() - started
    print(f"{count} inputs in {seconds:.0f} s, {sum(kinds.values())} problems")  # noqa: T201
    for kind, number in kinds.most_common():
        print(f"{number:6} {kind}")  # noqa: T201
    sys.exit(bool(kinds))


if __name__ == "__main__":
    main()
