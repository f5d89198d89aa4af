"""The command that writes a site which searches in the reader's browser."""

from __future__ import annotations

import tempfile
import warnings
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pocket_colbert.cli.common import (
    codes_option,
    encoder_for,
    given_options,
    json_option,
    load_encoder,
    model_option,
    path_type,
    print_json,
    readable_size,
    threads_option,
)
from pocket_colbert.cli.index_report import print_left_out
from pocket_colbert.cli.progress import progress_bar
from pocket_colbert.errors import LanguageWarning, TruncationWarning

_MODEL = "tiny"
"""A visitor fetches the model: 7 MB rather than 20."""


@click.command()
@click.argument("source", type=path_type, metavar="PATH_OR_INDEX")
@click.option("--into", required=True, type=path_type, metavar="FOLDER", help="Folder of the site.")
@click.option("--title", default="Search", show_default=True, help="Title of the page.")
@codes_option
@click.option(
    "--pool-factor", type=click.FloatRange(min=1), default=2.0, show_default=True,
    help="Average number of a document's token vectors that are merged into one.",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Name everything that is left out.")
@model_option
@threads_option
@json_option
@click.pass_context
def site(
    context: click.Context,
    source: Path,
    into: Path,
    title: str,
    codes: Any,
    pool_factor: float,
    verbose: bool,
    model: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Write a static site that searches in the reader's browser.

    \b
    Examples:
      pocket-colbert site docs --into public --title "Our documentation"
      pocket-colbert site my.index --into public

    PATH_OR_INDEX is a file or folder of documents, or an index, which keeps its codes and its
    model. Any server of static files can serve FOLDER, below any path; queries never leave the
    browser. Given an existing site, only what has changed is written.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.index.index import Index
    from pocket_colbert.ingest.indexing import IndexOptions, index_files
    from pocket_colbert.site.writer import write_site

    for category in (LanguageWarning, TruncationWarning):
        warnings.simplefilter("ignore", category)
    with ExitStack() as opened:
        if is_index(source):
            fixed = {"codes", "pool_factor"} & given_options(context).keys()
            if fixed:
                raise click.UsageError(
                    f"{source} is an index, which was made with codes and a pool factor; leave "
                    "the options out, or give the documents themselves."
                )
            index = opened.enter_context(Index.load(source, threads=threads))
            encoder = encoder_for(index.config, model, threads, "cpu")
        else:
            encoder = load_encoder(model or _MODEL, threads, "cpu")
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory())) / "site.index"
            options = IndexOptions(codes=codes, pool_factor=pool_factor, inverted_file="never")
            with progress_bar("Indexing", None, as_json) as advance:
                made = index_files(
                    [source], folder, encoder=encoder, options=options, progress=advance
                )
            print_left_out(made.left_out, made.notes, verbose=verbose)
            index = opened.enter_context(Index.load(folder))
        report = write_site(index, into, encoder=encoder, title=title)
    if as_json:
        print_json(asdict(report) | {"folder": str(report.folder)})
        return
    click.echo(
        f"{report.folder}: {report.documents} documents in {report.passages} passages, "
        f"{readable_size(report.bytes)}, of which {readable_size(report.written)} are new"
    )
    click.echo(
        f"A visitor fetches the model ({readable_size(report.model)}) and the runtime "
        f"({readable_size(report.runtime)}) once. Try it: python -m http.server -d {into}"
    )
