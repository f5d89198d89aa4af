"""Which error is answered with which status."""

from __future__ import annotations

import pytest

from pocket_colbert import errors
from pocket_colbert.server.problems import as_request_error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (errors.ClosedError("the index is closed."), 503, "closed"),
        (errors.DocumentNotFoundError("no document 'a'."), 404, "unknown_id"),
        (errors.DuplicateIdError("'a' twice."), 409, "duplicate_id"),
        (errors.UnsupportedError("no filters."), 422, "unsupported"),
        (errors.InvalidInputError("k must be >= 1."), 422, "invalid_request"),
        (errors.IndexLockedError("locked."), 409, "index_conflict"),
        (errors.BackendError("gone."), 502, "backend"),
        (errors.IndexFormatError("damaged."), 500, "internal"),
        (OSError(28, "No space left on device"), 500, "storage"),
        (RuntimeError("a secret"), 500, "internal"),
    ],
)
def test_an_error_has_its_own_status(error: Exception, status: int, kind: str) -> None:
    answer = as_request_error(error)
    assert (answer.status, answer.kind) == (status, kind)
    assert "secret" not in answer.message
    assert ("Retry-After" in answer.headers) == (status == 503)
