"""Documents from the rows of JSON lines and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pocket_colbert.checks import checked_document
from pocket_colbert.errors import CorpusError, InvalidInputError
from pocket_colbert.types import Document


@dataclass(frozen=True)
class Fields:
    """Names of the keys of a row.

    Attributes:
        document_id: Key of the id; a whole number becomes its digits. With "" the id is the name
            of the file, a colon and the number of the row.
        text: Key of the text.
        title: Key of the title, which a row may lack.
    """

    document_id: str = "_id"
    text: str = "text"
    title: str = "title"


def document_from_row(
    row: Mapping[str, Any], fields: Fields, location: str, default_id: str
) -> Document:
    """Turn a JSON object, or a row of a table, into a document.

    Args:
        row: Keys and values. Those that `fields` does not name become metadata.
        fields: Names of the keys.
        location: The file and line, for messages.
        default_id: The id if `fields` names no key for it.

    Raises:
        CorpusError: A key is missing or its value is of the wrong type.
    """
    if not fields.document_id:
        row = {**row, "": default_id}
    for key in (fields.document_id, fields.text):
        if key not in row:
            raise CorpusError(
                f"{location}: no key {key!r}, got {sorted(row)}; name the keys with --id-field "
                "and --text-field."
            )
    document_id, text, title = row[fields.document_id], row[fields.text], row.get(fields.title)
    if isinstance(document_id, int) and not isinstance(document_id, bool):
        document_id = str(document_id)
    for key, value in ((fields.document_id, document_id), (fields.text, text)):
        if not isinstance(value, str):
            raise CorpusError(f"{location}: {key!r} must be a string, got {value!r}.")
    if not document_id:
        raise CorpusError(f"{location}: {fields.document_id!r} must not be empty.")
    if title is not None and not isinstance(title, str):
        raise CorpusError(f"{location}: {fields.title!r} must be a string, got {title!r}.")
    named = {fields.document_id, fields.text, fields.title}
    metadata = {key: value for key, value in row.items() if key not in named}
    try:
        return checked_document(Document(document_id, text, title or None, metadata))
    except InvalidInputError as error:
        raise CorpusError(f"{location}: {error}") from error
