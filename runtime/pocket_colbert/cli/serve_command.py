"""The command that serves an index, a backend or documents over HTTP."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from pocket_colbert.cli.common import (
    also_option,
    api_key_option,
    encoder_for,
    folder_type,
    given_options,
    id_field_option,
    incomplete_option,
    index_beside,
    load_encoder,
    model_option,
    provider_option,
    text_field_option,
    threads_option,
    title_field_option,
)
from pocket_colbert.errors import (
    IndexConflictError,
    IndexNotFoundError,
    OptionalDependencyError,
    TruncationWarning,
)

if TYPE_CHECKING:
    from pocket_colbert.ingest.rows import Fields
    from pocket_colbert.model.encoder import Encoder
    from pocket_colbert.server.served import Served


_NEEDED = ("starlette", "uvicorn", "msgspec", "prometheus_client", "threadpoolctl")
_DOCUMENTS, _INDEX, _BACKEND = "documents", "an index", "a backend"
_OPTIONS = {
    _DOCUMENTS: ("into", "id_field", "text_field", "title_field"),
    _INDEX: ("also",),
    _BACKEND: ("incomplete", "api_key"),
}
"""Options that make sense for one kind of source only."""


@click.command()
@click.argument("source", type=click.Path(), metavar="PATH_OR_ADDRESS")
@also_option("Serve this index together with the first, read-only")
@click.option(
    "--into", type=folder_type, default=None, metavar="DIR",
    help="Where to index documents.  [default: beside them, with the suffix .index]",
)  # fmt: skip
@id_field_option
@text_field_option
@title_field_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8470, show_default=True,
    help="Port to listen on; 0 picks a free one.",
)  # fmt: skip
@click.option(
    "--token", envvar="POCKET_COLBERT_TOKEN", show_envvar=True, metavar="TEXT",
    help="Bearer token that requests must carry; required if other machines can connect. Prefer "
    "the variable: other users of this machine can see options.",
)  # fmt: skip
@click.option(
    "--allow-host", multiple=True, metavar="NAME",
    help="Another host name under which browsers may reach the server, such as that of a proxy; "
    "repeatable.",
)  # fmt: skip
@click.option(
    "--cors-origin", multiple=True, metavar="ORIGIN",
    help="Let pages of this origin ask the server from a browser, such as "
    "https://app.example.com; repeatable.  [default: none may]",
)  # fmt: skip
@click.option(
    "--path-prefix", default="", metavar="PATH",
    help="Serve below this path as well, such as /search, for a proxy that leaves it in.",
)  # fmt: skip
@click.option(
    "--access-log", type=click.File("a", encoding="utf-8"), default=None, metavar="FILE",
    help="Append a line of JSON for each answer to this file; - for standard output.",
)  # fmt: skip
@click.option(
    "--example", multiple=True, metavar="TEXT",
    help="A question that the page offers as an example; repeatable.  [default: headings and "
    "titles of the documents]",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="Refuse to add and delete documents; take no lock.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=None,
    help="Requests that run at the same time.  [default: one per core]",
)  # fmt: skip
@click.option(
    "--queue", type=click.IntRange(0, 10_000), default=32, show_default=True,
    help="Requests that may wait; further ones are answered 503.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0.1, max=3600), default=30.0, show_default=True,
    help="Seconds a request may take.",
)  # fmt: skip
@click.option(
    "--max-body", type=click.IntRange(min=1), default=4_000_000, show_default=True,
    help="Most bytes in the body of a request.",
)  # fmt: skip
@incomplete_option
@api_key_option
@model_option
@threads_option
@provider_option
@click.pass_context
def serve(
    context: click.Context,
    source: str,
    also: tuple[Path, ...],
    into: Path | None,
    id_field: str,
    text_field: str,
    title_field: str,
    host: str,
    port: int,
    token: str | None,
    allow_host: tuple[str, ...],
    cors_origin: tuple[str, ...],
    path_prefix: str,
    access_log: TextIO | None,
    example: tuple[str, ...],
    read_only: bool,
    concurrency: int | None,
    queue: int,
    timeout: float,
    max_body: int,
    incomplete: bool,
    api_key: str | None,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Serve a search page and a JSON API over HTTP.

    \b
    Examples:
      pocket-colbert serve my.index
      pocket-colbert serve notes --port 8000

    PATH_OR_ADDRESS is an index, the address of a backend (see push), or a file or folder of
    documents that `index` reads. Documents are indexed into DIR in the background and can be found
    as soon as they are committed; the next start continues where the last one stopped, and takes
    in changes. Backends, and indexes joined with --also, are served read-only.
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.hardware import usable_cores
    from pocket_colbert.index.directory import is_index
    from pocket_colbert.index.index import Index
    from pocket_colbert.ingest.rows import Fields

    try:
        from pocket_colbert.server.app import Limits, create_app
        from pocket_colbert.server.background_indexing import Indexing
        from pocket_colbert.server.observing import AccessLog
        from pocket_colbert.server.run import run
        from pocket_colbert.server.security import LOOPBACK_HOSTS, listening_socket
        from pocket_colbert.server.service import Service
        from pocket_colbert.server.writing import WritingService
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise OptionalDependencyError.of("serve", "server") from error

    warnings.simplefilter("ignore", TruncationWarning)  # long queries are truncated, as in search
    kind, name = _kind(source)
    _check_options(given_options(context), kind, name)
    indexing, folder = None, Path(source)
    if kind == _DOCUMENTS:
        fields = Fields(id_field, text_field, title_field)
        folder = _index_folder(Path(source), into, fields, read_only)
        indexing = Indexing(Path(source), folder, fields, report=partial(click.echo, err=True))
    listening, local = listening_socket(host, port, token=token)
    with listening, ExitStack() as opened:
        service: Service
        encoder: Encoder | None
        if kind == _BACKEND or also or read_only:
            served = _read_only_source(
                source, also, kind, threads, api_key, incomplete, math.ceil(timeout)
            )
            opened.callback(served.backend.close)
            encoder = encoder_for(served.backend.config, model, threads, provider)
            service = Service(encoder, served, examples=example)
        else:
            encoder = None
            if not is_index(folder):
                encoder = load_encoder(model, threads, provider)
                _create(folder, encoder)
            index = opened.enter_context(Index.load(folder, writable=True, threads=threads))
            encoder = encoder or encoder_for(index.config, model, threads, provider)
            service = WritingService(encoder, index, indexing=indexing, examples=example)
        opened.callback(service.close)  # a second signal may end the application before it does
        limits = Limits(
            body=max_body, concurrency=concurrency or usable_cores(), queue=queue, seconds=timeout
        )
        # If other machines can connect, the token keeps strangers out, whatever name they use.
        hosts = [*LOOPBACK_HOSTS, *allow_host] if local or allow_host else None
        app = create_app(
            service,
            limits=limits,
            token=token,
            hosts=hosts,
            origins=cors_origin,
            prefix=path_prefix,
            access_log=None if access_log is None else AccessLog(access_log),
        )
        url_host = f"[{host}]" if ":" in host else host
        suffix = f", indexing into {folder}" if indexing else ""
        names = ", ".join([name, *map(str, also)])
        said = (
            f"Serving {names} ({service.info().documents} documents{suffix}) at "
            f"http://{url_host}:{listening.getsockname()[1]}"
        )
        run(app, listening, seconds=timeout, announce=partial(click.echo, said, err=True))


def _kind(source: str) -> tuple[str, str]:
    """Return what kind of source it is, and its name for messages, without any key."""
    from pocket_colbert.backends.address import is_address, parse_address
    from pocket_colbert.index.directory import is_index

    if is_address(source):
        return _BACKEND, str(parse_address(source))
    if not Path(source).exists():
        raise IndexNotFoundError(f"there is no index, file or folder at {source}.")
    return _INDEX if is_index(Path(source)) else _DOCUMENTS, source


def _check_options(given: Collection[str], kind: str, source: str) -> None:
    """Refuse options that would have no effect."""
    for needed, names in _OPTIONS.items():
        for name in names:
            if name in given and kind != needed:
                option = "--" + name.replace("_", "-")
                raise click.UsageError(f"{option} goes with {needed}, but {source} is {kind}.")


def _read_only_source(
    source: str,
    also: Sequence[Path],
    kind: str,
    threads: int | None,
    api_key: str | None,
    incomplete: bool,
    seconds: int,
) -> Served:
    """Open a source that is only read; a request to an engine may take `seconds`."""
    from pocket_colbert.backends.connect import open_backend
    from pocket_colbert.index.index import Index
    from pocket_colbert.index.multi_index import MultiIndex
    from pocket_colbert.server.served import ServedBackend, ServedIndex, ServedMultiIndex

    if kind == _BACKEND:
        return ServedBackend(
            open_backend(source, api_key=api_key, timeout=seconds, incomplete=incomplete)
        )
    if also:
        return ServedMultiIndex(MultiIndex.load([source, *also], threads=threads))
    return ServedIndex(Index.load(source, threads=threads))


def _index_folder(path: Path, into: Path | None, fields: Fields, read_only: bool) -> Path:
    """Return where to index documents; raise CorpusError if there are none."""
    from pocket_colbert.ingest.readers import Reading, read_sources

    next(read_sources([path], path, Reading(fields)), None)  # raises if there are none
    if read_only:
        raise click.UsageError(
            f"--read-only needs an index, but {path} is documents; run `index` on them first."
        )
    return into or index_beside(path)


def _create(folder: Path, encoder: Encoder) -> None:
    """Make an empty index with the default settings of `index`."""
    from pocket_colbert.index.index import Index
    from pocket_colbert.ingest.indexing import IndexOptions

    config = IndexOptions().config(dim=encoder.dim, model=encoder.card.fingerprint)
    try:
        Index.create(folder, config, threads=1).close()
    except OSError as error:
        raise IndexConflictError(
            f"no index can be made at {folder} ({error.strerror}); choose another folder with "
            "--into."
        ) from error
