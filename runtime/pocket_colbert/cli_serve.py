"""The command `serve`."""

from __future__ import annotations

import warnings
from pathlib import Path

import click

from pocket_colbert.cli_common import (
    encoder_for,
    folder_type,
    model_option,
    provider_option,
    threads_option,
)
from pocket_colbert.errors import OptionalDependencyError, TruncationWarning


@click.command()
@click.argument("folder", type=folder_type)
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
    folder: Path,
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
    """Serve the index FOLDER over HTTP, with a page to search it."""
    from pocket_colbert.cpu import usable_cores
    from pocket_colbert.index import Index

    try:
        from pocket_colbert.server.app import Limits, create_app
        from pocket_colbert.server.run import run
        from pocket_colbert.server.security import LOOPBACK_HOSTS, listening_socket
        from pocket_colbert.server.service import Service
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "msgspec"):
            raise
        raise OptionalDependencyError.of("serve", "server") from error

    warnings.simplefilter("ignore", TruncationWarning)  # long queries are cut, as in search
    listening, local = listening_socket(host, port, token=token)
    with listening, Index.load(folder, writable=not read_only, threads=threads) as index:
        service = Service(
            encoder_for(index.config, model, threads, provider), index, writable=not read_only
        )
        limits = Limits(
            body=max_body, concurrency=concurrency or usable_cores(), queue=queue, seconds=timeout
        )
        # Beyond this machine the token keeps strangers out, whatever name they come by.
        hosts = [*LOOPBACK_HOSTS, *allow_host] if local or allow_host else None
        app = create_app(service, limits=limits, token=token, hosts=hosts)
        place = f"[{host}]" if ":" in host else host
        click.echo(
            f"Serving {folder} ({len(index)} documents) at "
            f"http://{place}:{listening.getsockname()[1]}",
            err=True,
        )
        run(app, listening, seconds=timeout)
