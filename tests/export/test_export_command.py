"""The command `pocket-colbert-export`, also where torch is not installed."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pocket_colbert_export.cli import main

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
sys.modules["torch"] = None  # as if it were not installed
from pocket_colbert_export.cli import main
main()
"""

SAY = """
import click
from pocket_colbert_export.cli import main
main.command("say")(lambda: click.echo("東京"))
main()
"""


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, check=False
    )


@pytest.mark.parametrize("command", [[], ["export"], ["distill"], ["shrink"]])
def test_help_needs_no_extra(command: list[str]) -> None:
    done = run(*command, "--help")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"Usage:" in done.stdout


@pytest.mark.parametrize("name", ["export", "distill", "shrink"])
def test_every_option_is_one_line_of_help(name: str) -> None:
    text = CliRunner().invoke(main, [name, "--help"], env={"COLUMNS": "80"}).output
    options = text.partition("Options:\n")[2].splitlines()
    names = [line for line in options if line.startswith("  -")]
    options_of = [item for item in main.commands[name].params if isinstance(item, click.Option)]
    assert len(names) == len(options_of) + 1  # --help
    # An option whose names fill the column has its help below it.
    rest = [line.strip() for line in options if not line.startswith("  -")]
    assert rest == (["Multiply in bfloat16."] if name != "export" else [])


@pytest.mark.parametrize(
    "arguments",
    [
        ["model", "-o", "out"],
        ["distill", "--text", __file__, "-o", "out"],
        ["shrink", "--teacher", "a", "--student", "b", "--text", __file__, "-o", "out"],
    ],
)
def test_a_missing_extra_is_one_line(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        "Error: pocket_colbert_export needs the 'export' extra: "
        "pip install 'pocket-colbert[export]'."
    ]


def test_what_the_console_cannot_show_is_escaped() -> None:
    """An output path, say; the group's own setting is asked for with a command made up here."""
    done = subprocess.run(
        [sys.executable, "-c", SAY, "say"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [b"\\u6771\\u4eac"]
