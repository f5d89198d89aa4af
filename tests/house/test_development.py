"""What contributors use: the locked versions and the commands of the Makefile."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib: Any = None

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the checkout")


def normal(name: str) -> str:
    """Return the name of a distribution as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(tomllib is None, reason="tomllib came with Python 3.11")
def test_every_requirement_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras["export"]]
    names = {normal(re.split(r"[\[<>=!;~ ]", requirement)[0]) for requirement in needed}
    lines = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    locked = {normal(line.partition("==")[0]) for line in lines if "==" in line}
    assert names <= locked, "run make lock"


def test_the_lock_keeps_what_is_pinned_by_hand() -> None:
    lock = (ROOT / "tests" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (ROOT / "tests" / "pins.txt").read_text(encoding="utf-8").splitlines()
    exact = [line for line in pins if "==" in line]
    assert exact and {line.partition(" ;")[0] for line in lock} >= set(exact)
    install = (ROOT / "tests" / "install.sh").read_text(encoding="utf-8")
    assert next(line for line in exact if line.startswith("torch==")) in install


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_knows_its_commands() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = [line.split("\t")[0] for line in listed.stdout.splitlines()]
    assert {"install", "fix", "test", "fast", "docs", "bench", "house"} <= set(commands)
    for command in commands:
        subprocess.run(["make", "--dry-run", command], cwd=ROOT, capture_output=True, check=True)
