"""The command that says what works here and what is missing."""

from __future__ import annotations

import click

from pocket_colbert.cli.command_group import printable
from pocket_colbert.cli.common import json_option, model_option, print_json
from pocket_colbert.cli.terminal import Screen, color_option

_MARKS = {"ok": ("ok", "green"), "missing": ("--", "yellow"), "broken": ("!!", "red")}


@click.command()
@model_option
@color_option
@json_option
@click.pass_context
def doctor(ctx: click.Context, model: str | None, color: str, as_json: bool) -> None:
    """Check this installation and say what is missing.

    \b
    Examples:
      pocket-colbert doctor
      pocket-colbert doctor --json > report.json

    Looks at versions, the processor, the models, which are loaded and tried, onnxruntime's
    providers, extras and the cache. The exit status is 1 if something is broken; extras that are
    not installed are not.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.cli.diagnosis import Finding, findings
    from pocket_colbert.cli.diagnosis import as_json as json_of

    screen = Screen.of(color)
    found: list[Finding] = []
    for item in findings(model):
        if not as_json:
            if not found or found[-1].section != item.section:
                screen.echo(screen.styled(item.section, bold=True))
            mark, shade = _MARKS[item.state]
            value = printable(" ".join(item.value.split()))
            screen.echo(f"  {screen.styled(mark, fg=shade)}  {printable(item.name):16}  {value}")
            if item.advice:
                screen.echo(f"      {'':16}  {item.advice}")
        found.append(item)
    broken = [item for item in found if item.state == "broken"]
    if as_json:
        print_json({"ok": not broken, **json_of(found)})
    elif broken:
        click.echo(f"{len(broken)} broken: {', '.join(item.name for item in broken)}")
    else:
        click.echo("Everything that is installed works.")
    ctx.exit(1 if broken else 0)
