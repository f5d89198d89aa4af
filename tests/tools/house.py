"""Print what the house looks like, so that whoever changes it sees what the change did.

    python -m tests.tools.house
    python -m tests.tools.house --root ../before --root .

With several roots, each is a column: a checkout before and after a change. Sizes are examples and
no law.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def measure(root: Path) -> dict[str, Any]:
    """Measure the checkout that this process imports its packages from."""
    import pocket_colbert
    from tests.tools.tree_facts import facts_of
    from tests.tools.walks import walks_of

    assert Path(pocket_colbert.__file__).is_relative_to(root), pocket_colbert.__file__
    facts, walks = facts_of(root), walks_of(root)
    lists = facts.pop("lists") | walks.pop("lists")
    return {**facts, **walks, "lists": lists}


def measured(root: Path) -> dict[str, Any]:
    """Measure a checkout in a process of its own."""
    path = os.pathsep.join(map(str, (root / "runtime", root / "export", ROOT)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.house", "--measure", root],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", action="append", type=Path, help="a checkout; may be repeated")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))  # noqa: T201
        return
    roots = [root.resolve() for root in options.root or [ROOT]]
    columns = [measured(root) for root in roots]
    lines = []
    for name, entries in columns[-1].pop("lists").items():
        lines += [name, *entries, ""]
    names = dict.fromkeys(name for column in columns for name in column if name != "lists")
    width = max(map(len, names))
    lines.append(" | ".join([f"{'':{width}}", *(f"{root.name:>12}" for root in roots)]))
    for name in names:
        values = [f"{column.get(name, '-')!s:>12}" for column in columns]
        lines.append(" | ".join([f"{name:{width}}", *values]))
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
