"""The command that serves an index to agents."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path

import click

from pocket_colbert.cli.common import (
    also_option,
    api_key_option,
    encoder_for,
    incomplete_option,
    index_beside,
    load_encoder,
    model_option,
    open_source,
    provider_option,
    source_type,
    threads_option,
)
from pocket_colbert.errors import TruncationWarning


@click.command()
@click.argument("source", type=source_type, metavar="PATH_OR_ADDRESS")
@also_option("Serve this index together with the first")
@click.option("--http", is_flag=True, help="Serve over HTTP on this machine instead of stdio.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=8471, show_default=True,
    help="Port to listen on with --http.",
)  # fmt: skip
@incomplete_option
@api_key_option
@model_option
@threads_option
@provider_option
def mcp(
    source: str,
    also: tuple[Path, ...],
    http: bool,
    port: int,
    incomplete: bool,
    api_key: str | None,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Let agents search an index, by the Model Context Protocol.

    \b
    Examples:
      pocket-colbert mcp notes
      pocket-colbert mcp my.index --http --port 8471

    PATH_OR_ADDRESS is an index, the address of a backend (see push), or a file or folder of
    documents, which is indexed beside it first, or brought up to date. Agents can search, read
    documents and list sources. What others commit to an index is seen at once. Over HTTP only
    programs of this machine can connect, at http://127.0.0.1:PORT/mcp.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.backends.address import is_address
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.mcp_server.server import make_server
    from pocket_colbert.mcp_server.tools import Tools
    from pocket_colbert.retriever import Retriever

    # Standard output is the protocol's.
    warnings.simplefilter("ignore", TruncationWarning)
    if not is_address(source) and Path(source).exists() and not is_index(Path(source)):
        source = str(_indexed(Path(source), model, threads, provider))
    with ExitStack() as opened:
        index = open_source(source, also, threads, api_key, incomplete)
        opened.callback(index.close)
        encoder = encoder_for(index.config, model, threads, provider)
        server = make_server(Tools(Retriever(encoder, index)))
        if http:
            click.echo(f"Serving {source} at http://127.0.0.1:{port}/mcp", err=True)
            server.run("streamable-http", host="127.0.0.1", port=port)
        else:
            server.run("stdio")


def _indexed(path: Path, model: str | None, threads: int | None, provider: str) -> Path:
    """Index documents beside them, or bring their index up to date, and return its folder."""
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.index.index import Index
    from pocket_colbert.ingest.indexing import index_files

    folder = index_beside(path)
    if is_index(folder):
        with Index.load(folder) as index:
            encoder = encoder_for(index.config, model, threads, provider)
    else:
        encoder = load_encoder(model, threads, provider)
    report = index_files([path], folder, encoder=encoder)
    click.echo(
        f"{folder}: {report.added} documents added, {report.changed} changed, "
        f"{report.deleted} deleted",
        err=True,
    )
    return folder
