"""The command `pocket-colbert`. The only place of the runtime that prints."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TextIO

import click

from pocket_colbert import __version__
from pocket_colbert.cli_common import (
    codes_option,
    id_field_option,
    json_option,
    keep_option,
    load_encoder,
    model_option,
    path_type,
    pool_option,
    print_json,
    progress_bar,
    provider_option,
    readable_size,
    replacing,
    text_field_option,
    threads_option,
)
from pocket_colbert.cli_measure import evaluate, tune
from pocket_colbert.errors import (
    CorpusError,
    IndexExistsError,
    PocketColbertError,
    TruncationWarning,
)

SEGMENT_TOKENS = 4_000_000
"""Token vectors that `index` gathers before it commits a segment: 200 MB as int4 of 96."""

_BATCH = 256
_SNIPPET = 160


class _Group(click.Group):
    """Turns every expected failure into one line on stderr and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning  # type: ignore[assignment]
                return super().invoke(context)
        except PocketColbertError as error:
            raise click.ClickException(str(error)) from error
        except BrokenPipeError:
            # The reader of our output has gone: there is nobody left to tell.
            sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
            raise SystemExit(1) from None
        except OSError as error:
            place = f" {error.filename}" if error.filename else ""
            raise click.ClickException(f"{error.strerror or error}:{place}.") from error


def _show_warning(message: Warning | str, *details: Any) -> None:
    click.echo(f"Warning: {message}", err=True)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pocket-colbert")
def main() -> None:
    """ColBERT search that fits in a pocket: index, search and rerank without torch."""


main.add_command(evaluate)
main.add_command(tune)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=path_type)
@click.option("--into", required=True, type=path_type, metavar="DIR", help="Index folder to make.")
@click.option("--append", is_flag=True, help="Add to the index in DIR.")
@click.option("--overwrite", is_flag=True, help="Replace the index in DIR.")
@id_field_option
@text_field_option
@click.option("--title-field", default="title", show_default=True, help="Key of the title.")
@click.option(
    "--inverted-file",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Prepare approximate search; auto does for half a million token vectors.",
)
@codes_option
@pool_option
@keep_option
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    default=None,
    help="Token vectors of a document that stay at most.  [default: any number]",
)
@click.option(
    "--drop-frequent",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Drop the N tokens that are the most frequent in PATHS.",
)
@model_option
@threads_option
@provider_option
@json_option
def index(
    paths: tuple[Path, ...],
    into: Path,
    append: bool,
    overwrite: bool,
    id_field: str,
    text_field: str,
    title_field: str,
    inverted_file: Any,
    codes: str,
    pool_factor: float,
    keep: float,
    max_tokens: int | None,
    drop_frequent: int,
    model: str | None,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Index PATHS: files and folders of text, Markdown, HTML, .jsonl and .jsonl.gz."""
    from pocket_colbert.config import Pruning
    from pocket_colbert.corpus import Fields, read_documents, text_to_encode
    from pocket_colbert.tuning import frequent_ids

    if append and overwrite:
        raise click.UsageError("--append and --overwrite exclude each other.")
    documents = list(read_documents(paths, Fields(id_field, text_field, title_field)))
    if not documents:
        raise CorpusError(f"there are no documents in {', '.join(map(str, paths))}.")
    _check_unique([document.document_id for document in documents])
    encoder = load_encoder(model, threads, provider)
    warnings.simplefilter("ignore", TruncationWarning)  # counted, and said at the end
    pruning = Pruning(pool_factor=pool_factor, keep=keep, max_tokens=max_tokens)
    if drop_frequent and not append:
        texts = [text_to_encode(document) for document in documents]
        pruning = replace(pruning, skiplist_ids=frequent_ids(encoder, texts, drop_frequent))
    settings = {"pruning": pruning, "inverted_file": inverted_file, "codes": codes}
    with _target(into, encoder, append, overwrite, settings) as target:
        tokens = 0
        with progress_bar("Indexing", len(documents), as_json) as update:
            for start in range(0, len(documents), _BATCH):
                batch = documents[start : start + _BATCH]
                embeddings = encoder.encode_document(
                    [text_to_encode(document) for document in batch],
                    pruning=target.config.pruning,
                    progress=lambda done, _, start=start: update(start + done),
                )
                target.add(
                    [document.document_id for document in batch],
                    embeddings,
                    texts=[document.text or "" for document in batch],
                    titles=[document.title for document in batch],
                    metadata=[document.metadata for document in batch],
                )
                tokens += sum(map(len, embeddings))
                if tokens >= SEGMENT_TOKENS:
                    target.commit()
                    tokens = 0
        target.commit()
        info = target.info()
    size = sum(info.bytes.values())
    if as_json:
        print_json({"index": str(into), "added": len(documents), **_info_json(info)})
    else:
        click.echo(
            f"{into}: {info.documents} documents, {info.tokens} tokens, {readable_size(size)}"
        )
    if encoder.truncated:
        click.echo(
            f"Warning: {encoder.truncated} documents were longer than the model's window of "
            f"{encoder.config.document_length} tokens; what comes after it cannot be found.",
            err=True,
        )


@main.command()
@click.argument("folder", type=path_type)
@click.argument("query")
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits.")
@click.option(
    "--mode", type=click.Choice(["auto", "exact", "approximate"]), default="auto",
    show_default=True, help="Score all documents, or only candidates.",
)  # fmt: skip
@model_option
@threads_option
@provider_option
@json_option
def search(
    folder: Path,
    query: str,
    k: int,
    mode: Any,
    model: str | None,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Search the index FOLDER for QUERY."""
    from pocket_colbert.config import SearchParameters
    from pocket_colbert.index import Index
    from pocket_colbert.retriever import Retriever

    with Index.load(folder, threads=threads) as opened:
        retriever = Retriever(load_encoder(model, threads, provider), opened)
        hits = retriever.retrieve([query], k, parameters=SearchParameters(mode=mode))[0]
    _print_hits(hits, as_json)


@main.command()
@click.argument("query")
@click.argument("file", type=path_type)
@click.option("-k", type=click.IntRange(min=1), default=None, help="Hits.  [default: all]")
@id_field_option
@text_field_option
@model_option
@threads_option
@provider_option
@json_option
def rerank(
    query: str,
    file: Path,
    k: int | None,
    id_field: str,
    text_field: str,
    model: str | None,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Order the texts in FILE (one a line, or .jsonl) by how well they answer QUERY."""
    from pocket_colbert.corpus import Fields, is_json_lines, read_documents
    from pocket_colbert.retriever import Retriever

    if is_json_lines(file):
        found = list(read_documents([file], Fields(id_field, text_field)))
        _check_unique([item.document_id for item in found])
        documents = {item.document_id: item.text or "" for item in found}
    else:
        lines = [line for line in _read_text(file).splitlines() if line.strip()]
        documents = {str(number): line for number, line in enumerate(lines)}
    if not documents:
        raise CorpusError(f"{file} holds no texts.")
    retriever = Retriever(load_encoder(model, threads, provider))
    _print_hits(retriever.rerank(query, documents, k), as_json)


@main.command()
@click.argument("folder", type=path_type)
@json_option
def info(folder: Path, as_json: bool) -> None:
    """Say what the index FOLDER holds and what that takes."""
    from pocket_colbert.index import Index

    with Index.load(folder) as opened:
        found = opened.info()
    if as_json:
        print_json(_info_json(found))
        return
    click.echo(f"{folder}: {found.documents} documents, {found.tokens} token vectors")
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


@main.command()
@click.argument("source", type=click.File("r", encoding="utf-8"), default="-")
@click.option("--query", "task", flag_value="query", help="Encode as queries.")
@click.option("--document", "task", flag_value="document", help="Encode as documents.")
@click.option("-o", "--output", required=True, type=path_type, help=".npz file to write.")
@click.option("--json", "as_json", is_flag=True, help="SOURCE is a JSON list of strings.")
@pool_option
@model_option
@threads_option
@provider_option
def encode(
    source: TextIO,
    task: str | None,
    output: Path,
    as_json: bool,
    pool_factor: float,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Encode the texts of SOURCE (a file or standard input, one text a line).

    The .npz file gets the arrays 0, 1, ..., one (tokens, dimensions) float32 array a text.
    """
    import numpy as np

    if task is None:
        raise click.UsageError("say --query or --document.")
    try:
        content = source.read()
    except UnicodeDecodeError as error:
        raise CorpusError(f"{source.name} is not UTF-8 (byte {error.start}).") from error
    if as_json:
        try:
            texts = json.loads(content)
        except ValueError as error:
            raise CorpusError(f"{source.name} is not JSON: {error}.") from error
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise CorpusError(f"{source.name} must hold a JSON list of strings.")
    else:
        texts = content.split("\n")
        if texts and not texts[-1]:
            texts.pop()  # the newline that ends the last line begins no text
    encoder = load_encoder(model, threads, provider)
    with progress_bar("Encoding", len(texts), quiet=False) as update:
        if task == "query":
            arrays = encoder.encode_query(texts, progress=lambda done, _: update(done))
        else:
            arrays = encoder.encode_document(
                texts, pool_factor=pool_factor, progress=lambda done, _: update(done)
            )
    with replacing(output) as work, work.open("wb") as stream:
        np.savez(stream, **{str(number): array for number, array in enumerate(arrays)})
    click.echo(f"{output}: {len(arrays)} texts, {sum(map(len, arrays))} token vectors", err=True)


@contextmanager
def _target(
    into: Path, encoder: Any, append: bool, overwrite: bool, settings: dict[str, Any]
) -> Iterator[Any]:
    """Open the index to add to; a new one takes its place only when all went well."""
    from pocket_colbert.config import IndexConfig
    from pocket_colbert.folder import is_index
    from pocket_colbert.index import Index
    from pocket_colbert.retriever import Retriever

    if append:
        with Index.load(into, writable=True, threads=encoder.threads) as opened:
            Retriever(encoder, opened)  # refuses another model's index
            yield opened
        return
    if is_index(into) and not overwrite:
        raise IndexExistsError(
            f"{into} already holds an index; pass --append to add to it or --overwrite to "
            "replace it."
        )
    if into.exists() and not is_index(into) and (not into.is_dir() or any(into.iterdir())):
        raise IndexExistsError(f"{into} already exists and is not an index.")
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint, **settings)
    work = into.with_name(f".{into.name}.new-{os.getpid()}")
    try:
        with Index.create(work, config, threads=encoder.threads) as created:
            yield created
        if into.exists():
            old = into.with_name(f".{into.name}.old-{os.getpid()}")
            into.rename(old)
            work.rename(into)
            shutil.rmtree(old)
        else:
            work.rename(into)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _check_unique(document_ids: list[str]) -> None:
    seen: set[str] = set()
    for document_id in document_ids:
        if document_id in seen:
            raise CorpusError(f"document ids must differ, got {document_id!r} twice.")
        seen.add(document_id)


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise CorpusError(f"there is no file {path}.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path} is not UTF-8 (byte {error.start}).") from error


def _print_hits(hits: Any, as_json: bool) -> None:
    if as_json:
        print_json([asdict(hit) for hit in hits])
        return
    for rank, hit in enumerate(hits, start=1):
        click.echo(f"{rank:3} {hit.score:8.3f}  {hit.document_id}")
        snippet = " ".join(f"{hit.title or ''} {hit.text or ''}".split())
        if snippet:
            cut = snippet[:_SNIPPET] + ("..." if len(snippet) > _SNIPPET else "")
            click.echo(f"              {cut}")


def _pruning(pruning: Any) -> str:
    """Name the settings of a pruning that are not the default ones."""
    changed = [
        f"{item.name} {len(value) if isinstance(value, tuple) else f'{value:g}'}"
        for item in fields(pruning)
        for value in [getattr(pruning, item.name)]
        if value != item.default
    ]
    return ", ".join(changed) or "none"


def _info_json(found: Any) -> dict[str, Any]:
    values = asdict(found)
    values["bytes_per_token"] = {
        name: size / max(found.tokens, 1) for name, size in found.bytes.items()
    }
    return values
