"""Addresses of backends.

    qdrant://host[:port]/collection            over HTTP, by default at port 6333
    qdrant+https://host[:port]/collection      over HTTPS
    qdrant:///folder/collection                in this process, files in an absolute folder
    qdrant://:memory:/collection               in this process, in memory, for tests
    lance://folder/table                       a folder, relative or (lance:///...) absolute
    lance+s3://bucket/prefix/table             object storage; also lance+gs and lance+az

An API key may precede the host: qdrant+https://KEY@host/collection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pocket_colbert.errors import InvalidInputError

MEMORY = ":memory:"
"""Takes the place of a host or folder for a collection that is kept in memory."""

_SCHEMES = ("qdrant", "qdrant+https", "lance", "lance+s3", "lance+gs", "lance+az")


@dataclass(frozen=True)
class Address:
    """The address of a backend, taken apart.

    Attributes:
        shown: The address without any key, safe to print.
        engine: "qdrant" or "lance".
        location: URL of the server or of the object storage, or path of the folder.
        name: The collection or table.
        remote: Whether `location` is a Qdrant server.
        key: The API key from the address; never part of `str` or `repr`.
    """

    shown: str
    engine: str
    location: str
    name: str
    remote: bool = False
    key: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def folder(self) -> str | None:
        """The local folder; None on a server, in object storage and in memory."""
        if self.remote or self.location == MEMORY or "://" in self.location:
            return None
        return self.location


def is_address(text: str) -> bool:
    """Say whether a text is the address of a backend rather than a path."""
    return text.partition("://")[0] in _SCHEMES


def parse_address(text: str) -> Address:
    """Parse an address.

    Raises:
        InvalidInputError: The address is malformed; the message says how and shows no key.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise InvalidInputError(
            "the address of a backend must begin with "
            f"{', '.join(f'{s}://' for s in _SCHEMES)}, got {scheme if separator else text!r}."
        )
    location, _, name = rest.rpartition("/")
    name = unquote(name)
    if not location or not name:
        raise InvalidInputError(
            f"the address of a backend must be {scheme}://LOCATION/NAME, such as "
            f"{'lance://my.lance/papers' if 'lance' in scheme else 'qdrant://localhost/papers'}; "
            "the part after the last slash names the collection or table."
        )
    if scheme == "lance":
        return Address(text, "lance", location, name)
    if scheme.startswith("lance+"):
        return Address(text, "lance", f"{scheme.removeprefix('lance+')}://{location}", name)
    if scheme == "qdrant" and (location == MEMORY or location.startswith("/")):
        return Address(text, "qdrant", location, name)
    return _server_address(scheme, location, name)


def _server_address(scheme: str, location: str, name: str) -> Address:
    protocol = "https" if scheme == "qdrant+https" else "http"
    try:
        parts = urlsplit(f"{protocol}://{location}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InvalidInputError(
            "the address of a Qdrant server must have a host, and optionally a port, between the "
            "slashes, as in qdrant://localhost:6333/papers."
        )
    host = f"[{host}]" if ":" in host else host
    key = unquote(parts.password or parts.username or "") or None
    rest = f"{host}:{port or 6333}{parts.path.rstrip('/')}"
    return Address(f"{scheme}://{rest}/{name}", "qdrant", f"{protocol}://{rest}", name, True, key)
