"""What the commands share: options, loading, progress bars, output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pocket_colbert.config import (
    CANDIDATE_SOURCES,
    CODES,
    DEFAULT_CODES,
    INVERTED_FILE,
    KEYWORDS,
)
from pocket_colbert.errors import CorpusError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from pocket_colbert.backends.remote import RemoteBackend
    from pocket_colbert.config import IndexConfig
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex
    from pocket_colbert.index.stats import IndexInfo
    from pocket_colbert.model.encoder import Encoder


def complete_model(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the bundled models, and folders for other models."""
    from click.shell_completion import CompletionItem

    from pocket_colbert.model.folder import bundled_models

    names = [CompletionItem(name) for name in bundled_models() if name.startswith(incomplete)]
    # Folders first: click's script for bash forgets what comes before them.
    return [CompletionItem(incomplete, type="dir"), *names]


class _Path(click.Path):
    """A path that is not empty: an empty one would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.fspath(value):
            self.fail('a path must not be empty; "." is the current folder.', param, ctx)
        return super().convert(value, param, ctx)


class _Folder(_Path):
    """A path that shells complete to folders; the command checks whether it is one."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="dir")]


class _Input(_Path):
    """A path, or "-" for standard input; "./-" is a file of that name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(super().convert(value, param, ctx))
        return path.absolute() if is_standard_input(path) and value != "-" else path


def is_standard_input(path: str | Path) -> bool:
    """Return whether an argument of `input_type` stands for standard input."""
    return os.fspath(path) == "-"


def standard_input() -> BinaryIO:
    """Return standard input, as bytes."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed.")
    return sys.stdin.buffer


path_type = _Path(path_type=Path)
input_type = _Input(path_type=Path)
folder_type = _Folder(path_type=Path)
source_type = _Folder()  # an index folder, or an address
searched_type = _Path()  # a file or folder, an address, or standard input

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
verbose_option = click.option("-v", "--verbose", is_flag=True, help="Say more on standard error.")
into_option = click.option(
    "--into", required=True, type=folder_type, metavar="DIR", help="Folder of the index."
)
split_option = click.option(
    "--split", default=None, metavar="NAME",
    help="Relevance judgements to use.  [default: test, or the only ones]",
)  # fmt: skip

# The model and where it runs.
model_option = click.option(
    "-m", "--model", default=None, metavar="MODEL", shell_complete=complete_model,
    help="Model folder, name of a bundled model, or hub id.  [default: a bundled model]",
)  # fmt: skip
threads_option = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Threads.  [default: all cores]",
)
provider_option = click.option(
    "--provider", default="cpu", show_default=True, help="onnxruntime execution provider."
)
batch_tokens_option = click.option(
    "--batch-tokens", type=click.IntRange(min=1), default=None, metavar="N",
    help="Tokens that a GPU encodes at a time, padding included.  [default: 16384]",
)  # fmt: skip
dim_option = click.option(
    "--dim", type=int, metavar="N",
    help="Keep the first N components of each token vector, for models trained for that "
    "(Matryoshka).  [default: all]",
)  # fmt: skip

# What documents are read from.
id_field_option = click.option(
    "--id-field", default="_id", show_default=True, metavar="KEY",
    help='Key of the id in JSON lines; "" for file name and line number.',
)  # fmt: skip
text_field_option = click.option(
    "--text-field", default="text", show_default=True, metavar="KEY", help="Key of the text."
)
title_field_option = click.option(
    "--title-field", default="title", show_default=True, metavar="KEY", help="Key of the title."
)

# What an index stores.
pool_option = click.option(
    "--pool-factor", type=click.FloatRange(min=1), default=1.0, show_default=True,
    help="Average number of a document's token vectors that are merged into one.",
)  # fmt: skip
keep_option = click.option(
    "--keep", type=click.FloatRange(min=0, max=1, min_open=True), default=1.0, show_default=True,
    help="Share of the token vectors to keep, the most important ones.",
)  # fmt: skip
max_tokens_option = click.option(
    "--max-tokens", type=click.IntRange(min=1), default=None,
    help="Most token vectors to keep of a passage.  [default: no limit]",
)  # fmt: skip
passage_tokens_option = click.option(
    "--passage-tokens", type=click.IntRange(min=1), default=None,
    help="Most tokens in a passage, markers included.  [default: the model's window]",
)  # fmt: skip
passage_overlap_option = click.option(
    "--passage-overlap", type=click.IntRange(min=0), default=32, show_default=True,
    help="Tokens that neighboring passages share, at most half a passage.",
)  # fmt: skip
keywords_option = click.option(
    "--keywords", type=click.Choice(KEYWORDS), default="english", show_default=True,
    help="What keyword search treats as a word. Trigrams are for languages without spaces; they "
    "find no word of fewer than three characters.",
)  # fmt: skip
inverted_file_option = click.option(
    "--inverted-file", type=click.Choice(INVERTED_FILE), default="auto", show_default=True,
    help="Prepare for approximate search; auto does from half a million token vectors on.",
)  # fmt: skip
candidates_option = click.option(
    "--candidates", type=click.Choice(CANDIDATE_SOURCES), default="auto", show_default=True,
    help="What approximate search looks into: lists of passages, or a usearch graph of all token "
    "vectors, 250 bytes each; auto takes the graph where the lists of a small index find too "
    "little.",
)  # fmt: skip
codes_option = click.option(
    "--codes", type=click.Choice(CODES), default=DEFAULT_CODES, show_default=True,
    help="How a component of a token vector is stored, by its bits.",
)  # fmt: skip

# Backends on other engines.
incomplete_option = click.option(
    "--incomplete", is_flag=True, help="Search a backend even if a push to it has not finished."
)
api_key_option = click.option(
    "--api-key", envvar="QDRANT_API_KEY", show_envvar=True, metavar="KEY",
    help="API key of the Qdrant server.",
)  # fmt: skip


def given_options(context: click.Context) -> dict[str, Any]:
    """Return the parameters that are given on the command line, by name."""
    return {
        name: value for name, value in context.params.items()
        if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE
    }  # fmt: skip


def also_option(what: str) -> Callable[[Any], Any]:
    """Return the option that names more indexes; `what` says what happens to each."""
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
    """Load the named model, or the default one."""
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
    """Load the named model, or the bundled one that made an index, at the width of its vectors."""
    from pocket_colbert.model.encoder import Encoder
    from pocket_colbert.model.pipeline import BATCH_TOKENS

    return Encoder.for_index(
        config,
        model,
        threads=threads,
        provider=provider,
        batch_tokens=batch_tokens or BATCH_TOKENS,
    )


def index_config(folder: Path) -> IndexConfig:
    """Return the settings of an index without opening it."""
    from pocket_colbert.storage.manifest import Manifest

    return Manifest.load(folder).config


def note_batches(encoder: Encoder) -> None:
    """Warn on standard error if a GPU would encode one text at a time."""
    from pocket_colbert.vectors.providers import is_gpu

    if encoder.batch_size == 1 and is_gpu(encoder.provider):
        click.echo(
            f"Note: {encoder.card.precision} graphs encode one text at a time, which is slow on a "
            "GPU; use a model exported with --precision fp16.",
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


def index_beside(path: Path) -> Path:
    """Return where documents are indexed by default: beside them, with the suffix .index."""
    return Path(f"{path.resolve()}.index")


def open_source(
    source: str, also: Sequence[Path], threads: int | None, api_key: str | None, incomplete: bool
) -> Index | MultiIndex | RemoteBackend:
    """Open an index folder, several as one, or a backend."""
    from pocket_colbert.backends.address import is_address

    if is_address(source):
        if also:
            raise click.UsageError("--also joins index folders; push them to one backend instead.")
        from pocket_colbert.backends.connect import open_backend

        return open_backend(source, api_key=api_key, incomplete=incomplete)
    return open_indexes(source, also, threads)


_LINE_ENDS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}
"""What JSON need not escape, and some programs end lines at."""


def json_text(values: Any, indent: int | None = None) -> str:
    """Return JSON, escaped where the console cannot show it."""
    whole = str(getattr(sys.stdout, "encoding", None)).lower().startswith("utf")
    text = json.dumps(values, ensure_ascii=not whole, indent=indent)
    for character, escape in _LINE_ENDS.items():
        text = text.replace(character, escape)
    return text


def print_json(values: Any) -> None:
    """Print JSON for scripts and people, a value a line."""
    click.echo(json_text(values, indent=1))


def readable_size(count: float) -> str:
    """Return a number of bytes with a unit, in powers of 1000."""
    from rich.filesize import decimal

    return decimal(round(count))


def info_json(held: IndexInfo) -> dict[str, Any]:
    """Return what is known about an index, for JSON."""
    values = asdict(held)
    values["bytes_per_token"] = {
        name: size / max(held.tokens, 1) for name, size in held.bytes.items()
    }
    return values
