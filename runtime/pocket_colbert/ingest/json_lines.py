"""JSON lines, plain or gzipped."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from pocket_colbert.errors import CorpusError


def is_json_lines(path: Path) -> bool:
    """Return whether the name of a file ends in .jsonl or .jsonl.gz."""
    return path.name.lower().endswith((".jsonl", ".jsonl.gz"))


def read_json_lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read a .jsonl or .jsonl.gz file; see `json_lines`."""
    try:
        with path.open("rb") as stream:
            yield from json_lines(stream, str(path))
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error}.") from error


def json_lines(stream: IO[bytes], name: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Read JSON lines.

    Args:
        stream: The bytes of the file.
        name: The file's name, for messages; if it ends in .gz, the bytes are decompressed.

    Yields:
        The number of the line, from 1, and the JSON object. Blank lines are skipped.

    Raises:
        CorpusError: The file cannot be read, or a line is not a JSON object in UTF-8.
    """
    number = 0
    try:
        lines = gzip.open(stream) if name.lower().endswith(".gz") else stream
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            if not isinstance(row, dict):
                raise CorpusError(f"{name}, line {number}: not a JSON object.")
            yield number, row
    except UnicodeDecodeError as error:
        raise CorpusError(f"{name}, line {number}: not UTF-8 (byte {error.start}).") from error
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{name}, line {number}: not JSON ({error}).") from error
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{name} cannot be read: {error}.") from error
