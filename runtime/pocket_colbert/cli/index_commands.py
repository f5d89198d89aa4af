"""The commands that make and change an index."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.command_group import Interrupted
from pocket_colbert.cli.common import (
    batch_tokens_option,
    codes_option,
    dim_option,
    encoder_for,
    folder_type,
    given_options,
    id_field_option,
    index_config,
    into_option,
    inverted_file_option,
    json_option,
    keep_option,
    keywords_option,
    load_encoder,
    max_tokens_option,
    model_option,
    note_batches,
    passage_overlap_option,
    passage_tokens_option,
    path_type,
    pool_option,
    print_json,
    progress_bar,
    provider_option,
    readable_size,
    text_field_option,
    threads_option,
    title_field_option,
)
from pocket_colbert.errors import TruncationWarning

if TYPE_CHECKING:
    from pocket_colbert.index.stats import IndexInfo
    from pocket_colbert.ingest.indexing import IndexReport

_OPTIONS = {
    "codes", "keywords", "inverted_file", "pool_factor", "keep", "max_tokens", "drop_frequent",
    "passage_tokens", "passage_overlap",
}  # fmt: skip
"""Options that are fixed when an index is made."""


@click.command()
@click.argument("paths", nargs=-1, required=True, type=path_type)
@into_option
@click.option(
    "--overwrite", is_flag=True, help="Replace the index in DIR, once the new one is complete."
)
@click.option("--keep-missing", is_flag=True, help="Keep documents that PATHS no longer have.")
@click.option(
    "--moved-from", metavar="SOURCE", default=None,
    help="Where the documents of PATH were before they moved, as the index names it.",
)  # fmt: skip
@click.option("--id-prefix", default="", metavar="TEXT", help="Put TEXT in front of every id.")
@id_field_option
@text_field_option
@title_field_option
@inverted_file_option
@codes_option
@pool_option
@keep_option
@max_tokens_option
@click.option(
    "--drop-frequent",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Drop the N most frequent tokens of PATHS.",
)
@passage_tokens_option
@passage_overlap_option
@keywords_option
@dim_option
@model_option
@threads_option
@provider_option
@batch_tokens_option
@json_option
@click.pass_context
def index(
    context: click.Context,
    paths: tuple[Path, ...],
    into: Path,
    overwrite: bool,
    keep_missing: bool,
    moved_from: str | None,
    id_prefix: str,
    id_field: str,
    text_field: str,
    title_field: str,
    inverted_file: Any,
    codes: Any,
    pool_factor: float,
    keep: float,
    max_tokens: int | None,
    drop_frequent: int,
    passage_tokens: int | None,
    passage_overlap: int,
    keywords: Any,
    dim: int | None,
    model: str | None,
    threads: int | None,
    provider: str,
    batch_tokens: int | None,
    as_json: bool,
) -> None:
    """Index files and folders, or bring an index up to date.

    PATHS are files and folders of text, Markdown, HTML, .jsonl and .jsonl.gz. If DIR has an index
    already, new and changed documents are encoded, documents that PATHS no longer have are
    deleted, and documents from other paths stay. After an interruption, the same command
    continues where it stopped.
    """
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.ingest.indexing import IndexOptions, index_files
    from pocket_colbert.ingest.rows import Fields

    exists = is_index(into)
    if moved_from is not None and (len(paths) > 1 or not exists or overwrite):
        raise click.UsageError("--moved-from needs one PATH and an existing index.")
    given = given_options(context)
    if exists and not overwrite and dim is None:
        encoder = encoder_for(index_config(into), model, threads, provider, batch_tokens)
    else:
        encoder = load_encoder(model, threads, provider, dim, batch_tokens)
    note_batches(encoder)
    warnings.simplefilter("ignore", TruncationWarning)  # counted, and reported at the end
    with progress_bar("Indexing", None, as_json) as advance:
        try:
            report = index_files(
                paths, into, encoder=encoder,
                options=IndexOptions(**{name: given[name] for name in _OPTIONS & given.keys()}),
                fields=Fields(id_field, text_field, title_field), id_prefix=id_prefix,
                keep_missing=keep_missing, overwrite=overwrite, moved_from=moved_from,
                progress=advance,
            )  # fmt: skip
        except KeyboardInterrupt:
            raise Interrupted(_after_interrupt(into, exists, overwrite)) from None
    _print_report(report, encoder.config.document_length, as_json)


def _after_interrupt(into: Path, existed: bool, overwrite: bool) -> str:
    """Say what an interruption left, and how to continue."""
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.index.index import Index

    if existed and overwrite:
        return f"Interrupted; the index in {into} is unchanged."
    count = 0
    if is_index(into):
        with Index.load(into) as opened:
            count = len(opened)
    again = "run the command again" + " without --overwrite" * overwrite
    return f"Interrupted after {count} documents; {again} to continue."


def _print_report(report: IndexReport, window: int, as_json: bool) -> None:
    counts = {name: getattr(report, name) for name in ("added", "changed", "unchanged", "deleted")}
    if as_json:
        print_json({"index": str(report.folder), **counts, **_info_json(report.info)})
    else:
        size = readable_size(sum(report.info.bytes.values()))
        click.echo(
            f"{report.folder}: {report.info.documents} documents, {report.info.tokens} tokens, "
            f"{size}"
        )
        if report.updated:
            click.echo("  " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if report.truncated:
        click.echo(
            f"Warning: {report.truncated} passages did not fit the model's window of {window} "
            "tokens; text beyond it cannot be found.",
            err=True,
        )


@click.command()
@click.argument("folder", type=folder_type)
@json_option
def info(folder: Path, as_json: bool) -> None:
    """Show what an index holds and how large it is."""
    from pocket_colbert.index.index import Index

    with Index.load(folder) as index:
        held = index.info()
    if as_json:
        print_json(_info_json(held))
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
    if held.approximate_recall is not None:
        click.echo(
            f"  approximate search finds {held.approximate_recall:.1%} of what exact search does, "
            "measured on a sample"
        )


@click.command()
@click.argument("folder", type=folder_type)
@click.argument("document_ids", nargs=-1, required=True, metavar="ID...")
@json_option
def delete(folder: Path, document_ids: tuple[str, ...], as_json: bool) -> None:
    """Delete documents from an index, by their ids."""
    from pocket_colbert.index.index import Index

    with Index.load(folder, writable=True) as index:
        deleted = index.delete(document_ids)
        index.commit()
        left = len(index)
    if as_json:
        print_json({"deleted": deleted, "documents": left})
    else:
        click.echo(f"{folder}: {deleted} deleted, {left} documents left")
    if deleted < len(set(document_ids)):
        click.echo("Warning: some of the ids are not in the index.", err=True)


@click.command()
@click.argument("folder", type=folder_type)
@threads_option
@json_option
def compact(folder: Path, threads: int | None, as_json: bool) -> None:
    """Rewrite an index without its deleted documents.

    It also joins small segments, so that the index has as few as possible.
    """
    from pocket_colbert.index.index import Index

    with Index.load(folder, writable=True, threads=threads) as index:
        before = sum(index.info().bytes.values())
        index.compact()
        held = index.info()
    after = sum(held.bytes.values())
    if as_json:
        print_json({"bytes_before": before, **_info_json(held)})
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

    The indexes in FOLDERS stay as they are.
    """
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex

    with MultiIndex.load(folders, replacing=replace) as joined:
        joined.save(target)
    with Index.load(target) as merged:
        held = merged.info()
    if as_json:
        print_json(_info_json(held))
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

    The exit code is 1 if anything is.
    """
    from pocket_colbert.index.integrity import check_index

    problems = check_index(folder)
    if as_json:
        print_json({"index": str(folder), "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{folder}: {len(problems) or 'no'} problem{'s' * (len(problems) != 1)} found")
    context.exit(1 if problems else 0)


def _pruning(pruning: Any) -> str:
    """List the settings of a pruning that differ from the defaults."""
    changed = [
        f"{item.name} {len(value) if isinstance(value, tuple) else f'{value:g}'}"
        for item in fields(pruning)
        for value in [getattr(pruning, item.name)]
        if value != item.default
    ]
    return ", ".join(changed) or "none"


def _info_json(held: IndexInfo) -> dict[str, Any]:
    values = asdict(held)
    values["bytes_per_token"] = {
        name: size / max(held.tokens, 1) for name, size in held.bytes.items()
    }
    return values
