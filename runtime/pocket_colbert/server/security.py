"""Who may connect (host names, tokens, addresses), and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.server.problems import RequestError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
HEADERS = {
    # Allow only the page's own files, and do not let other pages frame it.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_FOR_OTHERS = {
    "access-control-allow-methods": "GET, POST, PUT, DELETE",
    "access-control-allow-headers": "Authorization, Content-Type",
    "access-control-max-age": "600",
}


def checked_origins(origins: Sequence[str]) -> frozenset[str]:
    """Return origins as browsers send them.

    Raises:
        InvalidInputError: One is not scheme, host and port alone.
    """
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise InvalidInputError(
                "an origin must be a scheme and a host in lower case, and its port if that is not "
                f"the usual one, such as https://app.example.com, got {origin!r}."
            )
    return frozenset(origins)


class Guard:
    """Lets requests with the right host and token through, and adds headers to every answer.

    Pages of other origins can read answers only if their origin is one of those that are allowed.
    """

    def __init__(
        self,
        inner: Application,
        *,
        token: str | None,
        hosts: Sequence[str] | None,
        public_paths: Sequence[str],
        origins: Sequence[str] = (),
        refuse: Callable[[RequestError, str], Application],
    ) -> None:
        """Wrap an application.

        Args:
            inner: The application.
            token: The bearer token that requests must carry, None for none.
            hosts: Host names, without ports, that requests may use; None allows any.
            public_paths: Paths that need no token.
            origins: Origins whose pages may ask, such as "https://app.example.com".
            refuse: Returns an application that answers a request for a path with an error.
        """
        self._inner = inner
        self._token = None if token is None else token.encode("utf-8")
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._public_paths = set(public_paths)
        self._origins = checked_origins(origins)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        allowed = self._allowed_origin(scope)

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.encode() not in given
                    ),
                    *self._for_origin(allowed),
                ]
            await send(message)

        inner = self._inner
        try:
            self._check_host(scope)
            if allowed is not None and _is_preflight(scope):
                await _agree(send_with_headers)
                return
            self._check_token(scope)
        except RequestError as error:
            inner = self._refuse(error, scope["path"])
        await inner(scope, receive, send_with_headers)

    def _allowed_origin(self, scope: Scope) -> str | None:
        """Return the origin of a request's page if it may ask."""
        given = [value for name, value in scope["headers"] if name.lower() == b"origin"]
        origin = given[0].decode("latin-1") if len(given) == 1 else ""
        return origin if origin in self._origins else None

    def _for_origin(self, allowed: str | None) -> list[tuple[bytes, bytes]]:
        """Return headers that let a page read an answer."""
        if not self._origins:
            return []
        headers = [(b"vary", b"Origin")]
        if allowed is not None:
            headers += [
                (b"access-control-allow-origin", allowed.encode("latin-1")),
                (
                    b"access-control-expose-headers",
                    b"Retry-After, Server-Timing, X-Query-Truncated",
                ),
            ]
        return headers

    def _check_host(self, scope: Scope) -> None:
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if self._hosts is not None:
            # A page of another site whose name was pointed here (DNS rebinding) sends that name.
            if len(hosts) != 1 or host_name(hosts[0].decode("latin-1")) not in self._hosts:
                raise RequestError(
                    421, "wrong_host",
                    "the Host header must name this server, got "
                    f"{b', '.join(hosts).decode('latin-1')!r}; --allow-host adds names.",
                )  # fmt: skip

    def _check_token(self, scope: Scope) -> None:
        if self._token is None or scope["path"] in self._public_paths:
            return
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        scheme, _, shown = (given[0] if len(given) == 1 else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self._token):
            raise RequestError(
                401, "unauthorized", "send the header 'Authorization: Bearer TOKEN'.",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip


def _is_preflight(scope: Scope) -> bool:
    """Say whether a browser asks what a page of another origin may send."""
    asked = b"access-control-request-method"
    return scope["method"] == "OPTIONS" and any(
        name.lower() == asked for name, _ in scope["headers"]
    )


async def _agree(send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in _FOR_OTHERS.items()]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class Prefixed:
    """Serves an application below a path as well, for proxies that leave the path as it is."""

    def __init__(self, inner: Application, prefix: str) -> None:
        """Wrap an application.

        Args:
            inner: The application.
            prefix: The path, such as "/search".

        Raises:
            InvalidInputError: It is not a path without a slash at its end.
        """
        if not re.fullmatch(r"(?:/[A-Za-z0-9._~-]+)+", prefix) or "/." in prefix:
            raise InvalidInputError(
                "a path prefix must start with a slash, have no slash at its end and only letters, "
                f"digits and ._~- between, such as /search, got {prefix!r}."
            )
        self._inner = inner
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path == self._prefix:
            # Without the slash the page's own addresses would lead out of the prefix.
            query = scope.get("query_string", b"")
            location = self._prefix.encode() + b"/" + (b"?" + query if query else b"")
            headers = [(b"location", location), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 308, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] == "http" and path.startswith(self._prefix + "/"):
            scope = {**scope, "path": path[len(self._prefix) :]}
        await self._inner(scope, receive, send)


def host_name(value: str) -> str:
    """Return the name in a Host header, in lower case and without its port."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower()


def listening_socket(host: str, port: int, *, token: str | None) -> tuple[socket.socket, bool]:
    """Listen on an address.

    Args:
        host: A name or address.
        port: A port, 0 for any that is free.
        token: The token that requests must carry, None for none.

    Returns:
        The socket, and whether only this machine can reach it.

    Raises:
        InvalidInputError: Other machines could connect without a token, or there is no such host.
        OSError: The address is in use, or not one of this machine.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise InvalidInputError(f"--host must be an address of this machine, got {host!r}.") from (
            error
        )
    family, _, _, _, address = found[0]
    # Listen on the address that was checked, whatever the name resolves to later.
    local = ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback
    if not local and not token:
        raise InvalidInputError(
            f"{host} can be reached from other machines: set a token with --token or "
            "POCKET_COLBERT_TOKEN, or listen on 127.0.0.1."
        )
    return socket.create_server(address[:2], family=family, backlog=256), local
