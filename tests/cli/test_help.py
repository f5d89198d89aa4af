"""What `--help` shows."""

from __future__ import annotations

import re
import shlex

import click
import pytest
from click.testing import CliRunner

from pocket_colbert.cli.commands import main
from tests.support.cli import run

ORDER = [
    "search", "index", "info", "rerank", "encode", "delete", "compact", "check", "cache",
    "serve", "site", "mcp", "evaluate", "tune", "push", "collect", "merge", "doctor", "completion",
    "bundle", "encode-corpus",
]  # fmt: skip


def test_help_and_version() -> None:
    for command in tuple(main.commands):
        assert run(command, "--help").exit_code == 0
    assert run("--help").exit_code == 0
    assert "0.1.0" in run("--version").stdout


def test_commands_are_listed_by_what_people_do() -> None:
    shown = run("--help").stdout.split("Options:")[1]
    sections = dict(re.findall(r"^([A-Z][\w ]+):\n((?:  .*\n)+)", shown, re.MULTILINE))
    assert list(sections) == [
        "Search", "Maintain an index", "Serve", "Measure quality", "Move data", "Other",
    ]  # fmt: skip
    listed = [line.split()[0] for text in sections.values() for line in text.splitlines()]
    assert listed == ORDER == main.list_commands(click.Context(main))
    assert sorted(listed) == sorted(main.commands)


@pytest.mark.parametrize("name", ORDER)
def test_a_summary_is_one_whole_line_of_80_columns(name: str) -> None:
    result = CliRunner().invoke(main, ["--help"], terminal_width=80)
    (line,) = [line for line in result.stdout.splitlines() if line.split()[:1] == [name]]
    summary = (main.commands[name].help or "").partition("\n\n")[0]
    assert line.split(maxsplit=1)[1] == summary.replace("\n", " ")
    assert len(line) <= 80 and line.endswith(".") and not line.endswith("...")


def examples_of(name: str) -> list[str]:
    """Return the command lines below "Examples:" in a command's help."""
    shown = CliRunner().invoke(main, [name, "--help"], terminal_width=80).output
    block = shown.partition("Examples:\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


@pytest.mark.parametrize("name", [name for name in ORDER if name != "completion"])
def test_two_examples_that_would_run(name: str) -> None:
    """Options exist, and values are of their kind; `completion` shows a line for each shell."""
    examples = examples_of(name)
    assert len(examples) == 2 and len(set(examples)) == 2
    for line in examples:
        before, found, rest = line.partition(f"pocket-colbert {name}")
        assert found and (not before or before.endswith("| ")), line
        words = shlex.split(rest.partition(" > ")[0])
        command = main.commands[name]
        with command.make_context(name, words) as context:
            assert context.params
        assert len(line) <= 76


def test_the_first_help_shows_how_to_search() -> None:
    shown = run("--help").stdout
    assert 'pocket-colbert search notes "who pays for the roof?"' in shown


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pocket_colbert.index.index.Index.load", interrupted)
    result = run("info", "somewhere")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "Interrupted.\n")


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **named: object) -> None:
        raise OSError(28, "No space\nleft", "a\x1b[2Jb")

    monkeypatch.setattr("pocket_colbert.index.index.Index.load", fails)
    result = run("info", "somewhere")
    assert (result.exit_code, result.stderr) == (2, "Error: No space left: a[2Jb.\n")


def test_ctrl_c_while_arguments_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Command, "parse_args", interrupted)
    done = CliRunner().invoke(main, ["info", "nowhere"])
    assert (done.exit_code, done.output) == (130, "Interrupted.\n")


def test_a_filter_nested_too_deep_is_wrong_usage() -> None:
    for deep in ('{"$not": ' * 2000 + "1" + "}" * 2000, "[" * 100_000):
        done = CliRunner().invoke(main, ["search", "nowhere", "a", "--where", deep])
        assert done.exit_code == 2 and "Error: --where" in done.output
        assert len(done.output) < 1000
