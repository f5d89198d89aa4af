"""The command line, run in this process."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result

from pocket_colbert.cli.commands import main


def run(*arguments: object, stdin: str | None = None) -> Result:
    """Run the command and let no exception but an exit through."""
    result = CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def json_lines(text: str) -> list[Any]:
    """Return what is on each line of a text, for example what `search --json` printed."""
    return [json.loads(line) for line in text.splitlines()]


def fails(*arguments: object, message: str, code: int = 2, stdin: str | None = None) -> None:
    """Run the command; it must fail with one line that holds `message`."""
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert message in result.stderr, result.stderr
    wrong_usage = result.stderr.startswith("Usage: ")
    assert wrong_usage or len(result.stderr.strip().splitlines()) == 1, result.stderr
