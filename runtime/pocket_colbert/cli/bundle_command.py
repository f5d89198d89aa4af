"""The command that makes a deployment package."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from pocket_colbert.cli.common import (
    complete_model,
    folder_type,
    json_option,
    path_type,
    print_json,
    readable_size,
)


@click.command()
@click.argument("folder", type=folder_type)
@click.option(
    "--target", type=click.Choice(["lambda"]), required=True,
    help="Where it will run: AWS Lambda, x86_64, with this version of Python.",
)  # fmt: skip
@click.option("-o", "--output", type=path_type, required=True, help="Zip file to write.")
@click.option(
    "-m", "--model", default=None, metavar="MODEL", shell_complete=complete_model,
    help="Model folder or hub id.  [default: the bundled model that made the index]",
)  # fmt: skip
@click.option(
    "--glibc", default=None, metavar="X.Y",
    help="glibc version of your own runtime.  [default: Lambda's for this Python]",
)  # fmt: skip
@json_option
def bundle(
    folder: Path, target: str, output: Path, model: str | None, glibc: str | None, as_json: bool
) -> None:
    """Pack an index and all it needs into a zip for AWS Lambda.

    \b
    Examples:
      pocket-colbert bundle my.index --target lambda -o function.zip
      pocket-colbert bundle my.index --target lambda -o function.zip --model tiny

    The zip holds the index, its model, the libraries and a handler. It is written only if, unpacked
    and read-only, it answers a query on its own just as the installed package does.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.deploy.lambda_zip import make_bundle

    made = make_bundle(folder, output, model=model, glibc=glibc)
    if as_json:
        print_json(asdict(made) | {"path": str(made.path), "target": target})
        return
    click.echo(
        f"{made.path}: {readable_size(made.bytes)}, {readable_size(made.unpacked)} unpacked, "
        f"handler.handler for Python {made.python} on x86_64, glibc {made.glibc} or newer"
    )
    for name, size in list(made.parts.items())[:8]:
        click.echo(f"  {name:24} {readable_size(size):>10}")
    click.echo(f"Tested: it answers {made.query!r} with {made.hits} hits, the same as here.")
