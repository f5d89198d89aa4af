"""Reading files of text, a line at a time, gzipped or not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pocket_colbert_export.errors import ExportError


def read_lines(path: Path, error_type: type[ExportError]) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 file with their numbers, from 1.

    Args:
        path: The file; gzipped where its name ends in ".gz".
        error_type: What is raised when it is missing or cannot be read.
    """
    if not path.is_file():
        raise error_type(f"no file at {path}.")
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as stream:
            lines = list(stream)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise error_type(f"{path} cannot be read: {error}.") from error
    yield from enumerate(lines, start=1)


def read_objects(path: Path, error_type: type[ExportError]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the JSON objects of a `.jsonl` file, each with where it stands, for messages.

    Args:
        path: The file; gzipped where its name ends in ".gz".
        error_type: What is raised when it is missing, cannot be read, or holds something else.
    """
    for number, line in read_lines(path, error_type):
        where = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise error_type(f"{where} cannot be read as JSON: {error}.") from error
        if not isinstance(values, dict):
            raise error_type(f"{where}: expected a JSON object, got {values!r:.60}.")
        yield where, values
