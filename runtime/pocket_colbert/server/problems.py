"""Errors with a status code, and which error of the package has which."""

from __future__ import annotations

import logging
import time

from pocket_colbert.errors import (
    BackendError,
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


def overloaded(message: str, kind: str = "overloaded") -> RequestError:
    """Build the answer to a request there is no room or time for."""
    return RequestError(503, kind, message, {"Retry-After": "1"})


def as_request_error(error: Exception) -> RequestError:
    """Return the answer to a request that failed; what nobody expected is logged whole."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, DuplicateIdError):
        return RequestError(409, "duplicate_id", str(error))
    if isinstance(error, UnsupportedError):
        return RequestError(422, "unsupported", str(error))
    if isinstance(error, InvalidInputError):
        return RequestError(422, "invalid_request", str(error))
    if isinstance(error, DocumentNotFoundError):
        return RequestError(404, "unknown_id", str(error))
    if isinstance(error, IndexConflictError):
        return RequestError(409, "index_conflict", str(error))
    if isinstance(error, BackendError):
        logger.warning("a store failed: %s", error)
        return RequestError(502, "store", str(error))
    logger.error("a request failed", exc_info=error)
    if isinstance(error, PocketColbertError):
        return RequestError(500, "internal", str(error))
    if isinstance(error, OSError):
        return RequestError(
            500, "storage",
            f"the index could not be read or written ({error.strerror}); the server's log says "
            "more.",
        )  # fmt: skip
    return RequestError(500, "internal", "an error nobody expected; the server's log says more.")


class Deadline:
    """Until when a request may compute. It is looked at between steps, never in the midst."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._end - time.monotonic())

    def check(self) -> None:
        """Raise the answer 503 when the time is over."""
        if not self.left:
            raise self.passed()

    def passed(self) -> RequestError:
        """Build the answer to a request whose time is over."""
        return overloaded(
            f"the request took more than {self.seconds:g} s; send less at once or try again later.",
            "timeout",
        )

    def progress(self, done: int, total: int) -> None:
        """Do the same as a callback of the encoder."""
        self.check()
