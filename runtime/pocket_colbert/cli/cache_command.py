"""The command that lists and clears the cache of indexes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pocket_colbert.cli.command_group import printable
from pocket_colbert.cli.common import json_option, path_type, print_json, readable_size

if TYPE_CHECKING:
    from pocket_colbert.ingest.cache_folder import CacheEntry

_DAY = 86_400


@click.command()
@click.argument("paths", nargs=-1, type=path_type)
@click.option("--clear", is_flag=True, help="Delete them: those of PATHS, or all.")
@json_option
def cache(paths: Sequence[Path], clear: bool, as_json: bool) -> None:
    """List or delete indexes that `search` has made.

    \b
    Examples:
      pocket-colbert cache
      pocket-colbert cache --clear notes

    `search` makes an index of a folder or file that has none, in the user's cache, or in the
    folder that POCKET_COLBERT_CACHE names. Deleting one costs only the time to make it again.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.ingest.cache_folder import cache_entries, cache_folder, clear_cache

    if clear:
        report = clear_cache(paths or None)
        freed = sum(item.bytes for item in report.cleared)
        if as_json:
            print_json({
                "folder": str(cache_folder()), "cleared": [_json(item) for item in report.cleared],
                "in_use": [_json(item) for item in report.in_use],
            })  # fmt: skip
        else:
            count = len(report.cleared)
            click.echo(
                f"{cache_folder()}: {count} index{'es' * (count != 1)} deleted, "
                f"{readable_size(freed)} freed"
            )
        for item in report.in_use:
            click.echo(f"Warning: {_named(item)} is in use and stays.", err=True)
        return
    wanted = {os.path.realpath(path) for path in paths}
    entries = [item for item in cache_entries() if not wanted or item.path in wanted]
    if as_json:
        print_json({"folder": str(cache_folder()), "indexes": [_json(item) for item in entries]})
        return
    for item in entries:
        gone = "" if item.path is None or os.path.exists(item.path) else "  (no longer there)"
        click.echo(f"{readable_size(item.bytes):>10}  {_age(item.used):14}  {_named(item)}{gone}")
    total = readable_size(sum(item.bytes for item in entries))
    count = len(entries)
    click.echo(f"{cache_folder()}: {count} index{'es' * (count != 1)}, {total}")


def _named(item: CacheEntry) -> str:
    from pocket_colbert.ingest.left_out import printable_path

    return (
        f"{item.folder} (unreadable)" if item.path is None else printable(printable_path(item.path))
    )


def _json(item: CacheEntry) -> dict[str, object]:
    return {
        "path": item.path, "index": str(item.folder), "bytes": item.bytes, "used": item.used,
    }  # fmt: skip


def _age(used: float) -> str:
    """Say how long ago something was used."""
    days = max(time.time() - used, 0) / _DAY
    if days < 1:
        return "today"
    return "yesterday" if days < 2 else f"{days:.0f} days ago"
