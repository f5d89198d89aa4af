"""Filters evaluated in plain Python, as their documentation reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def holds(where: Mapping[str, Any], document_id: str, document: Mapping[str, Any]) -> bool:
    """Evaluate a filter as its documentation reads."""
    for name, value in where.items():
        if name == "$and":
            found = all(holds(part, document_id, document) for part in value)
        elif name == "$or":
            found = any(holds(part, document_id, document) for part in value)
        elif name == "$not":
            found = not holds(value, document_id, document)
        else:
            has = [document_id] if name == "$id" else list(values_of(document, name))
            asked = value if isinstance(value, Mapping) else {"$eq": value}
            found = all(compares(has, operator, operand) for operator, operand in asked.items())
        if not found:
            return False
    return True


def values_of(value: Any, name: str | None) -> Iterator[Any]:
    """List what a field holds; `name` is what is left of its name, None when nothing is."""
    if isinstance(value, list):
        for item in value:
            yield from values_of(item, name)
    elif isinstance(value, dict):
        for key, inner in value.items() if name is not None else ():
            if name == key:
                yield from values_of(inner, None)
            elif name.startswith(key + "."):
                yield from values_of(inner, name[len(key) + 1 :])
    elif name is None and value is not None:
        yield value


def compares(has: list[Any], operator: str, operand: Any) -> bool:
    """Say whether any of a field's values is what an operator asks for."""
    if operator == "$exists":
        return bool(has) == operand
    if operator in ("$ne", "$nin"):
        return not compares(has, {"$ne": "$eq", "$nin": "$in"}[operator], operand)
    if operator == "$in":
        return any(compares(has, "$eq", item) for item in operand)
    like = [number(item) for item in has if isinstance(item, str) == isinstance(operand, str)]
    if operator == "$prefix":
        return any(item.startswith(operand) for item in like)
    operand = number(operand)
    return any(
        {
            "$eq": item == operand, "$gt": item > operand, "$gte": item >= operand,
            "$lt": item < operand, "$lte": item <= operand,
        }[operator]
        for item in like
    )  # fmt: skip


def number(value: Any) -> Any:
    """Return what is compared: whole numbers beyond 64 bits count as floats."""
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value
