"""Whatever people have as documents - texts, dictionaries, tables - turned into documents."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, time
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pocket_colbert.checks import checked_document, shown
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.types import Document

_TEXT = ("text", "content", "body", "page_content", "document", "passage")
_IDS = ("id", "_id", "document_id", "doc_id")
_TITLES = ("title",)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which keys of dictionaries, and columns of tables, hold what; None means the usual names.

    Attributes:
        text: Key of the text; by default `text`, `content`, `body`, `page_content`, `document` or
            `passage`, whichever there is.
        document_id: Key of the id; by default `id`, `_id`, `document_id` or `doc_id`. Without any
            the id is made from the text.
        title: Key of the title; by default `title`.
    """

    text: str | None = None
    document_id: str | None = None
    title: str | None = None


def documents_of(
    items: object,
    *,
    columns: Columns | None = None,
    ids: object = None,
    titles: object = None,
    metadata: object = None,
) -> Iterator[Document]:
    """Turn what people have into documents.

    Args:
        items: A text, a `Document` or a dictionary, or many of them: any iterable, a table of
            pandas, polars or Arrow, a column of one, or a dataset of Hugging Face.
        columns: See `Columns`. Keys that it does not name become metadata; a key `metadata` that
            holds a dictionary is merged into them.
        ids: An id each, texts or whole numbers.
        titles: A title each, or None.
        metadata: A dictionary each, or one for all. Its values win over the items' own.

    Yields:
        The documents, in order.

    Raises:
        InvalidInputError: An item is nothing of this kind, has no text, or a list has another
            length; the message names the item by its number, from 0.
    """
    columns = columns or Columns()
    rows = _rows(items)
    all_ids, all_titles = _list_of("ids", ids, items), _list_of("titles", titles, items)
    for_all = metadata if isinstance(metadata, Mapping) else None
    each = None if for_all is not None else _list_of("metadata", metadata, items)
    count = 0
    for number, row in enumerate(rows):
        document = _document(row, columns, number)
        extra = for_all if each is None else _item("metadata", each, number)
        if extra is not None:
            document = replace(document, metadata={**document.metadata, **_metadata(extra, number)})
        if all_ids is not None:
            document = replace(document, document_id=_id(_item("ids", all_ids, number), number))
        if all_titles is not None:
            title = _scalar(_item("titles", all_titles, number))
            document = replace(document, title=_optional_text("title", title, number))
        count = number + 1
        yield checked_document(document)
    for name, given in (("ids", all_ids), ("titles", all_titles), ("metadata", each)):
        if given is not None and len(given) != count:
            raise InvalidInputError(
                f"{name} must have one item for each of the {count} documents, got {len(given)}."
            )


def is_sized(items: object) -> bool:
    """Say whether items are all there already, rather than made one after the other."""
    return isinstance(items, str | Document | Mapping) or hasattr(items, "__len__")


def id_of_text(text: str, title: str | None) -> str:
    """Return the id of a document that has none: the same for the same text and title."""
    content = f"{title or ''}\0{text}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()[:24]


def _rows(items: Any) -> Iterable[Any]:
    """Return the rows of a table, the items of a list, or one item on its own."""
    if isinstance(items, str | Document | Mapping):
        return [items]
    if hasattr(items, "iter_rows") and hasattr(items, "columns"):  # polars
        return items.iter_rows(named=True)  # type: ignore[no-any-return]
    if hasattr(items, "to_batches"):  # Arrow
        return (row for batch in items.to_batches() for row in batch.to_pylist())
    if hasattr(items, "itertuples") and hasattr(items, "columns"):  # pandas
        names = list(items.columns)
        lines = items.itertuples(index=False, name=None)
        return (dict(zip(names, line, strict=True)) for line in lines)
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray):
        raise InvalidInputError(
            "documents must be texts, dictionaries, Document(...) or a table, got "
            f"{type(items).__name__}."
        )
    return items


def _list_of(name: str, values: Any, items: object) -> Sequence[Any] | None:
    if values is None:
        return None
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        if isinstance(items, str | Document | Mapping):  # one document, one value
            return [values]
        raise InvalidInputError(f"{name} must be a list, one a document, got {shown(values)}.")
    return list(values)


def _item(name: str, values: Sequence[Any], number: int) -> Any:
    if number >= len(values):
        raise InvalidInputError(
            f"{name} must have one item a document, got {len(values)} for more than that."
        )
    return values[number]


def _document(row: Any, columns: Columns, number: int) -> Document:
    row = _scalar(row)
    if isinstance(row, Document):
        return row
    if isinstance(row, str):
        return Document(id_of_text(row, None), row)
    if isinstance(row, Mapping):
        return _from_mapping(row, columns, number)
    raise InvalidInputError(
        f"document {number} must be a text, a dictionary or Document(...), got {shown(row)}."
    )


def _from_mapping(row: Mapping[Any, Any], columns: Columns, number: int) -> Document:
    named = {str(key): value for key, value in row.items()}
    text_key = _key(named, columns.text, _TEXT, "text", number)
    if text_key is None:
        raise InvalidInputError(
            f"document {number} has no text: its keys are {shown(sorted(named))}; name the one "
            "that holds it, as in text='abstract'."
        )
    id_key = _key(named, columns.document_id, _IDS, "id", number)
    title_key = _key(named, columns.title, _TITLES, "title", number)
    text = _scalar(named[text_key])
    if not isinstance(text, str):
        raise InvalidInputError(
            f"the text of document {number} ({text_key!r}) must be a text, got {shown(text)}."
        )
    title = _scalar(named[title_key]) if title_key else None
    title = _optional_text("title", title, number)
    document_id = id_of_text(text, title) if id_key is None else _id(named[id_key], number)
    rest = {key: value for key, value in named.items() if key not in {text_key, id_key, title_key}}
    inner = rest.pop("metadata", None)
    if isinstance(inner, Mapping):
        rest |= {str(key): value for key, value in inner.items()}
    elif not _missing(inner):
        rest["metadata"] = inner
    return Document(document_id, text, title, _metadata(rest, number))


def _key(
    row: Mapping[str, Any], wanted: str | None, usual: Sequence[str], what: str, number: int
) -> str | None:
    """Return the key that holds something: the one asked for, or the first usual one there is."""
    if wanted is None:
        return next((key for key in usual if key in row), None)
    if wanted not in row:
        raise InvalidInputError(
            f"document {number} has no {wanted!r}, which {what}= names: its keys are "
            f"{shown(sorted(row))}."
        )
    return wanted


def _id(value: Any, number: int) -> str:
    value = _scalar(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, UUID):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InvalidInputError(
            f"the id of document {number} must be a text or a whole number, got {shown(value)}."
        )
    return value


def _optional_text(name: str, value: Any, number: int) -> str | None:
    if _missing(value) or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidInputError(
            f"the {name} of document {number} must be a text, got {shown(value)}."
        )
    return value


def _metadata(values: Any, number: int) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise InvalidInputError(
            f"the metadata of document {number} must be a dictionary, got {shown(values)}."
        )
    return {
        str(key): _plain(value, f"{key!r} of document {number}")
        for key, value in values.items()
        if not _missing(_scalar(value))
    }


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    """Return a value as JSON has it: dates as ISO 8601, arrays and sets as lists."""
    value = _scalar(value)
    if depth > 100:
        raise InvalidInputError(f"metadata {name} is nested deeper than 100.")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, name, depth + 1) for key, inner in value.items()}
    if hasattr(value, "tolist"):  # arrays of NumPy, pandas and others
        return _plain(value.tolist(), name, depth + 1)
    if isinstance(value, set | frozenset):
        return sorted((_plain(inner, name, depth + 1) for inner in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [_plain(inner, name, depth + 1) for inner in value]
    raise InvalidInputError(
        f"metadata {name} must be a text, a number, a date, true or false, or a list or dictionary "
        f"of these, got {shown(value)}."
    )


def _scalar(value: Any) -> Any:
    """Return NumPy's and Arrow's scalars as Python's."""
    if hasattr(value, "as_py"):
        return value.as_py()
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return value.item()
    return value


def _missing(value: Any) -> bool:
    """Say whether a table has nothing here: None, NaN, NaT or NA."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return type(value).__name__ in ("NAType", "NaTType")
