"""Which error of the package is answered with which status code."""

from __future__ import annotations

import logging
import time

import msgspec

import pocket_colbert.server.messages as m
from pocket_colbert.errors import (
    BackendError,
    ClosedError,
    DocumentNotFoundError,
    DuplicateIdError,
    IndexConflictError,
    InvalidInputError,
    PocketColbertError,
    UnsupportedError,
)

logger = logging.getLogger("pocket_colbert.server")


class RequestError(Exception):
    """An answer that is not a success."""

    def __init__(
        self, status: int, kind: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.headers = headers or {}


def error_body(error: RequestError, path: str) -> bytes:
    """Return the JSON that answers a request for a path with an error.

    Args:
        error: The error.
        path: The path, which says whose clients ask.
    """
    problem = m.Problem(error.kind, error.message)
    if path not in m.COMPATIBLE_PATHS and not path.startswith("/v1/"):
        return msgspec.json.encode(m.ErrorResponse(problem))
    detail: str | list[m.ErrorDetail] = error.message
    if error.status == 422:
        detail = [m.ErrorDetail(["body"], error.message, error.kind)]
    return msgspec.json.encode(m.CompatibleErrorResponse(problem, detail))


def overloaded(message: str, kind: str = "overloaded") -> RequestError:
    """Return the answer to a request that there is no capacity or time for."""
    return RequestError(503, kind, message, {"Retry-After": "1"})


def as_request_error(error: Exception) -> RequestError:
    """Return the answer to a request that failed; log unexpected errors in full."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, ClosedError):
        return overloaded("the server is shutting down; try again later.", "closed")
    if isinstance(error, DocumentNotFoundError):
        return RequestError(404, "unknown_id", str(error))
    if isinstance(error, DuplicateIdError):
        return RequestError(409, "duplicate_id", str(error))
    if isinstance(error, UnsupportedError):
        return RequestError(422, "unsupported", str(error))
    if isinstance(error, InvalidInputError):
        return RequestError(422, "invalid_request", str(error))
    if isinstance(error, IndexConflictError):
        return RequestError(409, "index_conflict", str(error))
    if isinstance(error, BackendError):
        logger.warning("a backend failed: %s", error)
        return RequestError(502, "backend", str(error))
    logger.error("a request failed", exc_info=error)
    if isinstance(error, PocketColbertError):
        return RequestError(500, "internal", str(error))
    if isinstance(error, OSError):
        return RequestError(
            500, "storage",
            f"the index could not be read or written ({error.strerror}); see the server's log.",
        )  # fmt: skip
    return RequestError(500, "internal", "an unexpected error; see the server's log.")


class Stages:
    """How long each part of an answer took, one after the other."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._seconds: dict[str, float] = {}

    def mark(self, name: str | None) -> None:
        """Count the time since the last mark to a part; None counts it to none."""
        now = time.perf_counter()
        if name is not None:
            self._seconds[name] = self._seconds.get(name, 0.0) + now - self._since
        self._since = now

    def header(self) -> str:
        """Return the value of a header `Server-Timing`, in milliseconds."""
        parts = self._seconds.items()
        return ", ".join(f"{name};dur={1000 * seconds:.2f}" for name, seconds in parts)


class Deadline:
    """When a request must be finished. It is checked between steps, not during them.

    Attributes:
        seconds: How long the request may take.
        stages: What its time went to.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.stages = Stages()
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise the answer 503 if the time is up."""
        if not self.left:
            raise self.expired()

    def give_up(self) -> None:
        """Let the work end at its next check: nobody waits for it any more."""
        self._end = 0.0

    def expired(self) -> RequestError:
        """Return the answer to a request whose time is up."""
        return overloaded(
            f"the request took more than {self.seconds:g} s; send less at a time or try again "
            "later.",
            "timeout",
        )

    def progress(self, done: int, total: int) -> None:
        """Check, as a progress callback of the encoder."""
        self.check()
