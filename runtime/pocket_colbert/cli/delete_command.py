"""The command that deletes documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.command_group import printable
from pocket_colbert.cli.common import (
    folder_type,
    json_option,
    print_json,
    quiet_option,
    verbose_option,
)
from pocket_colbert.cli.where_option import filter_of, where_option

if TYPE_CHECKING:
    from pocket_colbert.index.index import Index

_MOST_NAMED = 20


@click.command()
@click.argument("folder", type=folder_type)
@click.argument("document_ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--source", default=None, metavar="SOURCE",
    help="Delete all documents from there; `info --sources` lists them.",
)  # fmt: skip
@where_option("Delete the")
@click.option(
    "-n", "--dry-run", is_flag=True, help="Say what would be deleted, and change nothing."
)
@verbose_option
@quiet_option
@json_option
def delete(
    folder: Path,
    document_ids: tuple[str, ...],
    source: str | None,
    conditions: Sequence[str],
    dry_run: bool,
    verbose: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Delete documents from an index.

    \b
    Examples:
      pocket-colbert delete my.index --where 'year<2020' --dry-run
      pocket-colbert delete my.index notes/old.md --quiet

    They are chosen by their ids, their source or their metadata. With --verbose each is named.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.index import Index

    if sum([bool(document_ids), source is not None, bool(conditions)]) != 1:
        raise click.UsageError("give ids, --source or --where, one of the three.")
    condition = filter_of(conditions)
    if condition is not None and not all(condition.get("$and", [condition])):
        raise click.UsageError(
            "--where must be a filter with a condition; an empty one matches everything."
        )
    with Index.load(folder, writable=not dry_run) as index:
        chosen = _chosen(index, document_ids, source, condition)
        there = [name for name in dict.fromkeys(chosen) if name in index]
        if not dry_run:
            index.delete(there)
            index.commit()
        left = len(index) - len(there) * dry_run
    if as_json:
        listed = {"ids": there} if dry_run or verbose else {}
        print_json({"deleted": len(there), "documents": left, "dry_run": dry_run, **listed})
    elif not quiet:
        _print(folder, there, left, dry_run, verbose)
    if quiet:
        return
    if document_ids and len(there) < len(set(document_ids)):
        click.echo("Warning: some of the ids are not in the index.", err=True)
    if source is not None and not there:
        click.echo(
            f"Warning: no document is from {source!r}; `info --sources` lists them.", err=True
        )


def _chosen(
    index: Index,
    document_ids: Sequence[str],
    source: str | None,
    condition: Mapping[str, Any] | None,
) -> Sequence[str]:
    from pocket_colbert.ingest.sources import ids_from, ids_where

    if source is not None:
        return ids_from(index, source)
    return document_ids if condition is None else ids_where(index, condition)


def _print(folder: Path, names: Sequence[str], left: int, dry_run: bool, verbose: bool) -> None:
    shown = names if verbose else names[:_MOST_NAMED] if dry_run else ()
    for name in shown:
        click.echo(f"  {printable(name)}")
    if dry_run:
        if len(names) > len(shown):
            click.echo(f"  and {len(names) - len(shown)} more (--verbose)")
        click.echo(f"{folder}: {len(names)} would be deleted, {left} documents would be left")
    else:
        click.echo(f"{folder}: {len(names)} deleted, {left} documents left")
