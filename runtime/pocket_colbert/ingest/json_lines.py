"""JSON lines, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from pocket_colbert.errors import CorpusError

Note = Callable[[CorpusError], None]


def is_json_lines(path: Path) -> bool:
    """Return whether the name of a file ends in .jsonl or .jsonl.gz."""
    return path.name.lower().endswith((".jsonl", ".jsonl.gz"))


def read_json_lines(
    path: Path, note: Note | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read a .jsonl or .jsonl.gz file; see `json_lines`."""
    try:
        with path.open("rb") as stream:
            yield from json_lines(stream, str(path), note)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from error


def json_lines(
    stream: IO[bytes] | Iterable[bytes], name: str, note: Note | None = None
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read JSON lines.

    Args:
        stream: The bytes of the file, or its lines.
        name: The file's name, for messages; if it ends in .gz, the bytes are decompressed.
        note: Called with the error of a bad line, which is then passed over; by default it is
            raised.

    Yields:
        The number of the line, from 1, and the JSON object. Blank lines are skipped.

    Raises:
        CorpusError: The file cannot be read, or a line is not a JSON object in UTF-8.
    """
    number = 0
    try:
        lines: Iterable[bytes] = stream
        if name.lower().endswith(".gz"):
            lines = gzip.open(cast("IO[bytes]", stream))
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = _row(line, name, number)
            except CorpusError as error:
                if note is None:
                    raise
                note(error)
            else:
                yield number, row
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name} cannot be read: {error}.") from error


def _row(line: bytes, name: str, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name}, line {number}: not UTF-8 (byte {error.start}).") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{name}, line {number}: not JSON ({error}).") from error
    if not isinstance(row, dict):
        raise CorpusError(f"{name}, line {number}: not a JSON object.")
    return row
