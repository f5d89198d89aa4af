"""Values of other libraries - numbers of NumPy, dates, what pandas has for nothing - as JSON's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pocket_colbert.checks import shown
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.types import Document, Hit

_DEEPEST = 100
_FINER = ("ns]", "ps]", "fs]", "as]")
"""Units of NumPy finer than microseconds."""


def scalar(value: Any) -> Any:
    """Return a scalar of NumPy, Arrow or another library as Python's; anything else as it is."""
    if hasattr(value, "as_py"):
        return value.as_py()
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return _microseconds(value).item()
    return value


def is_missing(value: Any) -> bool:
    """Say whether a value is what a table has for nothing: None, NaN, NaT or NA."""
    if isinstance(value, float | Decimal):
        return value != value  # only NaN differs from itself
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def is_plain(value: Any) -> bool:
    """Say whether JSON has a value as it is: a text, a number, true, false or null."""
    return value is None or isinstance(value, bool | int | float | str)


def plain(value: Any, name: str, depth: int = 0) -> Any:
    """Return a value as JSON has it.

    Dates and times become ISO 8601, durations seconds, arrays and sets lists, members of an
    enumeration their values; what is missing becomes null.

    Args:
        value: The value.
        name: What a message calls it.
        depth: How deep it is nested.

    Raises:
        InvalidInputError: JSON has nothing like it, or it is nested too deep.
    """
    value = scalar(value)
    if depth > _DEEPEST:
        raise InvalidInputError(f"metadata {name} is nested deeper than {_DEEPEST}.")
    if is_missing(value):
        return None
    if isinstance(value, Enum):
        return plain(value.value, name, depth + 1)
    if is_plain(value):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, UUID | PurePath):
        return str(value)
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(inner, name, depth + 1) for key, inner in value.items()}
    if hasattr(value, "tolist"):  # arrays of NumPy, pandas and others
        return plain(_microseconds(value).tolist(), name, depth + 1)
    if isinstance(value, set | frozenset):
        return sorted((plain(inner, name, depth + 1) for inner in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [plain(inner, name, depth + 1) for inner in value]
    raise InvalidInputError(
        f"metadata {name} must be a text, a number, a date, true or false, or a list or dictionary "
        f"of these, got {shown(value)}."
    )


def plain_filter(where: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return a filter with its values as the metadata of documents have them.

    Raises:
        InvalidInputError: A value is of a kind that metadata cannot have.
    """
    if where is None or not isinstance(where, Mapping):
        return where  # the filter's own check names what it is
    return {
        key: value if is_plain(value) else plain(value, f"{key!r} of where")
        for key, value in where.items()
    }


def id_of(value: Any, name: str) -> str:
    """Return an id as a text; whole numbers and UUIDs become texts, documents and hits their ids.

    Args:
        value: The id.
        name: What a message calls it.

    Raises:
        InvalidInputError: It is something else, or empty.
    """
    value = scalar(value)
    if isinstance(value, Document | Hit):
        return value.document_id
    if isinstance(value, UUID) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InvalidInputError(f"{name} must be a text or a whole number, got {shown(value)}.")
    return value


def is_one(ids: Any) -> bool:
    """Say whether something is one id rather than several; a wrong one counts as one."""
    return isinstance(ids, str | bytes | Document | Hit) or not isinstance(scalar(ids), Iterable)


def ids_of(ids: Any) -> list[str]:
    """Return one id or several as texts.

    Raises:
        InvalidInputError: One is neither a text nor a whole number.
    """
    return [id_of(item, "an id") for item in ([ids] if is_one(ids) else ids)]


def _microseconds(value: Any) -> Any:
    """Return NumPy's dates and durations as exact as Python's; finer ones become integers there."""
    name = str(getattr(value, "dtype", ""))
    kind, _, unit = name.partition("64[")
    if kind not in ("datetime", "timedelta") or unit not in _FINER:
        return value
    return value.astype(f"{kind}64[us]")
