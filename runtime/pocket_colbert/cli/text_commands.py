"""The commands that need no index: rerank and encode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pocket_colbert.cli.common import (
    id_field_option,
    input_type,
    is_standard_input,
    load_encoder,
    model_option,
    path_type,
    pool_option,
    provider_option,
    quiet_option,
    standard_input,
    text_field_option,
    threads_option,
)
from pocket_colbert.cli.progress import progress_bar
from pocket_colbert.cli.terminal import Screen, color_option
from pocket_colbert.errors import CorpusError

if TYPE_CHECKING:
    from pocket_colbert.ingest.rows import Fields


@click.command()
@click.argument("query")
@click.argument("file", type=input_type, default="-")
@click.option(
    "-k",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Most hits to print.  [default: all]",
)
@id_field_option
@text_field_option
@click.option("--json", "as_json", is_flag=True, help="Print each hit as JSON on a line.")
@color_option
@model_option
@threads_option
@provider_option
def rerank(
    query: str,
    file: Path,
    k: int | None,
    id_field: str,
    text_field: str,
    as_json: bool,
    color: str,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Order texts by how well they answer a query.

    \b
    Examples:
      pocket-colbert rerank "is honey taxed?" candidates.txt -k 3
      grep -rh honey notes | pocket-colbert rerank "is honey taxed?"

    FILE has one text a line, or is .jsonl; without it, or with -, texts are read from standard
    input. No index is needed.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.cli.hit_lines import print_hits, print_json_lines, shown_hits
    from pocket_colbert.cli.hit_places import Place, Places
    from pocket_colbert.ingest.rows import Fields
    from pocket_colbert.retriever import Retriever

    documents, lines = _texts_to_rank(file, Fields(id_field, text_field))
    retriever = Retriever(load_encoder(model, threads, provider))
    asked = retriever.encoder.query(query)
    hits = retriever.rerank(asked, documents, k)
    screen = Screen.of(color)
    known = {name: Place(str(file), f":{line}", line, True) for name, line in lines.items()}
    shown = shown_hits(retriever, asked, hits, Places(known=known), screen, as_json=as_json)
    if as_json:
        print_json_lines(shown, "meaning")
    else:
        print_hits(shown, screen)


def _texts_to_rank(file: Path, fields: Fields) -> tuple[dict[str, str], dict[str, int]]:
    """Return texts by their ids, and the lines of those that are lines of a file."""
    from pocket_colbert.ingest.json_lines import is_json_lines
    from pocket_colbert.ingest.readers import read_documents
    from pocket_colbert.ingest.standard_input import read_standard_input

    if is_standard_input(file) or is_json_lines(file):
        rows = list(
            read_standard_input(standard_input(), fields) if is_standard_input(file)
            else read_documents([file], fields)
        )  # fmt: skip
        _check_unique([row.document_id for row in rows])
        return {row.document_id: row.text or "" for row in rows}, {}
    numbered = enumerate(_lines(_read_text(file)), start=1)
    texts = [(number, line) for number, line in numbered if line.strip()]
    if not texts:
        raise CorpusError(f"{file} has no texts.")
    documents = {str(place): line for place, (_, line) in enumerate(texts)}
    return documents, {str(place): number for place, (number, _) in enumerate(texts)}


@click.command()
@click.argument("source", type=input_type, default="-")
@click.option("--query", "task", flag_value="query", help="Encode as queries.")
@click.option("--document", "task", flag_value="document", help="Encode as documents.")
@click.option("-o", "--output", required=True, type=path_type, help=".npz file to write.")
@click.option("--json", "as_json", is_flag=True, help="SOURCE is a JSON list of strings.")
@quiet_option
@pool_option
@model_option
@threads_option
@provider_option
def encode(
    source: Path,
    task: str | None,
    output: Path,
    as_json: bool,
    quiet: bool,
    pool_factor: float,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Encode texts as token vectors.

    \b
    Examples:
      pocket-colbert encode candidates.txt --document -o vectors.npz
      echo "is honey taxed?" | pocket-colbert encode --query -o query.npz

    SOURCE has one text a line; without it, or with -, standard input is read. The .npz file has
    the arrays 0, 1, ..., one (num_tokens, dim) float32 array for each text.
    """  # noqa: D301 - click's mark for lines it must not wrap
    import numpy as np

    if task is None:
        raise click.UsageError("pass --query or --document.")
    if is_standard_input(source):
        name, content = "standard input", _decoded(standard_input().read(), "standard input")
    else:
        name, content = str(source), _read_text(source)
    if as_json:
        try:
            texts = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{name} is not JSON: {error}.") from error
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise CorpusError(f"{name} must hold a JSON list of strings.")
    else:
        texts = _lines(content)
    from pocket_colbert.storage.files import atomic_file

    encoder = load_encoder(model, threads, provider)
    with progress_bar("Encoding", len(texts), quiet) as update:
        if task == "query":
            arrays = encoder.encode_query(texts, progress=lambda done, _: update(done))
        else:
            arrays = encoder.encode_document(
                texts, pool_factor=pool_factor, progress=lambda done, _: update(done)
            )
    with atomic_file(output) as work, work.open("wb") as stream:
        named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
        np.savez(stream, **named)
    if not quiet:
        count = sum(map(len, arrays))
        click.echo(f"{output}: {len(arrays)} texts, {count} token vectors", err=True)


def _check_unique(document_ids: list[str]) -> None:
    seen: set[str] = set()
    for document_id in document_ids:
        if document_id in seen:
            raise CorpusError(f"document ids must differ, got {document_id!r} twice.")
        seen.add(document_id)


def _read_text(path: Path) -> str:
    if path.is_dir():
        raise CorpusError(f"{path} is a folder; name a file, or - for standard input.")
    if not path.exists():
        raise CorpusError(f"there is no file {path}.")
    return _decoded(path.read_bytes(), str(path))


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name} is not UTF-8 (byte {error.start}).") from error


def _lines(content: str) -> list[str]:
    """Return the lines of a text, which end at line feeds but not at form feeds and the like."""
    lines = content.replace("\r\n", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]  # no line follows the last line feed
