"""The commands that rewrite, join and check indexes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from pocket_colbert.cli.common import (
    folder_type,
    info_json,
    json_option,
    path_type,
    print_json,
    readable_size,
    threads_option,
)


@click.command()
@click.argument("folder", type=folder_type)
@threads_option
@json_option
def compact(folder: Path, threads: int | None, as_json: bool) -> None:
    """Rewrite an index without its deleted documents.

    \b
    Examples:
      pocket-colbert compact my.index
      pocket-colbert compact my.index --json

    It also joins small segments, so that the index has as few as possible.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.index import Index

    with Index.load(folder, writable=True, threads=threads) as index:
        before = sum(index.info().bytes.values())
        index.compact()
        held = index.info()
    after = sum(held.bytes.values())
    if as_json:
        print_json({"bytes_before": before, **info_json(held)})
    else:
        click.echo(
            f"{folder}: {held.documents} documents in {held.segments} segments, "
            f"{readable_size(before)} before, {readable_size(after)} now"
        )


@click.command()
@click.argument("folders", nargs=-1, required=True, type=folder_type)
@click.option("--into", "target", required=True, type=path_type, help="Folder of the new index.")
@click.option(
    "--replace", is_flag=True,
    help="If indexes have the same id, take the document of the last one; otherwise that is an "
    "error.",
)  # fmt: skip
@json_option
def merge(folders: Sequence[Path], target: Path, replace: bool, as_json: bool) -> None:
    """Merge indexes into a new one.

    \b
    Examples:
      pocket-colbert merge a.index b.index --into both.index
      pocket-colbert merge old.index new.index --into both.index --replace

    The indexes in FOLDERS stay as they are.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex

    with MultiIndex.load(folders, replacing=replace) as joined:
        joined.save(target)
    with Index.load(target) as merged:
        held = merged.info()
    if as_json:
        print_json(info_json(held))
    else:
        click.echo(
            f"{target}: {held.documents} documents in {held.segments} segments, "
            f"{readable_size(sum(held.bytes.values()))}"
        )


@click.command()
@click.argument("folder", type=folder_type)
@json_option
@click.pass_context
def check(context: click.Context, folder: Path, as_json: bool) -> None:
    """Read a whole index and name what is damaged.

    \b
    Examples:
      pocket-colbert check my.index
      pocket-colbert check my.index --json

    The exit status is 1 if anything is.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.integrity import check_index

    problems = check_index(folder)
    if as_json:
        print_json({"index": str(folder), "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{folder}: {len(problems) or 'no'} problem{'s' * (len(problems) != 1)} found")
    context.exit(1 if problems else 0)
