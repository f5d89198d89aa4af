"""Whatever people have as documents - texts, dictionaries, tables - turned into documents."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import PurePath
from typing import Any

from pocket_colbert.checks import checked_document, shown
from pocket_colbert.collection.values import id_of, is_missing, plain, scalar
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.types import Document, Hit

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
    rows = _rows(items, columns)
    all_ids, all_titles = _list_of("ids", ids, items), _list_of("titles", titles, items)
    for_all = metadata if isinstance(metadata, Mapping) else None
    records = _rows_of_table(metadata) if is_table(metadata) else metadata
    each = None if for_all is not None else _list_of("metadata", records, items)
    count = 0
    for number, row in enumerate(rows):
        document = _document(row, columns, number)
        extra = for_all if each is None else _item("metadata", each, number)
        if extra is not None:
            document = replace(document, metadata={**document.metadata, **_metadata(extra, number)})
        if all_ids is not None:
            given_id = id_of(_item("ids", all_ids, number), f"the id of document {number}")
            document = replace(document, document_id=given_id)
        if all_titles is not None:
            title = scalar(_item("titles", all_titles, number))
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


def is_table(items: object) -> bool:
    """Say whether items are a table of pandas, polars or Arrow, rather than rows one by one."""
    if isinstance(items, str | Document | Mapping):
        return False
    if hasattr(items, "to_batches") or hasattr(items, "collect_schema"):  # Arrow, polars
        return True
    return hasattr(items, "itertuples") and hasattr(items, "columns")  # pandas


def _rows(items: Any, columns: Columns) -> Iterable[Any]:
    """Return the rows of a table, the items of a list, or one item on its own."""
    if isinstance(items, str | Document | Mapping | Hit):
        return [items]
    if is_table(items):
        return _rows_of_table(items)
    record = _record(items)
    texts = _TEXT if columns.text is None else (columns.text,)
    # What can be iterated and has no text among its fields is a column under names of its own.
    if record is not None and (
        not isinstance(items, Iterable) or any(key in record for key in texts)
    ):
        return [items]
    if not isinstance(items, Iterable) or isinstance(items, bytes | bytearray):
        files = "; add_files reads files and folders" if isinstance(items, PurePath) else ""
        raise InvalidInputError(
            "documents must be texts, dictionaries, Document(...) or a table, got "
            f"{type(items).__name__}{files}."
        )
    return items


def _rows_of_table(table: Any) -> Iterable[Mapping[str, Any]]:
    if hasattr(table, "collect"):  # a lazy one of polars
        table = table.collect()
    if hasattr(table, "iter_rows"):  # polars
        return table.iter_rows(named=True)  # type: ignore[no-any-return]
    if hasattr(table, "to_batches"):  # Arrow
        return (row for batch in table.to_batches() for row in batch.to_pylist())
    names = list(table.columns)
    index = table.index.name  # of pandas; one that has a name is a column that was set apart
    named = index is not None and index not in names
    lines = table.itertuples(index=named, name=None)
    return (dict(zip([index, *names] if named else names, line, strict=True)) for line in lines)


def _record(item: Any) -> Mapping[Any, Any] | None:
    """Return what has named fields as a dictionary, None if it has none.

    That is, named tuples, data classes, models of pydantic, and rows of sqlite3 and pandas.
    """
    if isinstance(item, Mapping):
        return item
    if isinstance(item, type):
        return None
    for method in ("_asdict", "model_dump"):
        if callable(getattr(item, method, None)):
            return getattr(item, method)()  # type: ignore[no-any-return]
    if is_dataclass(item):
        return {field.name: getattr(item, field.name) for field in fields(item)}
    if callable(getattr(item, "keys", None)) and hasattr(item, "__getitem__"):
        names = list(item.keys())
        # A column of pandas has keys too: the numbers of its rows.
        return {name: item[name] for name in names} if _all_texts(names) else None
    return None


def _all_texts(names: Sequence[Any]) -> bool:
    return bool(names) and all(isinstance(name, str) for name in names)


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
    row = scalar(row)
    if isinstance(row, Document):
        return row
    if isinstance(row, Hit):
        return Document(row.document_id, row.text, row.title, row.metadata)
    if isinstance(row, str):
        return Document(id_of_text(row, None), row)
    record = _record(row)
    if record is not None:
        return _from_mapping(record, columns, number)
    hint = "; leave out what has no text" if is_missing(row) else ""
    raise InvalidInputError(
        f"document {number} must be a text, a dictionary or Document(...), got {shown(row)}{hint}."
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
    title = scalar(named[title_key]) if title_key else None
    title = _optional_text("title", title, number)
    text = scalar(named[text_key])
    if is_missing(text) and title is None:
        raise InvalidInputError(
            f"document {number} has neither a text ({text_key!r}) nor a title; leave such rows "
            f"out, as with frame.dropna(subset=[{text_key!r}])."
        )
    if not is_missing(text) and not isinstance(text, str):
        raise InvalidInputError(
            f"the text of document {number} ({text_key!r}) must be a text, got {shown(text)}."
        )
    text = None if is_missing(text) else text  # found by its title
    given = scalar(named[id_key]) if id_key else None
    if is_missing(given) and columns.document_id is None:
        document_id = id_of_text(text or "", title)
    else:
        document_id = id_of(given, f"the id of document {number}")
    rest = {key: value for key, value in named.items() if key not in {text_key, id_key, title_key}}
    inner = scalar(rest.pop("metadata", None))
    if isinstance(inner, Mapping):
        rest |= {str(key): value for key, value in inner.items()}
    elif not is_missing(inner):
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


def _optional_text(name: str, value: Any, number: int) -> str | None:
    if is_missing(value) or value == "":
        return None
    if not isinstance(value, str):
        raise InvalidInputError(
            f"the {name} of document {number} must be a text, got {shown(value)}."
        )
    return value


def _metadata(values: Any, number: int) -> dict[str, Any]:
    if is_missing(values):
        return {}
    record = _record(values)
    if record is None:
        raise InvalidInputError(
            f"the metadata of document {number} must be a dictionary, got {shown(values)}."
        )
    return {
        str(key): plain(value, f"{key!r} of document {number}")
        for key, value in record.items()
        if not is_missing(scalar(value))
    }
