"""Open the engine, or the searchable backend, at an address."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.backends.address import parse_address
from pocket_colbert.backends.engine import Engine
from pocket_colbert.backends.remote import RemoteBackend
from pocket_colbert.checks import check_whole_number
from pocket_colbert.errors import BackendNotFoundError

TIMEOUT = 60
"""Default limit in seconds for one server request; large exact searches can take that long."""


def engine_at(address: str, *, api_key: str | None = None, timeout: int = TIMEOUT) -> Engine:
    """Connect to the engine at an address; see `open_backend` for the arguments.

    To use a Qdrant client with your own options, build `backends.qdrant.Qdrant(client, name)`.

    Raises:
        InvalidInputError: The address is malformed, or the timeout is below 1.
        OptionalDependencyError: The engine's package is not installed.
        BackendError: The engine cannot be reached or opened.
    """
    check_whole_number("timeout", timeout)
    parsed = parse_address(address)
    if parsed.engine == "qdrant":
        from pocket_colbert.backends.qdrant import Qdrant

        return Qdrant.at(parsed, api_key=api_key, timeout=timeout)
    from pocket_colbert.backends.lance import Lance

    return Lance(parsed)


def open_backend(
    address: str,
    *,
    api_key: str | None = None,
    timeout: int = TIMEOUT,
    incomplete: bool = False,
) -> RemoteBackend:
    """Open what `push` wrote for searching.

    Args:
        address: See `backends.address`.
        api_key: API key for a Qdrant server. Object storage uses its own credentials.
        timeout: Time limit in seconds for one request to a Qdrant server.
        incomplete: See `RemoteBackend`.

    Raises:
        InvalidInputError: The address is malformed, or the timeout is below 1.
        OptionalDependencyError: The engine's package is not installed.
        BackendNotFoundError: Nothing has been pushed to that address.
        BackendError: See `RemoteBackend`.
    """
    folder = parse_address(address).folder
    if folder is not None and not Path(folder).is_dir():  # the engine would create it
        raise BackendNotFoundError(f"there is no folder {folder}; push an index to it first.")
    engine = engine_at(address, api_key=api_key, timeout=timeout)
    try:
        return RemoteBackend(engine, incomplete=incomplete)
    except BaseException:
        engine.close()
        raise
