"""The metadata of documents: JSON objects, and their values as filters see them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from pocket_colbert.types import Value

_DEEPEST = 100


def checked_json(text: str) -> Any:
    """Read JSON; raise ValueError or RecursionError if it cannot be written again and searched."""
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    if _depth(value) > _DEEPEST:
        raise ValueError(f"it is nested deeper than {_DEEPEST}")
    return value


def same_json(one: Any, other: Any) -> bool:
    """Compare JSON values; 1, 1.0 and true differ, although they are equal in Python."""
    return one == other and json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _depth(value: Any) -> int:
    """Return how deep a JSON value is nested, 0 if it is neither an object nor a list."""
    depth, values = -1, [value]
    while values:
        nested = [item for item in values if isinstance(item, dict | list)]
        parts = [item.values() if isinstance(item, dict) else item for item in nested]
        values = [inner for part in parts for inner in part]
        depth += 1
    return depth


def flat(metadata: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    """Iterate over the values of a JSON object; inner names follow a dot, lists item by item."""
    yield from _flat((), metadata)


def _flat(names: tuple[str, ...], value: Any) -> Iterator[tuple[str, Value]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat((*names, key), inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _flat(names, inner)
    elif isinstance(value, str):
        yield ".".join(names), value
    elif value is not None:
        yield ".".join(names), sql_number(value)


def sql_number(value: float) -> int | float:
    """Return a number that SQLite can store: true is 1, and integers beyond 64 bits are floats."""
    if isinstance(value, float) or -(2**63) <= value < 2**63:
        return value if isinstance(value, float) else int(value)
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
