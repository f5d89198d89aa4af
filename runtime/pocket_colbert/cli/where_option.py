"""`--where`: filters as people type them, `year>=2020`, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])
_CONDITION = r"(?P<field>[^=<>!^]*)(?P<sign>>=|<=|!=|\^=|==|=|>|<)(?P<value>.*)"
_COMPARED = {">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte"}
_NUMBER = r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?"
"""Patterns that are compiled when they are needed, which is seldom."""
_LONGEST_SHOWN = 60


def where_option(what: str) -> Callable[[_Command], _Command]:
    """Return the option for filters.

    Args:
        what: What is done with the documents that match, for the help.
    """
    return click.option(
        "--where", "conditions", multiple=True, metavar="CONDITION",
        help=f"{what} documents whose metadata match: year=2020, 'year>=2020', tag!=draft, "
        "path^=notes/ (begins with), or a filter as JSON. Repeatable: all must hold.",
    )  # fmt: skip


def filter_of(conditions: Sequence[str]) -> dict[str, Any] | None:
    """Return the filter that all of some conditions make; None if there are none.

    Raises:
        click.UsageError: One of them is no condition.
    """
    parts = [_parsed(condition) for condition in conditions]
    if len(parts) > 1:
        return {"$and": parts}
    return parts[0] if parts else None


def _parsed(text: str) -> dict[str, Any]:
    if text.lstrip().startswith(("{", "[")):
        return _json(text)
    match = re.fullmatch(_CONDITION, text, re.DOTALL)
    field = match["field"].strip() if match else ""
    if match is None or not field:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
        raise click.UsageError(
            "--where must be FIELD=VALUE (or !=, ^=, <, <=, >, >=) or a JSON object, got "
            f"{shown!r}."
        )
    return _condition(field, match["sign"], match["value"].strip())


def _json(text: str) -> dict[str, Any]:
    try:
        condition = json.loads(text)
    except RecursionError as error:
        raise click.UsageError("--where is nested too deep; a filter has 32 levels.") from error
    except ValueError as error:
        raise click.UsageError(f"--where must be JSON: {error}.") from error
    if not isinstance(condition, dict):
        raise click.UsageError("--where must be a JSON object, got a list.")
    return condition


def _condition(field: str, sign: str, written: str) -> dict[str, Any]:
    """Return a condition on a field, whether it holds numbers or the same written as texts."""
    if sign == "^=":
        return {field: {"$prefix": _unquoted(written)}}
    values = _values(written)
    if sign in _COMPARED:
        # Numbers and texts are only compared with their like, so at most one of them decides.
        parts = [{field: {_COMPARED[sign]: value}} for value in values]
        return parts[0] if len(parts) == 1 else {"$or": parts}
    if len(values) == 1:
        return {field: {"$ne" if sign == "!=" else "$eq": values[0]}}
    return {field: {"$nin" if sign == "!=" else "$in": values}}


def _values(written: str) -> list[Any]:
    """Return what a value may stand for: 2020 is a number or a text, "2020" in quotes a text."""
    if re.fullmatch(_NUMBER, written):
        return [json.loads(written), written]
    if written in ("true", "false"):
        return [written == "true", written]
    return [_unquoted(written)]


def _unquoted(written: str) -> str:
    quoted = len(written) > 1 and written[0] == written[-1] and written[0] in "\"'"
    return written[1:-1] if quoted else written
