"""What a document must be to be stored."""

from __future__ import annotations

import json
from dataclasses import replace

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.metadata import checked_json
from pocket_colbert.storage.document_store import Document


def checked_document(document: Document) -> Document:
    """Return a copy of a document, once it is known that it reads back as it is stored.

    Raises:
        InvalidInputError: It does not.
    """
    name = f"of {document.document_id!r}"
    for what in ("document_id", "title", "text", "source"):
        value = getattr(document, what)
        if value is not None and not isinstance(value, str):
            raise InvalidInputError(f"{what} {name} must be a text, got {type(value).__name__}.")
        try:
            (value or "").encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidInputError(f"{what} {name} must be valid Unicode: {error}.") from error
    try:
        back = checked_json(json.dumps(document.metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"metadata {name} must be a JSON object: {error}.") from error
    if not isinstance(back, dict) or back != document.metadata:
        raise InvalidInputError(
            f"metadata {name} must be a JSON object that reads back as it is (texts as keys, "
            f"lists, no tuples), got {document.metadata!r}."
        )
    return replace(document, metadata=back)
