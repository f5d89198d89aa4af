"""Documents from standard input: JSON lines, or a text a line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import IO

from pocket_colbert.checks import checked_document
from pocket_colbert.errors import CorpusError, InvalidInputError
from pocket_colbert.ingest.json_lines import json_lines
from pocket_colbert.ingest.rows import Fields, document_from_row
from pocket_colbert.types import Document

STANDARD_INPUT = "-"
"""What stands for standard input where a path is expected; also the source of its documents."""

_NAME = "standard input"


def read_standard_input(stream: IO[bytes], fields: Fields | None = None) -> Iterator[Document]:
    """Read documents, one after the other.

    Args:
        stream: The bytes. If the first line that is not blank is a JSON object, all lines must be;
            otherwise each line is a text, and its id is "-:" and its number. Blank lines are
            skipped.
        fields: Names of the keys of JSON lines.

    Yields:
        The documents.

    Raises:
        CorpusError: There are none, or a line cannot be read; the message has its number.
    """
    lines = iter(stream)
    blank = []
    for line in lines:
        blank.append(line)
        if line.strip():
            break
    else:
        raise CorpusError(f"{_NAME} has no texts.")
    every = chain(blank, lines)
    if _is_object(blank[-1]):
        yield from _rows(every, fields or Fields())
    else:
        yield from _texts(every)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8-sig")), dict)
    except (ValueError, RecursionError):
        return False


def _rows(lines: Iterable[bytes], fields: Fields) -> Iterator[Document]:
    for number, row in json_lines(lines, _NAME):
        yield document_from_row(
            row, fields, f"{_NAME}, line {number}", f"{STANDARD_INPUT}:{number}"
        )


def _texts(lines: Iterable[bytes]) -> Iterator[Document]:
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if text.strip():
                yield checked_document(Document(f"{STANDARD_INPUT}:{number}", text))
        except UnicodeDecodeError as error:
            raise CorpusError(f"{_NAME}, line {number}: not UTF-8 (byte {error.start}).") from error
        except InvalidInputError as error:
            raise CorpusError(f"{_NAME}, line {number}: {error}") from error
