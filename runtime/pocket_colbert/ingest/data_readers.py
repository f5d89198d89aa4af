"""Data to text: JSON, notebooks, CSV and XML."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pocket_colbert.ingest.extracted import (
    Deadline,
    Extracted,
    TextBuilder,
    UnreadableFileError,
)
from pocket_colbert.ingest.markdown_reader import write_markdown
from pocket_colbert.ingest.text_readers import read_plain

_DEEPEST = 100
_LOOK_AHEAD = 100_000
_LABEL = 200
"""Characters of what is put before each value: a column's label, and the path to a value of JSON.
Beyond that it is no label, and repeating it would make a long text of a short file."""


def parse_json(source: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        UnreadableFileError: It is none, or nested too deeply.
    """
    try:
        return json.loads(source)
    except ValueError as error:
        line = getattr(error, "lineno", 1)
        raise UnreadableFileError(f"it is not JSON (line {line}: {error})", "repair it") from error
    except RecursionError:
        raise UnreadableFileError("its JSON is nested too deeply", "flatten it") from None


def read_json(source: str, deadline: Deadline) -> Extracted:
    """Return JSON as lines of paths and values, such as "author.name: Ada"."""
    value = parse_json(source)
    builder = TextBuilder(deadline)
    cursor, line = 0, 1
    left = 4 * len(source)  # characters to look at: a key that is written in another way is not met
    for path, leaf in _leaves(value):
        key = path[-1] if path and isinstance(path[-1], str) and left > 0 else ""
        if key and len(key) <= _LOOK_AHEAD:
            key = json.dumps(key, ensure_ascii=False)
            found = source.find(key, cursor, cursor + _LOOK_AHEAD)
            left -= len(key) + (found - cursor if found >= 0 else _LOOK_AHEAD)
            if found >= 0:
                line += source.count("\n", cursor, found)
                cursor = found
        name = ".".join(part[:_LABEL] for part in path if isinstance(part, str))[-_LABEL:]
        shown = leaf if isinstance(leaf, str) else json.dumps(leaf)
        if shown.strip() and leaf is not None:
            builder.block(f"{name}: {shown}" if name else shown, line, "row")
    title = value.get("title") or value.get("name") if isinstance(value, Mapping) else None
    return builder.result(title if isinstance(title, str) else None)


def _leaves(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    stack: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while stack:
        path, item = stack.pop()
        if len(path) > _DEEPEST:
            raise UnreadableFileError(f"it is nested deeper than {_DEEPEST}", "flatten it")
        if isinstance(item, dict):
            stack.extend(((*path, key), inner) for key, inner in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend(((*path, n), inner) for n, inner in reversed(list(enumerate(item))))
        else:
            yield path, item


def read_notebook(source: str, deadline: Deadline) -> Extracted:
    """Return the Markdown and code cells of a Jupyter notebook."""
    value = parse_json(source)
    cells = value.get("cells") if isinstance(value, Mapping) else None
    if not isinstance(cells, list):
        raise UnreadableFileError("it is not a notebook: it has no cells", "repair it")
    builder = TextBuilder(deadline)
    for cell in cells:
        if not isinstance(cell, Mapping):
            continue
        parts = cell.get("source", "")
        text = "".join(map(str, parts)) if isinstance(parts, list) else str(parts)
        if cell.get("cell_type") == "markdown":
            write_markdown(text, builder, None)
        elif cell.get("cell_type") in ("code", "raw"):
            builder.block(text, None, "code")
    return builder.result(builder.first_heading)


def read_csv(source: str, deadline: Deadline, *, tabs: bool = False) -> Extracted:
    """Return a table as a line for each row, its cells labelled with the header."""
    builder = TextBuilder(deadline)
    reader = csv.reader(
        io.StringIO(source, newline=""), delimiter="\t" if tabs else _delimiter(source)
    )
    labels: list[str] = []
    start = 1
    try:
        for number, row in enumerate(reader):
            cells = [" ".join(cell.split()) for cell in row]
            if number == 0 and len(cells) > 1 and all(re.match(r"[^\W\d]", c) for c in cells):
                labels = column_labels(cells)
                builder.block(" | ".join(cells), start, "row")
            else:
                builder.block(labelled_row(labels, cells), start, "row")
            start = reader.line_num + 1
    except csv.Error as error:
        raise UnreadableFileError(
            f"it is not CSV (line {reader.line_num}: {error})", "repair it"
        ) from error
    return builder.result()


def column_labels(cells: list[str]) -> list[str]:
    """Return the labels that the head of a table gives to the cells below; none is long."""
    return [cell if len(cell) <= _LABEL else "" for cell in cells]


def labelled_row(labels: list[str], cells: list[str]) -> str:
    """Return the cells of a row, each with the label of its column if there is one for each."""
    if len(labels) == len(cells) > 1:
        cells = [f"{a}: {b}" if a and b else b for a, b in zip(labels, cells, strict=True)]
    return " | ".join(filter(None, cells))


def _delimiter(source: str) -> str:
    head = [line for line in source[:20_000].split("\n")[:20] if line.strip()]
    counts = {mark: [line.count(mark) for line in head] for mark in ",;\t|"}
    return max(counts, key=lambda mark: (min(counts[mark], default=0), sum(counts[mark])))


def read_xml(source: str, deadline: Deadline) -> Extracted:
    """Return the texts of an XML document, one block for each element that has some.

    A document that declares entities, or is not well-formed, is read as plain text.
    """
    from xml.parsers import expat

    builder = TextBuilder(deadline)
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    state: dict[str, Any] = {"text": [], "line": None, "depth": 0, "title": None, "tag": ""}

    def flush() -> None:
        text = " ".join("".join(state["text"]).split())
        if text:
            builder.block(text, state["line"], "row")
            if state["tag"].rpartition(":")[2] == "title" and state["title"] is None:
                state["title"] = text
        state["text"], state["line"] = [], None

    def start(tag: str, attributes: dict[str, str]) -> None:
        flush()
        state["tag"] = tag
        state["depth"] += 1
        if state["depth"] > 1000:
            raise UnreadableFileError("it is nested deeper than 1000", "flatten it")

    def end(tag: str) -> None:
        flush()
        state["depth"] -= 1

    def data(text: str) -> None:
        state["line"] = state["line"] or parser.CurrentLineNumber
        state["text"].append(text)

    def entity(*_: Any) -> None:
        raise ValueError

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.EntityDeclHandler = data, entity
    body = re.sub(r"\A\s*<\?xml[^>]{0,300}\?>", lambda m: "\n" * m[0].count("\n"), source)
    try:
        parser.Parse(body.encode("utf-8"), True)
    except (expat.ExpatError, ValueError):
        return read_plain(source)
    return builder.result(state["title"])
