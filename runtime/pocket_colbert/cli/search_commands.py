"""The commands that search, rerank and encode."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from pocket_colbert.cli.command_group import printable
from pocket_colbert.cli.common import (
    also_option,
    api_key_option,
    encoder_for,
    id_field_option,
    incomplete_option,
    json_option,
    load_encoder,
    model_option,
    open_source,
    path_type,
    pool_option,
    print_json,
    progress_bar,
    provider_option,
    source_type,
    text_field_option,
    threads_option,
)
from pocket_colbert.config import HYBRID, MODES, is_weak
from pocket_colbert.errors import CorpusError

_SNIPPET = 160


if TYPE_CHECKING:
    from pocket_colbert.retriever import Retriever
    from pocket_colbert.search.explanation import Explanation
    from pocket_colbert.search.language_rule import RankedBy
    from pocket_colbert.types import Hit, Query, Span


@click.command()
@click.argument("source", type=source_type, metavar="FOLDER_OR_ADDRESS")
@click.argument("query")
@click.option(
    "-k", type=click.IntRange(min=1), default=10, show_default=True, help="Most hits to print."
)
@click.option(
    "--mode", type=click.Choice(MODES), default="auto", show_default=True,
    help="Score all documents, or only candidates.",
)  # fmt: skip
@click.option(
    "--hybrid", type=click.Choice(HYBRID), default="auto", show_default=True,
    help="Rank by MaxSim and keywords (BM25), or by keywords alone. auto takes keywords in for "
    "languages that the model was not made for.",
)  # fmt: skip
@click.option(
    "--where", default=None, metavar="JSON",
    help='Search only documents whose metadata match, such as {"year": {"$gte": 2020}}.',
)  # fmt: skip
@click.option(
    "--min-relevance", type=click.FloatRange(0, 1), default=None, metavar="NUMBER",
    help="Leave out hits that are less likely to be right, from 0 to 1.",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Show what each word of the query matched.")
@also_option("Search this index as part of the first")
@incomplete_option
@api_key_option
@model_option
@threads_option
@provider_option
@json_option
def search(
    source: str,
    query: str,
    k: int,
    mode: Any,
    hybrid: Any,
    where: str | None,
    min_relevance: float | None,
    explain: bool,
    also: Sequence[Path],
    incomplete: bool,
    api_key: str | None,
    model: str | None,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Search an index folder, or a backend at an address.

    Addresses are those that `push` writes to.
    """
    from pocket_colbert.config import SearchParameters
    from pocket_colbert.retriever import Retriever

    condition = None
    if where is not None:
        try:
            condition = json.loads(where)
        except RecursionError as error:
            raise click.UsageError("--where is nested too deep; a filter has 32 levels.") from error
        except ValueError as error:
            raise click.UsageError(f"--where must be JSON: {error}.") from error
    parameters = SearchParameters(mode=mode, hybrid=hybrid)
    with open_source(source, also, threads, api_key, incomplete) as opened:
        retriever = Retriever(encoder_for(opened.config, model, threads, provider), opened)
        asked = retriever.encoder.query(query)
        hits = retriever.retrieve(
            [asked], k, parameters=parameters, where=condition, min_relevance=min_relevance
        )[0]
        ranked_by = retriever.ranked_by(asked, parameters)
        _print_hits(retriever, asked, hits, explain, as_json, ranked_by)
        if not hits:
            _say_nothing_found(min_relevance)


@click.command()
@click.argument("query")
@click.argument("file", type=path_type)
@click.option(
    "-k", type=click.IntRange(min=1), default=None, help="Most hits to print.  [default: all]"
)
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
    """Order texts by how well they answer a query.

    FILE has one text a line, or is .jsonl. No index is needed.
    """
    from pocket_colbert.ingest.json_lines import is_json_lines
    from pocket_colbert.ingest.readers import read_documents
    from pocket_colbert.ingest.rows import Fields
    from pocket_colbert.retriever import Retriever

    if is_json_lines(file):
        rows = list(read_documents([file], Fields(id_field, text_field)))
        _check_unique([row.document_id for row in rows])
        documents = {row.document_id: row.text or "" for row in rows}
    else:
        lines = [line for line in _lines(_read_text(file)) if line.strip()]
        documents = {str(number): line for number, line in enumerate(lines)}
    if not documents:
        raise CorpusError(f"{file} has no texts.")
    retriever = Retriever(load_encoder(model, threads, provider))
    asked = retriever.encoder.query(query)
    _print_hits(retriever, asked, retriever.rerank(asked, documents, k), False, as_json)


@click.command()
@click.argument("source", type=click.File("rb"), default="-")
@click.option("--query", "task", flag_value="query", help="Encode as queries.")
@click.option("--document", "task", flag_value="document", help="Encode as documents.")
@click.option("-o", "--output", required=True, type=path_type, help=".npz file to write.")
@click.option("--json", "as_json", is_flag=True, help="SOURCE is a JSON list of strings.")
@pool_option
@model_option
@threads_option
@provider_option
def encode(
    source: BinaryIO,
    task: str | None,
    output: Path,
    as_json: bool,
    pool_factor: float,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Encode texts as token vectors.

    SOURCE is a file or standard input, with one text a line. The .npz file has the arrays 0, 1,
    ..., one (num_tokens, dim) float32 array for each text.
    """
    import numpy as np

    if task is None:
        raise click.UsageError("pass --query or --document.")
    name = getattr(source, "name", "standard input")
    content = _decoded(source.read(), name)
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
    with progress_bar("Encoding", len(texts), quiet=False) as update:
        if task == "query":
            arrays = encoder.encode_query(texts, progress=lambda done, _: update(done))
        else:
            arrays = encoder.encode_document(
                texts, pool_factor=pool_factor, progress=lambda done, _: update(done)
            )
    with atomic_file(output) as work, work.open("wb") as stream:
        named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
        np.savez(stream, **named)
    click.echo(f"{output}: {len(arrays)} texts, {sum(map(len, arrays))} token vectors", err=True)


def _check_unique(document_ids: list[str]) -> None:
    seen: set[str] = set()
    for document_id in document_ids:
        if document_id in seen:
            raise CorpusError(f"document ids must differ, got {document_id!r} twice.")
        seen.add(document_id)


def _read_text(path: Path) -> str:
    if not path.is_file():
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


def _print_hits(
    retriever: Retriever,
    query: Query,
    hits: Sequence[Hit],
    explain: bool,
    as_json: bool,
    ranked_by: RankedBy = "meaning",
) -> None:
    reasons = _reasons(retriever, query, hits, explain)
    rows = [(hit, *reasons.get(hit.document_id, (None, None))) for hit in hits]
    if as_json:
        print_json([
            hit.to_json() | {"snippet": span, "ranked_by": ranked_by}
            | ({"explanation": asdict(why)} if why else {})
            for hit, span, why in rows
        ])  # fmt: skip
        return
    from pocket_colbert.ingest.extracted import place_in_file

    if hits and all(is_weak(hit.relevance) for hit in hits):
        click.echo("Weak matches: nothing here is likely to be what you ask for.", err=True)
    for rank, (hit, span, why) in enumerate(rows, start=1):
        start = _first_shown(hit.text or "", span)
        place = place_in_file(hit.document_id, hit.text or "", hit.metadata, start)
        likely = "" if hit.relevance is None else f" {hit.relevance:4.0%}"
        click.echo(f"{rank:3} {hit.score:8.3f}{likely}  {printable(place)}")
        headings = _headings(hit)
        line = " ".join(f"{headings + ': ' if headings else ''}{_snippet(hit, span)}".split())
        if line:
            click.echo(f"              {printable(line)}")
        if why is not None:
            _print_explanation(why)


def _say_nothing_found(min_relevance: float | None) -> None:
    """Say that there is no answer, which is one too."""
    if min_relevance:
        click.echo(
            f"Nothing found that is at least {min_relevance:.0%} likely to be right.", err=True
        )
    else:
        click.echo("Nothing found.", err=True)


def _reasons(
    retriever: Retriever, query: Query, hits: Sequence[Hit], explain: bool
) -> dict[str, tuple[Span, Explanation | None]]:
    """Return the snippet and explanation of each hit whose document was added with its text."""
    from pocket_colbert.search.explanation import explain_match
    from pocket_colbert.search.snippets import snippet

    shown = [hit for hit in hits if hit.text is not None]
    return {
        passage.document_id: (
            snippet(query, passage, _SNIPPET),
            explain_match(query, passage) if explain else None,
        )
        for passage in retriever.matched_passages(shown)
    }


def _first_shown(text: str, span: Span | None) -> int:
    """Return the first character of a snippet that is no white space."""
    start, end = span or (0, 0)
    shown = text[start:end]
    return end - len(shown.lstrip())


def _headings(hit: Hit) -> str:
    """Return the title of a hit and the headings of its best passage."""
    headings = hit.passages[0].headings if hit.passages else ()
    return " > ".join([hit.title, *headings] if hit.title else headings)


def _snippet(hit: Hit, span: Span | None) -> str:
    if hit.text is None or span is None:
        return "(no text)"
    start, end = span
    return f"{'...' if start else ''}{hit.text[start:end]}{'...' if end < len(hit.text) else ''}"


def _print_explanation(why: Explanation) -> None:
    """Say what the query's words matched, and what the tokens that are no words add."""
    others = []
    for match in why.matches:
        if match.query_span is None:
            others.append(match.similarity)
            continue
        place = f"at {match.document_span[0]}" if match.document_span else "title or marker"
        click.echo(
            f"              {match.share:6.1%}  {printable(match.query_token)} - "
            f"{printable(match.document_token)} ({match.similarity:.2f}, {place})"
        )
    if others:
        click.echo(
            f"              {'':6}  {len(others)} markers and fillers add {sum(others):.2f} of "
            f"{why.score:.2f}"
        )
