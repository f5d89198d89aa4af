"""The commands that make and change an index."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.common import (
    INTERRUPTED,
    batch_tokens_option,
    codes_option,
    dim_option,
    encoder_for,
    folder_type,
    given_options,
    id_field_option,
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
from pocket_colbert.errors import (
    IndexExistsError,
    InvalidInputError,
    TruncationWarning,
)

if TYPE_CHECKING:
    from pocket_colbert.config import IndexConfig
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.stats import IndexInfo
    from pocket_colbert.model.encoder import Encoder


@click.command()
@click.argument("paths", nargs=-1, required=True, type=path_type)
@click.option("--into", required=True, type=folder_type, metavar="DIR", help="Index folder.")
@click.option("--overwrite", is_flag=True, help="Replace the index in DIR when all went well.")
@click.option(
    "--keep-missing", is_flag=True, help="Keep documents that PATHS do not have any more."
)
@click.option(
    "--moved-from", metavar="SOURCE", default=None,
    help="What the index calls the place that its documents of PATH were at before they moved.",
)  # fmt: skip
@click.option("--id-prefix", default="", metavar="TEXT", help="Put TEXT in front of all ids.")
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
    help="Drop the N tokens that are the most frequent in PATHS.",
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
    """Index PATHS: files and folders of text, Markdown, HTML, .jsonl and .jsonl.gz.

    An index that is in DIR already is brought up to date: what is new or has changed is encoded,
    what PATHS do not have any more is deleted, and documents of other paths stay. Interrupted,
    it goes on where it was when it is called again.
    """
    from pocket_colbert.config import IndexConfig, Pruning, Splitting
    from pocket_colbert.evaluation.tuning import frequent_ids
    from pocket_colbert.index.index import Index
    from pocket_colbert.ingest.incremental import sync
    from pocket_colbert.ingest.readers import Fields, read_sources, text_to_encode
    from pocket_colbert.retriever import Retriever
    from pocket_colbert.source_paths import source_name

    names = Fields(id_field, text_field, title_field)
    documents = partial(read_sources, paths, into, names, id_prefix=id_prefix)
    exists = _is_there(into)
    update = exists and not overwrite
    if moved_from is not None and (not update or len(paths) > 1):
        raise click.UsageError("--moved-from goes with one PATH and an index that is there.")
    if update and dim is None:
        with Index.load(into) as there:
            encoder = encoder_for(there.config, model, threads, provider, batch_tokens)
    else:
        encoder = load_encoder(model, threads, provider, dim, batch_tokens)
    note_batches(encoder)
    warnings.simplefilter("ignore", TruncationWarning)  # counted, and said at the end
    pruning = Pruning(pool_factor=pool_factor, keep=keep, max_tokens=max_tokens)
    if drop_frequent and not update:
        texts = map(text_to_encode, documents())
        pruning = replace(pruning, skiplist_ids=frequent_ids(encoder, texts, drop_frequent))
    config = IndexConfig(
        dim=encoder.dim,
        codes=codes,
        pruning=pruning,
        splitting=Splitting(max_tokens=passage_tokens, overlap=passage_overlap),
        keywords=keywords,
        inverted_file=inverted_file,
        model=encoder.card.fingerprint,
    )
    sources = [source_name(path, into) for path in paths]
    with _target(into, encoder, overwrite, config, given_options(context)) as target:
        retriever = Retriever(encoder, target)
        if moved_from is not None and not target.change_source(moved_from, sources[0]):
            raise InvalidInputError(
                f"no document in {into} is from {moved_from!r}; leave --moved-from out."
            )
        with progress_bar("Indexing", None, as_json) as advance:
            try:
                report = sync(
                    retriever, documents(), sources, keep_missing=keep_missing, progress=advance
                )
            except KeyboardInterrupt:
                target.commit()
                again = "call it again to go on" + " without --overwrite" * overwrite
                again = "nothing is kept" if exists and overwrite else again
                click.echo(f"Interrupted after {len(target)} documents; {again}.", err=True)
                raise SystemExit(INTERRUPTED) from None
        info = target.info()
    if as_json:
        print_json({"index": str(into), **asdict(report), **_info_json(info)})
    else:
        size = readable_size(sum(info.bytes.values()))
        click.echo(f"{into}: {info.documents} documents, {info.tokens} tokens, {size}")
        if update:
            click.echo(
                f"  {report.added} added, {report.changed} changed, {report.unchanged} unchanged, "
                f"{report.deleted} deleted"
            )
    if encoder.truncated:
        click.echo(
            f"Warning: {encoder.truncated} passages did not fit the model's window of "
            f"{encoder.config.document_length} tokens; what comes after it cannot be found.",
            err=True,
        )


@click.command()
@click.argument("folder", type=folder_type)
@json_option
def info(folder: Path, as_json: bool) -> None:
    """Say what the index FOLDER holds and what that takes."""
    from pocket_colbert.index.index import Index

    with Index.load(folder) as opened:
        found = opened.info()
    if as_json:
        print_json(_info_json(found))
        return
    gone = f" and {found.deleted} deleted ones" if found.deleted else ""
    click.echo(
        f"{folder}: {found.documents} documents{gone}, {found.passages} passages, "
        f"{found.tokens} token vectors"
    )
    click.echo(
        f"  {found.dim} dimensions as {found.codes}, {found.segments} segments, "
        f"pruning: {_pruning(found.pruning)}"
    )
    total = sum(found.bytes.values())
    for name, size in found.bytes.items():
        each = size / max(found.tokens, 1)
        click.echo(f"  {name:13} {readable_size(size):>10}  {each:7.1f} bytes a token vector")
    click.echo(f"  {'in all':13} {readable_size(total):>10}  {total / max(found.tokens, 1):7.1f}")
    click.echo(f"  {'in memory':13} {readable_size(found.memory):>10}  {'':7} the rest is mapped")


@click.command()
@click.argument("folder", type=folder_type)
@click.argument("document_ids", nargs=-1, required=True, metavar="ID...")
@json_option
def delete(folder: Path, document_ids: tuple[str, ...], as_json: bool) -> None:
    """Delete the documents ID... from the index FOLDER."""
    from pocket_colbert.index.index import Index

    with Index.load(folder, writable=True) as opened:
        deleted = opened.delete(document_ids)
        opened.commit()
        left = len(opened)
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
    """Write the index FOLDER anew without deleted documents and in as few parts as it can."""
    from pocket_colbert.index.index import Index

    with Index.load(folder, writable=True, threads=threads) as opened:
        before = sum(opened.info().bytes.values())
        opened.compact()
        found = opened.info()
    after = sum(found.bytes.values())
    if as_json:
        print_json({"bytes_before": before, **_info_json(found)})
    else:
        click.echo(
            f"{folder}: {found.documents} documents in {found.segments} segments, "
            f"{readable_size(before)} before, {readable_size(after)} now"
        )


@click.command()
@click.argument("folders", nargs=-1, required=True, type=folder_type)
@click.option("--into", "target", required=True, type=path_type, help="The new index.")
@click.option(
    "--replace", is_flag=True,
    help="Of documents with the same id, take that of the last index; otherwise it is an error.",
)  # fmt: skip
@json_option
def merge(folders: Sequence[Path], target: Path, replace: bool, as_json: bool) -> None:
    """Write one index of all documents of the indexes FOLDERS, which stay as they are."""
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex

    with MultiIndex.load(folders, replacing=replace) as joined:
        joined.save(target)
    with Index.load(target) as made:
        found = made.info()
    if as_json:
        print_json(_info_json(found))
    else:
        click.echo(
            f"{target}: {found.documents} documents in {found.segments} segments, "
            f"{readable_size(sum(found.bytes.values()))}"
        )


@click.command()
@click.argument("folder", type=folder_type)
@json_option
@click.pass_context
def check(context: click.Context, folder: Path, as_json: bool) -> None:
    """Read the whole index FOLDER and name what is damaged; exit code 1 if anything is."""
    from pocket_colbert.index.integrity import check_index

    problems = check_index(folder)
    if as_json:
        print_json({"index": str(folder), "problems": problems})
    else:
        for problem in problems:
            click.echo(problem)
        click.echo(f"{folder}: {len(problems) or 'no'} problem{'s' * (len(problems) != 1)} found")
    context.exit(1 if problems else 0)


def _is_there(into: Path) -> bool:
    """Say whether there is an index at a path; anything but that or nothing is an error."""
    from pocket_colbert.index.directory import is_index

    if is_index(into):
        return True
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise IndexExistsError(f"{into} already exists and is not an index.")
    return False


@contextmanager
def _target(
    into: Path, encoder: Encoder, overwrite: bool, config: IndexConfig, given: Mapping[str, Any]
) -> Iterator[Index]:
    """Open or make the index to write to.

    One that replaces another takes its place when all went well. One that is new is removed again
    if nothing has been committed to it.
    """
    from pocket_colbert.index.directory import replacement
    from pocket_colbert.index.index import Index

    if _is_there(into) and overwrite:
        with replacement(into) as place:
            with Index.create(place, config, threads=encoder.threads) as created:
                yield created
        return
    if _is_there(into):
        with Index.load(into, writable=True, threads=encoder.threads) as opened:
            _check_settings(opened.config, given)
            yield opened
        return
    created = Index.create(into, config, threads=encoder.threads)
    try:
        with created:
            yield created
    except BaseException:
        if created.generation == 0:
            shutil.rmtree(into, ignore_errors=True)
        raise


def _check_settings(found: IndexConfig, given: Mapping[str, Any]) -> None:
    """Refuse options that the index was not made with."""
    values = {
        "dim": found.dim,
        "codes": found.codes,
        "keywords": found.keywords,
        "inverted_file": found.inverted_file,
        "pool_factor": found.pruning.pool_factor,
        "keep": found.pruning.keep,
        "max_tokens": found.pruning.max_tokens,
        "drop_frequent": len(found.pruning.skiplist_ids),
        "passage_tokens": found.splitting.max_tokens,
        "passage_overlap": found.splitting.overlap,
    }
    for name, value in values.items():
        if name in given and given[name] != value:
            option = "--" + name.replace("_", "-")
            raise InvalidInputError(
                f"the index was made with {option} {value}, got {given[name]}; leave the option "
                "out, or pass --overwrite to make the index anew."
            )


def _pruning(pruning: Any) -> str:
    """Name the settings of a pruning that are not the default ones."""
    changed = [
        f"{item.name} {len(value) if isinstance(value, tuple) else f'{value:g}'}"
        for item in fields(pruning)
        for value in [getattr(pruning, item.name)]
        if value != item.default
    ]
    return ", ".join(changed) or "none"


def _info_json(found: IndexInfo) -> dict[str, Any]:
    values = asdict(found)
    values["bytes_per_token"] = {
        name: size / max(found.tokens, 1) for name, size in found.bytes.items()
    }
    return values
