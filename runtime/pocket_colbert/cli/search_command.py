"""The command that searches."""

from __future__ import annotations

import os
import shlex
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pocket_colbert.cli.command_group import NOTHING_FOUND, Interrupted
from pocket_colbert.cli.common import (
    also_option,
    api_key_option,
    encoder_for,
    incomplete_option,
    is_standard_input,
    load_encoder,
    model_option,
    open_source,
    provider_option,
    searched_type,
    standard_input,
    threads_option,
)
from pocket_colbert.cli.hit_lines import print_hits, print_json_lines, print_paths, shown_hits
from pocket_colbert.cli.hit_places import Places
from pocket_colbert.cli.progress import is_shown, progress_bar
from pocket_colbert.cli.terminal import Screen, color_option
from pocket_colbert.cli.where_option import filter_of, where_option
from pocket_colbert.config import HYBRID, MODES
from pocket_colbert.errors import (
    CorpusError,
    IndexFormatError,
    IndexNotFoundError,
    LanguageWarning,
    TruncationWarning,
)

if TYPE_CHECKING:
    from pocket_colbert.retriever import Retriever

_LONGEST_QUERY = 1_000_000


@click.command()
@click.argument("source", type=searched_type, metavar="PATH_OR_ADDRESS")
@click.argument("query")
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Most hits to print.",
)
@where_option("Search only")
@click.option(
    "--min-relevance", type=click.FloatRange(0, 1), default=None, metavar="NUMBER",
    help="Leave out hits that are less likely to be right, from 0 to 1.",
)  # fmt: skip
@click.option(
    "-l", "--files-with-matches", "paths_only", is_flag=True, help="Print paths alone, each once."
)
@click.option(
    "-C", "--context", type=click.IntRange(min=0), default=None, metavar="N",
    help="Print the lines that match whole, and N lines around them.",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Show what each word of the query matched.")
@click.option("--json", "as_json", is_flag=True, help="Print each hit as JSON on a line.")
@click.option(
    "-q", "--quiet", is_flag=True, help="Print no hits; the exit status says whether there are any."
)
@color_option
@click.option(
    "--mode", type=click.Choice(MODES), default="auto", show_default=True,
    help="Score all documents, or only candidates.",
)  # fmt: skip
@click.option(
    "--hybrid", type=click.Choice(HYBRID), default="auto", show_default=True,
    help="Rank by MaxSim and keywords (BM25), or by keywords alone. auto takes keywords in for "
    "languages that the model was not made for.",
)  # fmt: skip
@also_option("Search this index as part of the first")
@incomplete_option
@api_key_option
@model_option
@threads_option
@provider_option
@click.pass_context
def search(
    ctx: click.Context,
    source: str,
    query: str,
    k: int,
    conditions: Sequence[str],
    min_relevance: float | None,
    paths_only: bool,
    context: int | None,
    explain: bool,
    as_json: bool,
    quiet: bool,
    color: str,
    mode: Any,
    hybrid: Any,
    also: Sequence[Path],
    incomplete: bool,
    api_key: str | None,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Search a folder, a file, an index or a backend.

    \b
    Examples:
      pocket-colbert search notes "who pays for the roof?"
      git log --oneline | pocket-colbert search - "fix of the login" -k 3

    A folder or file that has no index gets one in the cache, which later searches keep up to date
    (see `pocket-colbert cache`). Addresses are those that `push` writes to. A PATH of - reads
    documents from standard input, a text a line or JSON lines; a QUERY of - reads the question.

    The exit status is 0 if there are hits, 1 if there are none, and 2 after an error.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.checks import check_query
    from pocket_colbert.config import SearchParameters

    condition = filter_of(conditions)
    parameters = SearchParameters(mode=mode, hybrid=hybrid)
    asked_for = _query(source, query)
    check_query(asked_for)  # before anything is indexed
    screen = Screen.of(color)
    opening = _Opening(also, incomplete, api_key, model, threads, provider, quiet or as_json)
    with opening.searched(source) as (retriever, places):
        asked = retriever.encoder.query(asked_for)
        hits = retriever.retrieve(
            [asked], k, parameters=parameters, where=condition, min_relevance=min_relevance
        )[0]
        if hits and not quiet:
            shown = shown_hits(
                retriever, asked, hits, places, screen, explain=explain, as_json=as_json
            )
            if as_json:
                print_json_lines(shown, retriever.ranked_by(asked, parameters))
            elif paths_only:
                print_paths(shown)
            else:
                print_hits(shown, screen, context)
    if not hits:
        if not quiet:
            _say_nothing_found(min_relevance)
        ctx.exit(NOTHING_FOUND)


def _query(source: str, query: str) -> str:
    """Return the question, which may come from standard input."""
    if query != "-":
        return query
    if is_standard_input(source):
        raise click.UsageError("only one of PATH and QUERY can be read from standard input.")
    content = standard_input().read(_LONGEST_QUERY)
    try:
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise CorpusError(f"standard input is not UTF-8 (byte {error.start}).") from error


def _say_nothing_found(min_relevance: float | None) -> None:
    """Say that there is no answer, which is one too."""
    if min_relevance:
        click.echo(f"No hits that are at least {min_relevance:.0%} likely to be right.", err=True)
    else:
        click.echo("No hits.", err=True)


class _Opening(NamedTuple):
    """How what is searched is opened; the options of that name."""

    also: Sequence[Path]
    incomplete: bool
    api_key: str | None
    model: str | None
    threads: int | None
    provider: str
    quiet: bool

    @contextmanager
    def searched(self, source: str) -> Iterator[tuple[Retriever, Places]]:
        """Open what is searched."""
        from pocket_colbert.backends.address import is_address
        from pocket_colbert.index.directory import is_index
        from pocket_colbert.retriever import Retriever
        from pocket_colbert.storage.manifest import MANIFEST_FILE

        if is_standard_input(source):
            self._refuse_also("standard input")
            yield self._given(), Places()
            return
        path = Path(source)
        if not is_address(source) and not os.path.lexists(path):
            raise IndexNotFoundError(f"there is no index, file or folder at {source}.")
        # A manifest that is no file is of an index, too, which then says what is wrong with it.
        odd = (path / MANIFEST_FILE).exists() and not (path / MANIFEST_FILE).is_file()
        if is_address(source) or is_index(path) or odd:
            with open_source(
                source, self.also, self.threads, self.api_key, self.incomplete
            ) as opened:
                encoder = encoder_for(opened.config, self.model, self.threads, self.provider)
                yield Retriever(encoder, opened), Places(opened)
            return
        self._refuse_also(source)
        with self._cached(path) as retriever:
            yield retriever, Places(typed=source)

    def _refuse_also(self, source: str) -> None:
        if self.also:
            raise click.UsageError(
                f"--also joins indexes, and {source} is none; make one with `index` first."
            )

    def _given(self) -> Retriever:
        """Index what standard input gives, in memory."""
        from pocket_colbert.index.index import Index
        from pocket_colbert.ingest.indexing import IndexOptions
        from pocket_colbert.ingest.standard_input import read_standard_input
        from pocket_colbert.retriever import Retriever

        documents = list(read_standard_input(standard_input()))
        encoder = load_encoder(self.model, self.threads, self.provider)
        config = IndexOptions().config(dim=encoder.dim, model=encoder.card.fingerprint)
        retriever = Retriever(encoder, Index(encoder.dim, config=config, threads=self.threads))
        with _quiet_texts(), progress_bar("Reading", len(documents), self.quiet) as update:
            retriever.add(documents, progress=lambda done, _: update(done))
        return retriever

    @contextmanager
    def _cached(self, path: Path) -> Iterator[Retriever]:
        """Open the index of a folder or file in the cache, up to date."""
        from pocket_colbert.ingest.cached_index import open_cached
        from pocket_colbert.ingest.left_out import summary
        from pocket_colbert.ingest.readers import Reading, count_documents
        from pocket_colbert.retriever import Retriever

        encoder = load_encoder(self.model, self.threads, self.provider)
        with _quiet_texts(), progress_bar("Indexing", None, self.quiet) as update:

            def starting(new: bool) -> None:
                if new and not self.quiet:
                    click.echo(_NEW.format(path=path, quoted=shlex.quote(str(path))), err=True)
                if is_shown(update):
                    update(0, count_documents(path, Reading()))

            def waiting() -> None:
                click.echo(f"Waiting for another process that indexes {path}.", err=True)

            try:
                opened = open_cached(
                    path, encoder, starting=starting, waiting=waiting, progress=update
                )
            except KeyboardInterrupt:
                raise Interrupted(
                    "Interrupted; the same search continues where this one stopped."
                ) from None
        with opened.index as index:
            changes = opened.changes
            if changes is not None and not self.quiet:
                counts = {
                    "added": changes.added, "changed": changes.changed, "deleted": changes.deleted
                }  # fmt: skip
                said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
                if said:
                    click.echo(f"Indexed {path}: {said}.", err=True)
                if opened.made and opened.left_out:
                    click.echo(f"{summary(opened.left_out)}.", err=True)
            try:
                yield Retriever(encoder, index)
            except IndexFormatError as error:
                raise IndexFormatError(
                    f"{error} It is in the cache: pocket-colbert cache --clear deletes it."
                ) from error


_NEW = (
    "{path} has no index; one is made in the cache, which `pocket-colbert cache` lists. "
    "To keep one of your own: pocket-colbert index {quoted} --into DIR."
)


@contextmanager
def _quiet_texts() -> Iterator[None]:
    """Say nothing of texts in other languages, or too long for the model; queries are another."""
    with warnings.catch_warnings():
        for category in (LanguageWarning, TruncationWarning):
            warnings.simplefilter("ignore", category)
        yield
