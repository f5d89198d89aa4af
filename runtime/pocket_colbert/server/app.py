"""The application: its routes, its limits, and how requests become answers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

import pocket_colbert.server.messages as m
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.server.answer_cache import Answer, AnswerCache, Computation
from pocket_colbert.server.bodies import JSON as _JSON
from pocket_colbert.server.bodies import SMALL, check_type, decoded, read_body, stated_size
from pocket_colbert.server.gate import Gate, Room
from pocket_colbert.server.lingering import Lingering
from pocket_colbert.server.metrics import KIND as _METRICS
from pocket_colbert.server.metrics import OTHER, Metrics
from pocket_colbert.server.observing import AccessLog, Observed
from pocket_colbert.server.openapi import Operation, document_of
from pocket_colbert.server.operations import Work, operations_of
from pocket_colbert.server.page_files import page_files
from pocket_colbert.server.problems import (
    Deadline,
    RequestError,
    Stages,
    as_request_error,
    error_body,
)
from pocket_colbert.server.security import Application, Guard, Prefixed
from pocket_colbert.server.service import Service

MAX_IDS = 100
_SHARED = ("search",)
"""Operations whose answers depend on the body and the index alone, so that equal requests can share
one."""
_KINDS = {404: "not_found", 405: "method_not_allowed"}

Endpoint = Callable[[Request], Awaitable[Response]]
Result = Answer | Future[Answer | None]
"""An answer, or one that another request is waiting for."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a server accepts.

    Attributes:
        body: Most bytes in the body of a request, and in all large bodies at the same time.
        concurrency: Requests that may read at the same time; one more may write.
        queue: Most requests that may wait to read, and as many to write.
        seconds: Seconds a request may wait and run, and as many to send its body.
    """

    body: int = 4_000_000
    concurrency: int = 2
    queue: int = 32
    seconds: float = 30.0

    def __post_init__(self) -> None:
        for name in ("body", "concurrency", "queue", "seconds"):
            value, least = getattr(self, name), 0 if name == "queue" else 1
            if name == "seconds":
                valid = isinstance(value, int | float) and 0 < value < float("inf")
            else:
                valid = isinstance(value, int) and value >= least
            if not valid or isinstance(value, bool):
                raise InvalidInputError(f"{name} must be a number >= {least}, got {value!r}.")


def create_app(
    service: Service,
    *,
    limits: Limits | None = None,
    token: str | None = None,
    hosts: Sequence[str] | None = None,
    origins: Sequence[str] = (),
    prefix: str = "",
    access_log: AccessLog | None = None,
) -> Application:
    """Make the ASGI application of a service.

    Args:
        service: What is served; closed when the application ends.
        limits: How much it accepts.
        token: The bearer token that requests must carry, None for none.
        hosts: Host names that requests may use; None allows any.
        origins: Origins whose pages may ask, such as "https://app.example.com".
        prefix: A path below which the server answers too, such as "/search".
        access_log: Where to write a line for each answer.

    Returns:
        The application.

    Raises:
        InvalidInputError: The token is empty or cannot be sent in a header, or an origin or the
            prefix is none.
    """
    if token is not None and not (
        token.isascii() and token.isprintable() and token == token.strip() != ""
    ):
        raise InvalidInputError("a token must be printable ASCII without spaces around it.")
    server = _Server(service, limits or Limits())
    table = operations_of(service)
    operations = [operation for operation, _ in table]
    document = msgspec.json.encode(
        document_of(operations, max_ids=MAX_IDS, token=token is not None, prefix=prefix)
    )
    ready = {
        "health": _constant(msgspec.json.encode(m.HealthResponse("ok")), _JSON),
        "auth": _constant(msgspec.json.encode(m.AuthResponse(token is not None)), _JSON),
        "model": _model(service.encoder.card.fingerprint),
    }
    pages = page_files()
    routes: dict[str, dict[str, Endpoint]] = {
        "/openapi.json": {"GET": _constant(document, _JSON)},
        "/metrics": {"GET": server.metrics},
        **{path: {"GET": _constant(file.content, file.kind)} for path, file in pages.items()},
    }
    for operation, work in table:
        answer = ready[operation.name] if work is None else server.endpoint(operation, work)
        routes.setdefault(operation.path, {})[operation.method.upper()] = answer

    app = Starlette(
        routes=[
            Route(path.replace("}", ":path}"), _dispatch(methods), methods=list(methods))
            for path, methods in routes.items()
        ],
        exception_handlers={HTTPException: _http_error},
        lifespan=server.lifespan,
    )
    app.router.redirect_slashes = False
    public = ["/health", "/openapi.json", "/v1/cluster/auth", *pages]
    guard = Guard(
        app, token=token, hosts=hosts, public_paths=public, origins=origins, refuse=_error
    )

    def route_of(path: str) -> str:
        path = path.removeprefix(prefix)
        if path in pages:
            return "page"
        if path.startswith("/v1/models/"):
            return "/v1/models/{model}"
        return path if path in routes else OTHER

    lingering = Lingering(guard, seconds=server.limits.seconds)
    located = Prefixed(lingering, prefix) if prefix else lingering
    return Observed(located, route_of=route_of, note=server.measures.answered, log=access_log)


class _Server:
    """Reads requests, runs the work in the right gate, writes answers."""

    def __init__(self, service: Service, limits: Limits) -> None:
        self._service = service
        self.limits = limits
        self._reading = Gate("read", limits.concurrency, limits.queue)
        # Separate, so that a large addition does not make searches wait.
        self._writing = Gate("write", 1, limits.queue)
        self._room = Room(limits.body, limits.queue)
        self._answers = AnswerCache()
        self._measuring = Gate("metrics", 1, 8)
        gates = {"read": self._reading, "write": self._writing}
        self.measures = Metrics(service, gates)

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        self._service.start()
        try:
            yield
        finally:
            for gate in (self._reading, self._writing, self._measuring):
                await asyncio.to_thread(gate.close)
            await asyncio.to_thread(self._service.close)

    async def metrics(self, request: Request) -> Response:
        """Answer with what Prometheus reads; searches that wait do not hold it up."""
        try:
            deadline = Deadline(self.limits.seconds)
            text = await self._measuring.run(lambda deadline: self.measures.text(), deadline)
        except Exception as error:
            return _error(as_request_error(error), request.url.path)
        return Response(text, media_type=_METRICS)

    def endpoint(self, operation: Operation, work: Work) -> Endpoint:
        writes = operation.path == "/api/documents" and operation.method != "get"
        gate = self._writing if writes else self._reading
        decoder: msgspec.json.Decoder[Any] | None = None
        if operation.request:
            liberal = operation.request is m.CompatibleRerankRequest
            decoder = msgspec.json.Decoder(operation.request, strict=not liberal)

        async def answer(request: Request) -> Response:
            try:
                if decoder is None:
                    asked = _ids(request) if operation.ids else None
                    (content, cut), stages = await self._run(
                        request, gate, lambda deadline: _encoded(work(asked, deadline))
                    )
                else:
                    (content, cut), stages = await self._computed(
                        request, decoder, work, gate, shared=operation.name in _SHARED
                    )
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is left to read it
            except Exception as error:
                return _error(as_request_error(error), request.url.path)
            headers = {"Server-Timing": stages.header()}
            if cut:
                headers["X-Query-Truncated"] = "true"
            return Response(content, operation.status, headers, media_type=_JSON)

        return answer

    async def _computed(
        self,
        request: Request,
        decoder: msgspec.json.Decoder[Any],
        work: Work,
        gate: Gate,
        *,
        shared: bool,
    ) -> tuple[Answer, Stages]:
        """Read a body and answer it; large bodies wait until there is room for them."""
        limits = self.limits
        check_type(request)
        size = stated_size(request, limits.body)
        async with AsyncExitStack() as held:
            if size > SMALL:
                await held.enter_async_context(self._room.taken(size, Deadline(limits.seconds)))
            bodies = [await read_body(request, min(size, limits.body), limits.seconds)]

            def job(deadline: Deadline) -> Result:
                # Decoding and encoding can take as long as the work, so they are part of it. The
                # body is let go of before the work.
                if shared and size <= SMALL:
                    return self._shared(work, decoded(decoder, bodies[0]), deadline)
                return _encoded(work(decoded(decoder, bodies.pop()), deadline))

            return await self._run(request, gate, job)

    def _shared(self, work: Work, asked: Any, deadline: Deadline) -> Result:
        """Compute an answer, unless it is known or another thread is computing it."""
        version = self._service.version()
        if version is None:
            return _encoded(work(asked, deadline))
        key = hashlib.sha256(msgspec.json.encode(asked)).digest()
        begun = self._answers.begin(version, key)
        if isinstance(begun, Answer):
            deadline.stages.mark("cache")
        if not isinstance(begun, Computation):
            return begun
        try:
            answer = _encoded(work(asked, deadline))
        except BaseException:
            begun.fail()
            raise
        begun.finish(answer)
        return answer

    async def _run(
        self, request: Request, gate: Gate, job: Callable[[Deadline], Result]
    ) -> tuple[Answer, Stages]:
        """Run a job; stop it, or let it leave the queue, when its client hangs up."""
        deadline = Deadline(self.limits.seconds)
        running = asyncio.ensure_future(_answered(gate, job, deadline))
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                raise ClientDisconnect
            return running.result(), deadline.stages
        finally:
            gone.cancel()
            if not running.done():
                deadline.give_up()
                running.cancel()


async def _answered(gate: Gate, job: Callable[[Deadline], Result], deadline: Deadline) -> Answer:
    """Run a job, or wait for the answer that another one computes; if that fails, run it again."""

    def begun(deadline: Deadline) -> Result:
        deadline.stages.mark("queue")
        return job(deadline)

    while True:
        result = await gate.run(begun, deadline)
        if isinstance(result, Answer):
            return result
        # Its own slot is free for others meanwhile.
        waiting = asyncio.shield(asyncio.wrap_future(result))
        try:
            answer = await asyncio.wait_for(waiting, deadline.left)
        except asyncio.TimeoutError:
            raise deadline.expired() from None
        deadline.stages.mark("shared")
        if answer is not None:
            return answer


async def _hung_up(request: Request) -> None:
    """Wait until nobody is left to read the answer; the body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _encoded(answer: Any) -> Answer:
    """Return an answer as JSON, and whether the query was cut."""
    return Answer(msgspec.json.encode(answer), getattr(answer, "truncated", False))


def _ids(request: Request) -> list[str]:
    unknown = set(request.query_params) - {"id"}
    if unknown:
        raise RequestError(
            422, "invalid_request", f"the only parameter is 'id', got {sorted(unknown)[0]!r}."
        )
    ids = request.query_params.getlist("id")
    if not 1 <= len(ids) <= MAX_IDS:
        raise RequestError(
            422, "invalid_request", f"pass 1 to {MAX_IDS} parameters 'id', got {len(ids)}."
        )
    for document_id in ids:
        if not 1 <= len(document_id) <= m.MAX_ID:
            raise RequestError(
                422, "invalid_request",
                f"an id has 1 to {m.MAX_ID} characters, got {len(document_id)}.",
            )  # fmt: skip
    return ids


def _dispatch(methods: dict[str, Endpoint]) -> Endpoint:
    async def answer(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer


def _constant(content: bytes, kind: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


def _model(name: str) -> Endpoint:
    async def answer(request: Request) -> Response:
        asked = request.path_params["model"]
        described = m.ModelResponse(asked, "model", "pocket-colbert", "rerank", name)
        return Response(msgspec.json.encode(described), media_type=_JSON)

    return answer


def _error(error: RequestError, path: str) -> Response:
    return Response(error_body(error, path), error.status, headers=error.headers, media_type=_JSON)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _KINDS.get(error.status_code, "invalid_request")
    message = {404: f"nothing is at {request.url.path}; see /openapi.json."}.get(
        error.status_code, f"{request.method} {request.url.path}: {error.detail}."
    )
    refused = RequestError(error.status_code, kind, message, dict(error.headers or {}))
    return _error(refused, request.url.path)
