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
    lines = done.stdout.splitlines()
    assert lines[0] == "The landlord repairs the roof."
    assert (lines[1].split()[0], lines[-1]) == ("d1", "Berlin, Germany")


def test_commands_exist() -> None:
    lines = [line.split() for line in "\n".join(blocks_in("bash")).splitlines()]
    commands = [words for words in lines if words and words[0] == "pocket-colbert"]
    assert commands
    for words in commands:
        command = main.commands[words[1]]
        options = {option for item in command.params for option in item.opts}
        assert {word for word in words if word.startswith("--")} <= options, words


def test_links_are_absolute_and_lead_to_files_of_this_repository() -> None:
    """PyPI shows the README without the repository, so no link in it may be relative."""
    text = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^\[.+?\]: (\S+)$", text, re.M)
    assert targets and all(target.startswith("https://") for target in targets)
    names = re.findall(r"^\[(.+?)\]: ", text, flags=re.MULTILINE)
    flowing = " ".join(text.split())
    assert all(f"][{name}]" in flowing for name in names), "a link nobody uses"
    assert set(re.findall(r"\]\[(.+?)\]", flowing)) <= set(names), "a link without an address"
    ours = r"https://(?:github\.com|raw\.githubusercontent\.com)/pocket-colbert/pocket-colbert/"
    for target in targets:
        match = re.fullmatch(rf"{ours}(?:blob/)?main/([^#]+)(?:#.*)?", target)
        assert match and (ROOT / match[1]).is_file(), target
