"""From an address to an engine, and to a store."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.backends.address import parse_address
from pocket_colbert.backends.engine import Engine
from pocket_colbert.backends.remote import RemoteBackend
from pocket_colbert.checks import check_whole_number
from pocket_colbert.errors import BackendNotFoundError

TIMEOUT = 60
"""Seconds that one request to a server may take; an exact search of much may need them."""


def engine_at(address: str, *, api_key: str | None = None, timeout: int = TIMEOUT) -> Engine:
    """Connect to the engine at an address; see `open_store` for the arguments.

    For a client with options of your own, make `stores.qdrant.Qdrant(client, collection)`.

    Raises:
        InvalidInputError: It is no address, or the timeout is below 1.
        OptionalDependencyError: The engine's package is not installed.
        BackendError: The place cannot be used.
    """
    check_whole_number("timeout", timeout)
    parsed = parse_address(address)
    if parsed.engine == "qdrant":
        from pocket_colbert.backends.qdrant import Qdrant

        return Qdrant.at(parsed, api_key=api_key, timeout=timeout)
    from pocket_colbert.backends.lance import Lance

    return Lance(parsed)


def open_store(
    address: str,
    *,
    api_key: str | None = None,
    timeout: int = TIMEOUT,
    incomplete: bool = False,
) -> RemoteBackend:
    """Open what `push` wrote, to be searched.

    Args:
        address: See `stores.address`.
        api_key: Of a Qdrant server; object storage has its own ways.
        timeout: Seconds that one request to a Qdrant server may take.
        incomplete: See `RemoteBackend`.

    Raises:
        InvalidInputError: It is no address.
        OptionalDependencyError: The engine's package is not installed.
        BackendNotFoundError: There is nothing that `push` wrote.
        BackendError: See `RemoteBackend`.
    """
    folder = parse_address(address).folder
    if folder is not None and not Path(folder).is_dir():  # engines would make it
        raise BackendNotFoundError(f"there is no folder {folder}; push an index to it.")
    engine = engine_at(address, api_key=api_key, timeout=timeout)
    try:
        return RemoteBackend(engine, incomplete=incomplete)
    except BaseException:
        engine.close()
        raise
