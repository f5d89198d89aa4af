"""Addresses of stores.

    qdrant://host[:port]/collection            over HTTP, by default at port 6333
    qdrant+https://host[:port]/collection      over HTTPS
    qdrant:///folder/collection                in this process, in an absolute folder
    qdrant://:memory:/collection               in this process, in memory, for tests
    lance://folder/table                       a folder, relative or (lance:///...) absolute
    lance+s3://bucket/prefix/table             object storage; also lance+gs and lance+az

An API key may stand before the host, as in qdrant+https://KEY@host/collection.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from pocket_colbert.errors import InvalidInputError

MEMORY = ":memory:"
"""Stands for the host, or the folder, of what is kept in memory."""

_SCHEMES = ("qdrant", "qdrant+https", "lance", "lance+s3", "lance+gs", "lance+az")


@dataclass(frozen=True)
class Address:
    """Where a store is.

    Attributes:
        shown: The address as it may be shown, without any key.
        engine: "qdrant" or "lance".
        place: The server's URL, the folder, or the object storage's URL.
        name: The collection or table.
        remote: Whether `place` is a Qdrant server.
        key: The API key that stood in it; never part of `str` or `repr`.
    """

    shown: str
    engine: str
    place: str
    name: str
    remote: bool = False
    key: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return self.shown

    @property
    def folder(self) -> str | None:
        """The folder it is in; None on a server, in object storage or in memory."""
        return None if self.remote or self.place == MEMORY or "://" in self.place else self.place


def is_address(text: str) -> bool:
    """Say whether a text is meant as an address of a store and not as a path."""
    return text.partition("://")[0] in _SCHEMES


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        InvalidInputError: It is none; the message says what is wrong, without any key.
    """
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise InvalidInputError(
            f"the address of a store must begin with {', '.join(f'{s}://' for s in _SCHEMES)}, "
            f"got {scheme if separator else text!r}."
        )
    place, _, name = rest.rpartition("/")
    name = unquote(name)
    if not place or not name:
        raise InvalidInputError(
            f"the address of a store must be {scheme}://PLACE/NAME, such as "
            f"{'lance://my.lance/papers' if 'lance' in scheme else 'qdrant://localhost/papers'}; "
            "the name of the collection or table is what stands after the last slash."
        )
    if scheme == "lance":
        return Address(text, "lance", place, name)
    if scheme.startswith("lance+"):
        return Address(text, "lance", f"{scheme.removeprefix('lance+')}://{place}", name)
    if scheme == "qdrant" and (place == MEMORY or place.startswith("/")):
        return Address(text, "qdrant", place, name)
    return _server(scheme, place, name)


def _server(scheme: str, place: str, name: str) -> Address:
    protocol = "https" if scheme == "qdrant+https" else "http"
    try:
        parts = urlsplit(f"{protocol}://{place}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise InvalidInputError(
            "the address of a Qdrant server must have a host and perhaps a port between the "
            "slashes, as in qdrant://localhost:6333/papers."
        )
    host = f"[{host}]" if ":" in host else host
    key = unquote(parts.password or parts.username or "") or None
    rest = f"{host}:{port or 6333}{parts.path.rstrip('/')}"
    return Address(f"{scheme}://{rest}/{name}", "qdrant", f"{protocol}://{rest}", name, True, key)
