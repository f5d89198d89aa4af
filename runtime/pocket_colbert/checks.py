"""Lists of document ids as people give them."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence

from pocket_colbert.errors import InvalidInputError


def check_ids(document_ids: Iterable[str], name: str) -> list[str]:
    """Return ids as a list, once each is known to be a text that is not empty."""
    if isinstance(document_ids, str):
        raise InvalidInputError(f"{name} must be a list of strings, got one string.")
    ids = list(document_ids)
    for document_id in ids:
        if not isinstance(document_id, str) or not document_id:
            raise InvalidInputError(f"a document id must be a text, got {document_id!r}.")
    return ids


def check_present(document_ids: Sequence[str], present: Container[str], place: str) -> None:
    """Raise InvalidInputError unless documents of all ids are present in a place."""
    missing = [item for item in document_ids if item not in present]
    if missing:
        raise InvalidInputError(
            f"document ids must be in the {place}, got {missing[0]!r} and {len(missing) - 1} "
            "others that are not."
        )
