"""The command that says what an index holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.common import (
    folder_type,
    info_json,
    json_option,
    print_json,
    readable_size,
)

if TYPE_CHECKING:
    from pocket_colbert.index.index import Index


@click.command()
@click.argument("folder", type=folder_type)
@click.option("--sources", is_flag=True, help="List where the documents are from.")
@json_option
def info(folder: Path, sources: bool, as_json: bool) -> None:
    """Show what an index holds and how large it is.

    \b
    Examples:
      pocket-colbert info my.index
      pocket-colbert info my.index --sources
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.index import Index

    with Index.load(folder) as index:
        held = index.info()
        counts = _counts_by_source(index) if sources else {}
    if as_json:
        made_for = list(_languages(held.model))
        print_json(
            {**info_json(held), "languages": made_for, **({"sources": counts} if sources else {})}
        )
        return
    if sources:
        for source, count in counts.items():
            click.echo(f"{count:>9}  {source}")
        return
    deleted = f" and {held.deleted} deleted ones" if held.deleted else ""
    click.echo(
        f"{folder}: {held.documents} documents{deleted}, {held.passages} passages, "
        f"{held.tokens} token vectors"
    )
    click.echo(
        f"  {held.dim} dimensions as {held.codes}, {held.segments} segments, "
        f"pruning: {_pruning(held.pruning)}"
    )
    total, tokens = sum(held.bytes.values()), max(held.tokens, 1)
    for name, size in held.bytes.items():
        click.echo(
            f"  {name:13} {readable_size(size):>10}  {size / tokens:7.1f} bytes a token vector"
        )
    click.echo(f"  {'total':13} {readable_size(total):>10}  {total / tokens:7.1f}")
    click.echo(
        f"  {'in memory':13} {readable_size(held.memory):>10}  {'':7} the rest is memory-mapped"
    )
    languages = _languages(held.model)
    if languages:
        click.echo(f"  the model was made for: {', '.join(languages)}")
    if held.unread:
        click.echo(f"  {held.unread} passages in other languages: keywords find them")
    if held.approximate_recall is not None:
        click.echo(
            f"  approximate search finds {held.approximate_recall:.1%} of what exact search does, "
            f"measured on a sample; it looks into {_looks_into(held.candidates)}"
        )


def _looks_into(candidates: Mapping[str, int]) -> str:
    """Say what the segments take candidates from, such as "the lists of 2 segments"."""
    names = {"lists": "the lists", "usearch": "the usearch graph", "all": "all documents"}
    return ", ".join(
        f"{names[name]} of {count} segment{'s' * (count != 1)}"
        for name, count in sorted(candidates.items(), reverse=True)
    )


def _languages(model: str) -> tuple[str, ...]:
    """Return the languages that a model was made for, of a bundled one; () of others."""
    from pocket_colbert.model.folder import bundled_model_of, load_model_files

    name = bundled_model_of(model)
    return () if name is None else load_model_files(name).card.languages


def _counts_by_source(index: Index) -> dict[str, int]:
    from pocket_colbert.ingest.sources import counts_by_source

    return counts_by_source(index)


def _pruning(pruning: Any) -> str:
    """List the settings of a pruning that differ from the defaults."""
    changed = [
        f"{item.name} {len(value) if isinstance(value, tuple) else f'{value:g}'}"
        for item in fields(pruning)
        for value in [getattr(pruning, item.name)]
        if value != item.default
    ]
    return ", ".join(changed) or "none"
