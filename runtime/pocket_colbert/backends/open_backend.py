"""From an address to an engine, and to a store."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.backends.address import parse_address
from pocket_colbert.backends.engine import Engine
from pocket_colbert.backends.remote import RemoteStore
from pocket_colbert.errors import InvalidInputError, StoreNotFoundError

TIMEOUT = 60
"""Seconds that one request to a server may take; an exact search of much may need them."""


def engine_at(address: str, *, api_key: str | None = None, timeout: int = TIMEOUT) -> Engine:
    """Connect to the engine at an address; see `open_store` for the arguments.

    For a client with options of your own, make `stores.qdrant.Qdrant(client, collection)`.

    Raises:
        InvalidInputError: It is no address, or the timeout is below 1.
        OptionalDependencyError: The engine's package is not installed.
        StoreError: The place cannot be used.
    """
    if not isinstance(timeout, int) or timeout < 1:
        raise InvalidInputError(f"timeout must be a whole number of seconds >= 1, got {timeout!r}.")
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
) -> RemoteStore:
    """Open what `push` wrote, to be searched.

    Args:
        address: See `stores.address`.
        api_key: Of a Qdrant server; object storage has its own ways.
        timeout: Seconds that one request to a Qdrant server may take.
        incomplete: See `RemoteStore`.

    Raises:
        InvalidInputError: It is no address.
        OptionalDependencyError: The engine's package is not installed.
        StoreNotFoundError: There is nothing that `push` wrote.
        StoreError: See `RemoteStore`.
    """
    folder = parse_address(address).folder
    if folder is not None and not Path(folder).is_dir():  # engines would make it
        raise StoreNotFoundError(f"there is no folder {folder}; push an index to it.")
    engine = engine_at(address, api_key=api_key, timeout=timeout)
    try:
        return RemoteStore(engine, incomplete=incomplete)
    except BaseException:
        engine.close()
        raise
