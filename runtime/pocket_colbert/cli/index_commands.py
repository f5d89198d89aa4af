"""The commands that make and change an index."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.command_group import Interrupted, Terminated, printable
from pocket_colbert.cli.common import (
    batch_tokens_option,
    candidates_option,
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
from pocket_colbert.errors import LanguageWarning, TruncationWarning

if TYPE_CHECKING:
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.stats import IndexInfo
    from pocket_colbert.ingest.indexing import IndexReport
    from pocket_colbert.model.encoder import Encoder

_OPTIONS = {
    "codes", "keywords", "inverted_file", "candidates", "pool_factor", "keep", "max_tokens",
    "drop_frequent", "passage_tokens", "passage_overlap",
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
@click.option(
    "--include", multiple=True, metavar="PATTERN",
    help='Of folders, read only files that match, such as "*.md"; repeatable.',
)  # fmt: skip
@click.option(
    "--exclude", multiple=True, metavar="PATTERN",
    help='Leave out files and folders that match, such as "drafts/"; repeatable.',
)  # fmt: skip
@click.option(
    "--no-ignore", is_flag=True,
    help="Read what .gitignore and .ignore name, installed packages and build outputs, too.",
)  # fmt: skip
@click.option("--hidden", is_flag=True, help="Read hidden files and folders, too.")
@click.option(
    "--strict", is_flag=True, help="Stop at the first file that cannot be read, with exit code 1."
)
@click.option("--verbose", is_flag=True, help="Name everything that is left out.")
@id_field_option
@text_field_option
@title_field_option
@inverted_file_option
@candidates_option
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
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    no_ignore: bool,
    hidden: bool,
    strict: bool,
    verbose: bool,
    id_field: str,
    text_field: str,
    title_field: str,
    inverted_file: Any,
    candidates: Any,
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

    PATHS are files and folders of text, Markdown, HTML, source code, manual pages, notebooks,
    e-mail, JSON, tables and more; with pocket-colbert[files] also PDF, Office files and books. If
    DIR has an index already, new and changed documents are encoded, documents that PATHS no longer
    have are deleted, and documents from other paths stay. A file that cannot be read is named at
    the end. After an interruption, the same command continues where it stopped.
    """
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.ingest.folder_walk import FileRules
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
    for category in (LanguageWarning, TruncationWarning):
        warnings.simplefilter("ignore", category)  # counted, and reported at the end
    with progress_bar("Indexing", None, as_json) as advance, _ended_by_term() as ended:
        try:
            report = index_files(
                paths, into, encoder=encoder,
                options=IndexOptions(**{name: given[name] for name in _OPTIONS & given.keys()}),
                fields=Fields(id_field, text_field, title_field), id_prefix=id_prefix,
                rules=FileRules(
                    include=include, exclude=exclude, ignored=no_ignore, hidden=hidden
                ),
                strict=strict,
                keep_missing=keep_missing, overwrite=overwrite, moved_from=moved_from,
                progress=advance,
            )  # fmt: skip
        except KeyboardInterrupt:
            message = _after_interrupt(into, exists, overwrite)
            raise (Terminated if ended else Interrupted)(message) from None
    _print_report(report, encoder, as_json)
    _print_left_out(report, verbose)


@contextmanager
def _ended_by_term() -> Iterator[list[int]]:
    """Treat SIGTERM as Ctrl-C; the list that comes back is not empty once it has come."""
    ended: list[int] = []

    def end(number: int, frame: object) -> None:
        ended.append(number)
        signal.raise_signal(signal.SIGINT)  # whose handler lets imports end first

    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGTERM, before)


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


def _print_report(report: IndexReport, encoder: Encoder, as_json: bool) -> None:
    counts = {name: getattr(report, name) for name in ("added", "changed", "unchanged", "deleted")}
    if as_json:
        left_out = [asdict(item) for item in report.left_out]
        print_json(
            {"index": str(report.folder), **counts, "left_out": left_out,
             **_info_json(report.info)}
        )  # fmt: skip
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
            f"Warning: {report.truncated} passages did not fit the model's window of "
            f"{encoder.config.document_length} tokens; text beyond it cannot be found.",
            err=True,
        )
    if report.unread:
        click.echo(
            f"Warning: {report.unread} passages are in a language that the model was not made "
            f"for{encoder.made_for}; keywords find them, meaning does not.",
            err=True,
        )


_MOST_NAMED = 20


def _print_left_out(report: IndexReport, verbose: bool) -> None:
    """Say on standard error what was left out, failures by name."""
    from pocket_colbert.ingest.left_out import summary

    for note in report.notes if verbose else report.notes[:5]:
        click.echo(f"Note: {printable(note)}", err=True)
    if len(report.notes) > 5 and not verbose:
        click.echo(f"Note: and {len(report.notes) - 5} more (--verbose lists them).", err=True)
    if not report.left_out:
        return
    failed = [item for item in report.left_out if item.reason == "unreadable"]
    others = [item for item in report.left_out if item.reason != "unreadable"]
    hint = (
        "" if verbose or (not others and len(failed) <= _MOST_NAMED) else " (--verbose lists them)"
    )
    click.echo(f"{summary(report.left_out)}{hint}", err=True)
    for item in report.left_out if verbose else failed[:_MOST_NAMED]:
        click.echo(f"  {printable(str(item))}", err=True)
    if any(item.reason == "needs extra" for item in others):
        click.echo("  To read them: pip install 'pocket-colbert[files]'", err=True)


@click.command()
@click.argument("folder", type=folder_type)
@click.option("--sources", is_flag=True, help="List where the documents are from.")
@json_option
def info(folder: Path, sources: bool, as_json: bool) -> None:
    """Show what an index holds and how large it is."""
    from pocket_colbert.index.index import Index

    with Index.load(folder) as index:
        held = index.info()
        counts = _counts_by_source(index) if sources else {}
    if as_json:
        made_for = list(_languages(held.model))
        print_json(
            {**_info_json(held), "languages": made_for, **({"sources": counts} if sources else {})}
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


@click.command()
@click.argument("folder", type=folder_type)
@click.argument("document_ids", nargs=-1, metavar="[ID]...")
@click.option(
    "--source", default=None, metavar="SOURCE",
    help="Delete all documents from there; `info --sources` lists them.",
)  # fmt: skip
@click.option(
    "--where", default=None, metavar="JSON", help="Delete the documents whose metadata match."
)
@json_option
def delete(
    folder: Path,
    document_ids: tuple[str, ...],
    source: str | None,
    where: str | None,
    as_json: bool,
) -> None:
    """Delete documents from an index.

    They are chosen by their ids, their source or their metadata.
    """
    from pocket_colbert.index.index import Index
    from pocket_colbert.ingest.sources import ids_from, ids_where

    if sum([bool(document_ids), source is not None, where is not None]) != 1:
        raise click.UsageError("give ids, --source or --where, one of the three.")
    condition = None if where is None else _condition(where)
    with Index.load(folder, writable=True) as index:
        chosen: Sequence[str] = document_ids
        if source is not None:
            chosen = ids_from(index, source)
        elif condition is not None:
            chosen = ids_where(index, condition)
        deleted = index.delete(chosen)
        index.commit()
        left = len(index)
    if as_json:
        print_json({"deleted": deleted, "documents": left})
    else:
        click.echo(f"{folder}: {deleted} deleted, {left} documents left")
    if document_ids and deleted < len(set(document_ids)):
        click.echo("Warning: some of the ids are not in the index.", err=True)
    if source is not None and not deleted:
        click.echo(
            f"Warning: no document is from {source!r}; `info --sources` lists them.", err=True
        )


def _condition(where: str) -> dict[str, Any]:
    """Read a filter; an empty one would delete everything."""
    import json

    try:
        condition = json.loads(where)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--where must be JSON: {error}.") from error
    if not isinstance(condition, dict) or not condition:
        raise click.UsageError("--where must be a JSON object with a condition, got none.")
    return condition


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
