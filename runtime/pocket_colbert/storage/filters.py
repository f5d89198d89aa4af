"""`where`: which documents a search may return, by their metadata.

    {"year": {"$gte": 2020}, "lang": "en"}
    {"$or": [{"tags": {"$in": ["law", "tax"]}}, {"$not": {"draft": True}}]}

A filter is parsed into conditions, each of which the segment's database answers by one constant
statement with the values as parameters; "and", "or" and "not" are taken over the answers. Names
and values are never part of a statement.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import shown
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.metadata import sql_number
from pocket_colbert.types import Value

ID = "$id"
"""Stands for the document's id where a field is named."""

_OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$prefix")
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
_DEPTH = 32
_CONDITIONS = 1000


@dataclass(frozen=True)
class Condition:
    """What a field must be.

    Attributes:
        field: Its name; inner fields are named with dots.
        operator: "$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$exists" or "$prefix".
        values: One value; any number for "$in", none for "$exists".
    """

    field: str
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Filter:
    """A filter as a tree.

    Attributes:
        kind: "condition", "and", "or" or "not".
        parts: Inner filters.
        condition: The condition of a leaf.
    """

    kind: str
    parts: tuple[Filter, ...] = ()
    condition: Condition | None = None

    def mask(
        self, size: int, matching: Callable[[Condition], NDArray[np.int64]]
    ) -> NDArray[np.bool_]:
        """Say for which of `size` documents the filter holds.

        Args:
            size: How many documents there are.
            matching: Returns the positions of the documents that a condition holds for.

        Returns:
            (size,) bool.
        """
        if self.condition is not None:
            mask = np.zeros(size, dtype=bool)
            mask[matching(self.condition)] = True
            return mask
        if self.kind == "not":
            mask = self.parts[0].mask(size, matching)
            return np.logical_not(mask, out=mask)
        # One mask a level, whatever the number of parts.
        either = self.kind == "or"
        combine = np.logical_or if either else np.logical_and
        mask = np.full(size, not either)
        for part in self.parts:
            combine(mask, part.mask(size, matching), out=mask)
            if mask.all() if either else not mask.any():
                break  # the other parts cannot change it
        return mask


def parse_filter(where: Mapping[str, Any]) -> Filter:
    """Read a filter.

    Args:
        where: Fields and what they must be, all of which must hold: a text, number or boolean
            the field equals, or an object of operators ("$eq", "$ne", "$gt", "$gte", "$lt",
            "$lte", "$in", "$nin", "$exists", "$prefix"). "$and" and "$or" take a list of
            filters, "$not" one. "author.name" is `name` within `author`, "$id" the document's
            id. A list holds what any of its items is; true is 1; null is as if absent; numbers
            and texts are never equal and only compared with their like; "$ne" and "$nin" hold
            for documents without the field too.

    Returns:
        The filter.

    Raises:
        InvalidInputError: It is not such an object; the message names the part.
    """
    count = [0]
    return _parse(where, 0, count)


def _parse(where: object, depth: int, count: list[int]) -> Filter:
    if not isinstance(where, Mapping):
        raise InvalidInputError(f"a filter must be an object, got {shown(where)}.")
    if depth > _DEPTH:
        raise InvalidInputError(f"filters must not be nested deeper than {_DEPTH}.")
    if not where:
        _add_one(count)
    parts: list[Filter] = []
    for name, value in where.items():
        if name in ("$and", "$or"):
            if not isinstance(value, list | tuple) or not value:
                raise InvalidInputError(f"{name} takes a list of filters, got {shown(value)}.")
            parts.append(Filter(name[1:], tuple(_parse(v, depth + 1, count) for v in value)))
        elif name == "$not":
            parts.append(Filter("not", (_parse(value, depth + 1, count),)))
        elif not isinstance(name, str) or (name.startswith("$") and name != ID):
            raise InvalidInputError(
                f"a filter has names of fields, {ID}, $and, $or and $not, got {shown(name)}."
            )
        elif not is_unicode(name):
            raise InvalidInputError(f"a field's name must be valid Unicode, got {shown(name)}.")
        else:
            operators = value if isinstance(value, Mapping) else {"$eq": value}
            if not operators:
                raise InvalidInputError(f"the filter on {shown(name)} is empty.")
            for operator, operand in operators.items():
                _add_one(count)
                parts.append(_condition(name, operator, operand))
    return parts[0] if len(parts) == 1 else Filter("and", tuple(parts))


def _add_one(count: list[int]) -> None:
    """Count a condition; an empty filter is one too."""
    count[0] += 1
    if count[0] > _CONDITIONS:
        raise InvalidInputError(f"a filter has at most {_CONDITIONS} conditions.")


def _condition(name: str, operator: object, operand: object) -> Filter:
    if operator not in _OPERATORS:
        raise InvalidInputError(
            f"the filter on {shown(name)} must use {', '.join(_OPERATORS)}, got {shown(operator)}."
        )
    if operator == "$exists":
        if not isinstance(operand, bool):
            raise InvalidInputError(
                f"$exists of {shown(name)} must be true or false, got {shown(operand)}."
            )
        leaf = Filter("condition", condition=Condition(name, "$exists", ()))
        return leaf if operand else Filter("not", (leaf,))
    if operator in ("$in", "$nin"):
        if not isinstance(operand, list | tuple):
            raise InvalidInputError(
                f"{operator} of {shown(name)} takes a list, got {shown(operand)}."
            )
        values = tuple(dict.fromkeys(_value(name, operator, item) for item in operand))
    else:
        values = (_value(name, str(operator), operand),)
    positive = _NEGATED.get(str(operator), str(operator))
    leaf = Filter("condition", condition=Condition(name, positive, values))
    return Filter("not", (leaf,)) if operator in _NEGATED else leaf


def _value(name: str, operator: str, value: object) -> Value:
    texts_only = name == ID or operator == "$prefix"
    valid = isinstance(value, str) or (
        not texts_only and isinstance(value, int | float) and math.isfinite(sql_number(value))
    )
    if not valid:
        kind = "a text" if texts_only else "a text, a finite number, true or false"
        hint = "" if value is not None else ' Ask for absence with {"$exists": false}.'
        raise InvalidInputError(
            f"{operator} of {shown(name)} must be {kind}, got {shown(value)}.{hint}"
        )
    if isinstance(value, str):
        if not is_unicode(value):
            raise InvalidInputError(
                f"{operator} of {shown(name)} must be valid Unicode, got {shown(value)}."
            )
        return value
    assert isinstance(value, int | float)
    return sql_number(value)


def is_unicode(text: str) -> bool:
    """Say whether a text can be stored as UTF-8: surrogates cannot."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def after_prefix(prefix: str) -> str | None:
    """Return the first text behind all that begin with a prefix, in the order of code points."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if code == 0xD800:  # surrogates are no characters
            code = 0xE000
        prefix = prefix[:-1]
        if code <= 0x10FFFF:
            return prefix + chr(code)
    return None
