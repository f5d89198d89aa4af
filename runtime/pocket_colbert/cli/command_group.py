"""The group of commands: its sections in the help, and one line for every failure."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import click

from pocket_colbert.errors import PocketColbertError

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


NOTHING_FOUND = 1
"""Exit status of a search without hits, as grep has it."""


class Failure(click.ClickException):
    """An expected failure: one line on standard error."""

    exit_code = 2


class Interrupted(click.ClickException):
    """Ctrl-C: one line on standard error, and the exit code that shells use for it."""

    exit_code = 130

    def show(self, file: Any = None) -> None:
        """Print the line."""
        click.echo(self.message, file=file, err=True)


class Terminated(Interrupted):
    """SIGTERM, likewise."""

    exit_code = 143


class CommandGroup(click.Group):
    """Reports an expected failure in one line on standard error, with exit code 2."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:  # fmt: skip
        """Read the arguments; click would end on Ctrl-C with other words and another code."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.") from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # escapes, as on standard error
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("Interrupted.") from None
        except PocketColbertError as error:
            raise Failure(_one_line(str(error))) from error
        except BrokenPipeError:
            # The reader of our output, such as `head`, has seen enough: nothing went wrong.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            raise SystemExit(0) from None
        except OSError as error:
            path = f": {error.filename}" if error.filename else ""
            raise Failure(_one_line(f"{error.strerror or error}{path}.")) from error


class SectionedGroup(CommandGroup):
    """Lists its commands in sections."""

    def __init__(
        self, *args: Any, sections: Mapping[str, Sequence[click.Command]], **attributes: Any
    ) -> None:
        """Make the group.

        Args:
            args: Passed to click.
            sections: The commands below each heading, in the order of the help.
            attributes: Passed to click.
        """
        super().__init__(*args, **attributes)
        self._sections = sections
        for commands in sections.values():
            for command in commands:
                self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order of the sections."""
        return [str(item.name) for commands in self._sections.values() for item in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of commands for each section, all aligned."""
        width = max(map(len, self.commands))
        limit = formatter.width - width - 6
        for heading, commands in self._sections.items():
            rows = [(f"{item.name:{width}}", item.get_short_help_str(limit)) for item in commands]
            with formatter.section(heading):
                formatter.write_dl(rows)


def printable(text: str) -> str:
    """Return a text without the control characters that terminals obey; lines and tabs stay."""
    return _CONTROLS.sub("", text)


def _one_line(text: str) -> str:
    return " ".join(printable(text).splitlines())


def _show_warning(message: Warning | str, *details: Any) -> None:
    click.echo(f"Warning: {message}", err=True)
