"""What the commands share: options, progress bars, output."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.config import CODES, DEFAULT_CODES, INVERTED_FILE
from pocket_colbert.errors import PocketColbertError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pocket_colbert.config import IndexConfig
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex
    from pocket_colbert.model.encoder import Encoder

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended, as shells have it."""

Update = Callable[..., None]
"""Called with the number of items done and, if it has changed, the number of all."""


def complete_model(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the bundled models and, for models of one's own, folders."""
    from click.shell_completion import CompletionItem

    from pocket_colbert.model.folder import bundled_models

    names = [CompletionItem(name) for name in bundled_models() if name.startswith(incomplete)]
    # Folders first: click's script for bash forgets what stood before them.
    return [CompletionItem(incomplete, type="dir"), *names]


class CommandGroup(click.Group):
    """Turns every expected failure into one line on stderr and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        if isinstance(sys.stdout, io.TextIOWrapper):  # escapes, as stderr has
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                return super().invoke(ctx)
        except PocketColbertError as error:
            raise click.ClickException(printable(str(error))) from error
        except BrokenPipeError:
            # The reader of our output has gone: there is nobody left to tell.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            raise SystemExit(1) from None
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            raise click.ClickException(printable(f"{error.strerror or error}{place}.")) from error


def _show_warning(message: Warning | str, *details: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


class _Path(click.Path):
    """A path, which the empty text is not: elsewhere it would stand for the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail('a path must not be empty; "." is the current folder.', param, ctx)
        return super().convert(value, param, ctx)


class _Folder(_Path):
    """A path that shells complete to folders; whether it is one, whoever opens it says."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="dir")]


path_type = _Path(path_type=Path)
folder_type = _Folder(path_type=Path)
source_type = _Folder()  # an index folder, or what no path need be
model_option = click.option(
    "-m", "--model", default=None, metavar="MODEL", shell_complete=complete_model,
    help="Model folder, bundled name or hub id.  [default: the bundled model]",
)  # fmt: skip
threads_option = click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Threads.  [default: all cores]"
)
provider_option = click.option(
    "--provider", default="cpu", show_default=True, help="onnxruntime execution provider."
)
batch_tokens_option = click.option(
    "--batch-tokens", type=click.IntRange(min=1), default=None, metavar="N",
    help="Tokens that a GPU encodes at a time, padding included.  [default: 16384]",
)  # fmt: skip
id_field_option = click.option(
    "--id-field",
    default="_id",
    show_default=True,
    help='Key of the id in JSON lines; "" for file name and line number.',
)
text_field_option = click.option(
    "--text-field", default="text", show_default=True, help="Key of the text."
)
title_field_option = click.option(
    "--title-field", default="title", show_default=True, help="Key of the title."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
pool_option = click.option(
    "--pool-factor", type=click.FloatRange(min=1), default=1.0, show_default=True,
    help="Token vectors of a document that become one on average.",
)  # fmt: skip
keep_option = click.option(
    "--keep", type=click.FloatRange(min=0, max=1, min_open=True), default=1.0, show_default=True,
    help="Share of the token vectors that stays, the most important ones.",
)  # fmt: skip
max_tokens_option = click.option(
    "--max-tokens", type=click.IntRange(min=1), default=None,
    help="Token vectors of a passage that stay at most.  [default: any number]",
)  # fmt: skip
passage_tokens_option = click.option(
    "--passage-tokens", type=click.IntRange(min=1), default=None,
    help="Tokens of a passage at most, markers included.  [default: the model's window]",
)  # fmt: skip
passage_overlap_option = click.option(
    "--passage-overlap", type=click.IntRange(min=0), default=32, show_default=True,
    help="Tokens that neighbouring passages share, at most half a passage.",
)  # fmt: skip
keywords_option = click.option(
    "--keywords", type=click.Choice(["english", "words", "trigrams", "none"]), default="english",
    show_default=True, help="What counts as a word in keyword search; trigrams are for languages "
    "without spaces and find no word of fewer than three characters.",
)  # fmt: skip
inverted_file_option = click.option(
    "--inverted-file", type=click.Choice(INVERTED_FILE), default="auto",
    show_default=True,
    help="Prepare approximate search; auto does for half a million token vectors.",
)  # fmt: skip
codes_option = click.option(
    "--codes", type=click.Choice(CODES), default=DEFAULT_CODES,
    show_default=True, help="Bits a component of a token vector is stored in.",
)  # fmt: skip
incomplete_option = click.option(
    "--incomplete", is_flag=True,
    help="Search a store although a push to it has not come to its end.",
)  # fmt: skip
api_key_option = click.option(
    "--api-key", envvar="QDRANT_API_KEY", show_envvar=True, metavar="TEXT",
    help="Of a Qdrant server.",
)  # fmt: skip
dim_option = click.option(
    "--dim", type=int, help="Components of a token vector to keep, of a model trained for it; "
    "see the model's card.  [default: all]",
)  # fmt: skip


def given_options(context: click.Context) -> dict[str, Any]:
    """Return the parameters that stand on the command line, by name."""
    return {
        name: value for name, value in context.params.items()
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    }  # fmt: skip


def also_option(what: str) -> Callable[[Any], Any]:
    """Return the option that names further indexes; `what` says what is done with each."""
    return click.option(
        "--also", type=folder_type, multiple=True, metavar="FOLDER", help=f"{what}; repeatable."
    )


def load_encoder(
    model: str | None,
    threads: int | None,
    provider: str,
    dim: int | None = None,
    batch_tokens: int | None = None,
) -> Encoder:
    """Load the model named, or the bundled one."""
    from pocket_colbert.model.encoder import Encoder
    from pocket_colbert.model.folder import DEFAULT_MODEL
    from pocket_colbert.model.pipeline import BATCH_TOKENS

    return Encoder.load(
        model or DEFAULT_MODEL,
        threads=threads,
        provider=provider,
        batch_tokens=batch_tokens or BATCH_TOKENS,
        dim=dim,
    )


def encoder_for(
    config: IndexConfig,
    model: str | None,
    threads: int | None,
    provider: str,
    batch_tokens: int | None = None,
) -> Encoder:
    """Load the model named, or the bundled one that an index was made with, cut to its width."""
    from pocket_colbert.model.encoder import Encoder
    from pocket_colbert.model.pipeline import BATCH_TOKENS

    return Encoder.for_index(
        config,
        model,
        threads=threads,
        provider=provider,
        batch_tokens=batch_tokens or BATCH_TOKENS,
    )


def note_batches(encoder: Encoder) -> None:
    """Say on stderr when a GPU is asked for what it is slow at."""
    from pocket_colbert.vectors.providers import is_gpu

    if encoder.batch_size == 1 and is_gpu(encoder.provider):
        click.echo(
            f"Note: {encoder.card.precision} graphs encode one text at a time, which a GPU is slow "
            "at; take a model exported with --precision fp16.",
            err=True,
        )


def open_indexes(
    folder: str | Path, also: Sequence[Path], threads: int | None = None
) -> Index | MultiIndex:
    """Open an index folder, or several as one."""
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex

    if also:
        return MultiIndex.load([folder, *also], threads=threads)
    return Index.load(folder, threads=threads)


@contextmanager
def progress_bar(label: str, total: int | None, quiet: bool) -> Iterator[Update]:
    """Show a bar on a terminal, and nothing in a pipe or beside JSON."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    with Progress(
        "{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task(label, total=total)
        yield lambda done, total=total: bar.update(task, completed=done, total=total)


def print_json(values: Any) -> None:
    """Print JSON for people and programs."""
    whole = str(getattr(sys.stdout, "encoding", None)).lower().startswith("utf")
    click.echo(json.dumps(values, ensure_ascii=not whole, indent=1))


def printable(text: str) -> str:
    """Return a text without the control characters that terminals obey; lines and tabs stay."""
    return _CONTROLS.sub("", text)


def readable_size(count: float) -> str:
    """Return a number of bytes with a unit, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
