"""The command `serve`."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pocket_colbert.cli_common import (
    encoder_for,
    folder_type,
    id_field_option,
    load_encoder,
    model_option,
    path_type,
    provider_option,
    text_field_option,
    threads_option,
    title_field_option,
)
from pocket_colbert.errors import (
    CorpusError,
    IndexConflictError,
    IndexNotFoundError,
    OptionalDependencyError,
    TruncationWarning,
)

if TYPE_CHECKING:
    from pocket_colbert.corpus import Fields
    from pocket_colbert.encoder import Encoder


_NEEDED = ("starlette", "uvicorn", "msgspec", "threadpoolctl")


@click.command()
@click.argument("path", type=path_type)
@click.option(
    "--into", type=folder_type, default=None, metavar="DIR",
    help="Where documents are indexed.  [default: PATH.index]",
)  # fmt: skip
@id_field_option
@text_field_option
@title_field_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8470, show_default=True,
    help="Port to listen on; 0 for any that is free.",
)  # fmt: skip
@click.option(
    "--token", envvar="POCKET_COLBERT_TOKEN", show_envvar=True, metavar="TEXT",
    help="What requests must show as bearer token; needed beyond this machine. Others on this "
    "machine can see options: better use the variable.",
)  # fmt: skip
@click.option(
    "--allow-host", multiple=True, metavar="NAME",
    help="A further name by which browsers may reach the server, such as a proxy's.",
)  # fmt: skip
@click.option("--read-only", is_flag=True, help="Refuse to add and delete; take no lock.")
@click.option(
    "--concurrency", type=click.IntRange(1, 256), default=None,
    help="Requests that compute at a time.  [default: one a core]",
)  # fmt: skip
@click.option(
    "--queue", type=click.IntRange(0, 10_000), default=32, show_default=True,
    help="Requests that may wait; the next ones are answered 503.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.FloatRange(min=0.1, max=3600), default=30.0, show_default=True,
    help="Seconds a request may take.",
)  # fmt: skip
@click.option(
    "--max-body", type=click.IntRange(min=1), default=8_000_000, show_default=True,
    help="Bytes of a request at most.",
)  # fmt: skip
@model_option
@threads_option
@provider_option
def serve(
    path: Path,
    into: Path | None,
    id_field: str,
    text_field: str,
    title_field: str,
    host: str,
    port: int,
    token: str | None,
    allow_host: tuple[str, ...],
    read_only: bool,
    concurrency: int | None,
    queue: int,
    timeout: float,
    max_body: int,
    model: str | None,
    threads: int | None,
    provider: str,
) -> None:
    """Serve PATH over HTTP, with a page to search it.

    PATH is an index, or a folder or file of documents that `index` takes. Documents are indexed
    into DIR while they are served, and found as they are committed. Interrupted, it goes on where
    it was when it is called again; then it takes in what has changed, too.
    """
    from pocket_colbert.corpus import Fields
    from pocket_colbert.cpu import usable_cores
    from pocket_colbert.folder import is_index
    from pocket_colbert.index import Index

    try:
        from pocket_colbert.server.app import Limits, create_app
        from pocket_colbert.server.indexing import Indexing
        from pocket_colbert.server.run import run
        from pocket_colbert.server.security import LOOPBACK_HOSTS, listening_socket
        from pocket_colbert.server.service import Service
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise OptionalDependencyError.of("serve", "server") from error

    warnings.simplefilter("ignore", TruncationWarning)  # long queries are cut, as in search
    indexing, folder = None, path
    if is_index(path):
        if into is not None:
            raise click.UsageError(f"--into goes with documents, and {path} is an index.")
    else:
        fields = Fields(id_field, text_field, title_field)
        folder = _index_folder(path, into, fields, read_only)
        indexing = Indexing(path, folder, fields, tell=partial(click.echo, err=True))
    listening, local = listening_socket(host, port, token=token)
    with listening:
        encoder = None
        if not is_index(folder):
            encoder = load_encoder(model, threads, provider)
            _create(folder, encoder)
        with Index.load(folder, writable=not read_only, threads=threads) as index:
            encoder = encoder or encoder_for(index.config, model, threads, provider)
            service = Service(encoder, index, writable=not read_only, indexing=indexing)
            limits = Limits(
                body=max_body, concurrency=concurrency or usable_cores(), queue=queue,
                seconds=timeout,
            )  # fmt: skip
            # Beyond this machine the token keeps strangers out, whatever name they come by.
            hosts = [*LOOPBACK_HOSTS, *allow_host] if local or allow_host else None
            app = create_app(service, limits=limits, token=token, hosts=hosts)
            place = f"[{host}]" if ":" in host else host
            now = f", indexing into {folder}" if indexing else ""
            click.echo(
                f"Serving {path} ({len(index)} documents{now}) at "
                f"http://{place}:{listening.getsockname()[1]}",
                err=True,
            )
            try:
                run(app, listening, seconds=timeout)
            finally:
                service.close()  # a second signal ends the application before it has


def _index_folder(path: Path, into: Path | None, fields: Fields, read_only: bool) -> Path:
    """Return where documents are indexed, once it is known that there are any."""
    from pocket_colbert.corpus import read_documents

    if not path.exists():
        raise IndexNotFoundError(f"there is no index at {path}, and no file or folder.")
    if next(read_documents([path], fields), None) is None:
        raise CorpusError(f"there are no documents in {path}.")
    if read_only:
        raise click.UsageError(
            f"--read-only serves an index, and {path} is to be indexed: first call `index`."
        )
    return into or Path(f"{path.resolve()}.index")


def _create(folder: Path, encoder: Encoder) -> None:
    """Make an empty index with the settings that `index` has by default."""
    from pocket_colbert.config import IndexConfig
    from pocket_colbert.index import Index

    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    try:
        Index.create(folder, config, threads=1).close()
    except OSError as error:
        raise IndexConflictError(
            f"no index can be made at {folder} ({error.strerror}); name another place with --into."
        ) from error
