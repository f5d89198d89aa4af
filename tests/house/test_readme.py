"""The README: its Python runs, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pocket_colbert.cli.commands import main
from tests.support.paths import ROOT


def blocks_in(language: str) -> list[str]:
    """Return the fenced blocks of the README in a language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_runs(tmp_path: Path) -> None:
    blocks = blocks_in("python")
    assert blocks
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(blocks)],
        capture_output=True, text=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "d1"


def test_commands_exist() -> None:
    lines = [line.split() for line in "\n".join(blocks_in("bash")).splitlines()]
    commands = [words for words in lines if words and words[0] == "pocket-colbert"]
    assert commands
    for words in commands:
        command = main.commands[words[1]]
        options = {option for item in command.params for option in item.opts}
        assert {word for word in words if word.startswith("--")} <= options, words
