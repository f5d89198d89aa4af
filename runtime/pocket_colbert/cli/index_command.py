"""The command that makes indexes and brings them up to date."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.command_group import Interrupted, Terminated
from pocket_colbert.cli.common import (
    batch_tokens_option,
    candidates_option,
    codes_option,
    dim_option,
    encoder_for,
    given_options,
    id_field_option,
    index_config,
    input_type,
    into_option,
    inverted_file_option,
    is_standard_input,
    json_option,
    keep_option,
    keywords_option,
    load_encoder,
    max_tokens_option,
    model_option,
    note_batches,
    passage_overlap_option,
    passage_tokens_option,
    pool_option,
    provider_option,
    quiet_option,
    standard_input,
    text_field_option,
    threads_option,
    title_field_option,
)
from pocket_colbert.cli.index_report import print_preview, print_report
from pocket_colbert.cli.progress import Update, is_shown, progress_bar
from pocket_colbert.errors import LanguageWarning, TruncationWarning

if TYPE_CHECKING:
    from pocket_colbert.ingest.readers import Reading
    from pocket_colbert.ingest.rows import Fields
    from pocket_colbert.types import Document

_OPTIONS = {
    "codes", "keywords", "inverted_file", "candidates", "pool_factor", "keep", "max_tokens",
    "drop_frequent", "passage_tokens", "passage_overlap",
}  # fmt: skip
"""Options that are fixed when an index is made."""


@click.command()
@click.argument("paths", nargs=-1, required=True, type=input_type)
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
    "--strict", is_flag=True, help="Stop at the first file that cannot be read, as at an error."
)
@click.option(
    "-n", "--dry-run", is_flag=True,
    help="Say what would be read, left out and deleted, and change nothing.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Name everything that is left out.")
@quiet_option
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
    dry_run: bool,
    verbose: bool,
    quiet: bool,
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

    \b
    Examples:
      pocket-colbert index notes papers.jsonl --into my.index
      pocket-colbert index docs --into docs.index --exclude drafts/ --dry-run

    PATHS are files and folders of text, Markdown, HTML, source code, manual pages, notebooks,
    e-mail, JSON, tables and more; with pocket-colbert[files] also PDF, Office files and books. A
    PATH of - reads standard input, a text a line or JSON lines. If DIR has an index already, new
    and changed documents are encoded, documents that PATHS no longer have are deleted, and
    documents from other paths stay. A file that cannot be read is named at the end. After an
    interruption, the same command continues where it stopped.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.ingest.folder_walk import FileRules
    from pocket_colbert.ingest.indexing import IndexOptions, index_files
    from pocket_colbert.ingest.preview import preview_files
    from pocket_colbert.ingest.readers import Reading
    from pocket_colbert.ingest.rows import Fields

    exists = is_index(into)
    if moved_from is not None and (len(paths) > 1 or not exists or overwrite or dry_run):
        raise click.UsageError("--moved-from needs one PATH and an existing index.")
    given = given_options(context)
    fields = Fields(id_field, text_field, title_field)
    rules = FileRules(include=include, exclude=exclude, ignored=no_ignore, hidden=hidden)
    reading = Reading(fields, rules, strict=strict)
    files, documents = _inputs(paths, fields, drop_frequent)
    if dry_run:
        with progress_bar("Reading", None, quiet or as_json) as advance:
            preview = preview_files(
                files, into, reading=reading, documents=documents, id_prefix=id_prefix,
                keep_missing=keep_missing, overwrite=overwrite, progress=advance,
            )  # fmt: skip
        print_preview(preview, as_json, verbose=verbose, quiet=quiet)
        return
    if exists and not overwrite and dim is None:
        encoder = encoder_for(index_config(into), model, threads, provider, batch_tokens)
    else:
        encoder = load_encoder(model, threads, provider, dim, batch_tokens)
    note_batches(encoder)
    for category in (LanguageWarning, TruncationWarning):
        warnings.simplefilter("ignore", category)  # counted, and reported at the end
    with progress_bar("Indexing", None, quiet or as_json) as advance, _ended_by_term() as ended:
        try:
            _count(files, Reading(fields, rules), advance)
            report = index_files(
                files, into, encoder=encoder,
                options=IndexOptions(**{name: given[name] for name in _OPTIONS & given.keys()}),
                fields=fields, id_prefix=id_prefix, rules=rules, strict=strict,
                keep_missing=keep_missing, overwrite=overwrite, moved_from=moved_from,
                documents=documents, progress=advance,
            )  # fmt: skip
        except KeyboardInterrupt:
            message = _after_interrupt(into, exists, overwrite)
            raise (Terminated if ended else Interrupted)(message) from None
    print_report(report, encoder, as_json, verbose=verbose, quiet=quiet)


def _inputs(
    paths: Sequence[Path], fields: Fields, drop_frequent: int
) -> tuple[list[Path], Iterable[Document]]:
    """Return the files and folders, and the documents of standard input if that is named."""
    from pocket_colbert.ingest.standard_input import read_standard_input

    files = [path for path in paths if not is_standard_input(path)]
    if len(files) == len(paths):
        return files, ()
    if drop_frequent:
        raise click.UsageError(
            "--drop-frequent reads documents twice, and standard input can be read once."
        )
    return files, read_standard_input(standard_input(), fields)


def _count(files: Sequence[Path], reading: Reading, advance: Update) -> None:
    """Tell a progress bar about how many documents there are, where one is shown."""
    from pocket_colbert.ingest.readers import count_documents

    if files and is_shown(advance):
        advance(0, sum(count_documents(path, reading) for path in files))


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
