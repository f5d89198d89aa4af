"""Who may connect (host names, tokens, addresses), and the headers of every answer."""

from __future__ import annotations

import hmac
import ipaddress
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


class Guard:
    """Lets requests with the right host and token through, and adds headers to every answer."""

    def __init__(
        self,
        inner: Application,
        *,
        token: str | None,
        hosts: Sequence[str] | None,
        public_paths: Sequence[str],
        refuse: Callable[[RequestError, str], Application],
    ) -> None:
        """Wrap an application.

        Args:
            inner: The application.
            token: The bearer token that requests must carry, None for none.
            hosts: Host names, without ports, that requests may use; None allows any.
            public_paths: Paths that need no token.
            refuse: Returns an application that answers a request for a path with an error.
        """
        self._inner = inner
        self._token = None if token is None else token.encode("utf-8")
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._public_paths = set(public_paths)
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

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
                ]
            await send(message)

        inner = self._inner
        try:
            self._check(scope)
        except RequestError as error:
            inner = self._refuse(error, scope["path"])
        await inner(scope, receive, send_with_headers)

    def _check(self, scope: Scope) -> None:
        headers = [(name.lower(), value) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if self._hosts is not None:
            # A page of another site whose name was pointed here (DNS rebinding) sends that name.
            if len(hosts) != 1 or host_name(hosts[0].decode("latin-1")) not in self._hosts:
                raise RequestError(
                    421, "wrong_host",
                    "the Host header must name this server, got "
                    f"{b', '.join(hosts).decode('latin-1')!r}; --allow-host adds names.",
                )  # fmt: skip
        if self._token is None or scope["path"] in self._public_paths:
            return
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, shown = (given[0] if len(given) == 1 else b"").partition(b" ")
        if scheme.lower() != b"bearer" or not hmac.compare_digest(shown.strip(), self._token):
            raise RequestError(
                401, "unauthorized", "send the header 'Authorization: Bearer TOKEN'.",
                {"WWW-Authenticate": "Bearer"},
            )  # fmt: skip


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
