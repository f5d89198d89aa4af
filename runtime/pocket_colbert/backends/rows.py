"""Documents as rows of an engine: one a passage, found again by ids made of theirs.

Metadata become what every engine can filter by: tokens, texts that say "the field `lang` has the
value `en`", and the numbers and texts that comparisons need.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.metadata import flat
from pocket_colbert.types import Document, Passage, Value

_NAMESPACE = uuid.UUID("6a0e7b57-5f1c-5d0e-9a43-0c8d7f2b1e64")

RECORD_ID = str(uuid.uuid5(_NAMESPACE, "record"))
"""Id of the row that holds the store's record."""

NEVER = "="
"""A token that no document has."""

SEPARATOR = "\x1f"
"""No token has this character, so that tokens may be joined by it."""


@dataclass(frozen=True, eq=False)
class Row:
    """A passage as an engine keeps it.

    Attributes:
        document_id: Id of its document.
        passage: Its number in the document, from 0.
        passages: How many the document has.
        start: Its first character in the document's text.
        end: The character after its last.
        position: Orders documents that score the same.
        digest: Of the document and its token vectors; another one means a change.
        tokens: See `value_token` and `name_token`.
        numbers: The smallest and the largest number of each field that has numbers.
        texts: The first and the last text of each field that has texts.
        embedding: (num_tokens, dim) float32.
        document: The document, in the row of its first passage; None in the others.
    """

    document_id: str
    passage: int
    passages: int
    start: int
    end: int
    position: int
    digest: str
    tokens: tuple[str, ...]
    numbers: dict[str, tuple[float, float]]
    texts: dict[str, tuple[str, str]]
    embedding: NDArray[np.float32]
    document: Document | None

    @property
    def row_id(self) -> str:
        """The row's id, see the function of that name."""
        return row_id(self.document_id, self.passage)


def row_id(document_id: str, passage: int) -> str:
    """Return the id of a passage's row, the same at every push (UUID version 5)."""
    return str(uuid.uuid5(_NAMESPACE, f"{passage}\0{document_id}"))


def digest_of(document: Document, passages: Sequence[Passage]) -> str:
    """Return what changes when a document or its token vectors do."""
    hasher = hashlib.blake2b(digest_size=16)
    spans = [(item.start, item.end, len(item.embedding)) for item in passages]
    described = [document.title, document.text, document.source, metadata_text(document), spans]
    hasher.update(json.dumps(described).encode())
    for item in passages:
        hasher.update(np.ascontiguousarray(item.embedding, "<f4").data)
    return hasher.hexdigest()


def metadata_text(document: Document) -> str:
    """Return a document's metadata as JSON, which keeps what filters have no need of."""
    return json.dumps(document.metadata, ensure_ascii=False)


def rows_of_document(
    document: Document, passages: Sequence[Passage], digest: str, position: int
) -> Iterator[Row]:
    """Yield a document's rows, that of its first passage last.

    That row has the digest, so once it is there all are.
    """
    tokens, numbers, texts = _searchable_values(document)
    for number in reversed(range(len(passages))):
        item = passages[number]
        yield Row(
            document.document_id, number, len(passages), item.start, item.end, position, digest,
            tokens, numbers, texts, item.embedding, None if number else document,
        )  # fmt: skip


def name_token(name: str) -> str:
    """Return the token of documents that have a field."""
    return escaped(name).replace("=", "%3D") or "%"  # an empty token would be a trap


def value_token(name: str, value: Value) -> str:
    """Return the token of documents one of whose values of a field this is."""
    if isinstance(value, str):
        return text_prefix(name, value)
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 2**63)
    return f"{name_token(name)}={int(value) if whole else repr(value)}"


def text_prefix(name: str, prefix: str) -> str:
    """Return what the tokens of those texts of a field begin with that begin with a prefix."""
    return f'{name_token(name)}="{escaped(prefix)}'


def escaped(text: str) -> str:
    """Return a text without `SEPARATOR`; beginnings stay beginnings."""
    return text.replace("%", "%25").replace(SEPARATOR, "%1F")


def _searchable_values(
    document: Document,
) -> tuple[tuple[str, ...], dict[str, tuple[float, float]], dict[str, tuple[str, str]]]:
    tokens: set[str] = set()
    numbers: dict[str, tuple[float, float]] = {}
    texts: dict[str, tuple[str, str]] = {}
    for name, value in flat(document.metadata):
        tokens.update((name_token(name), value_token(name, value)))
        if isinstance(value, str):
            first, last = texts.get(name, (value, value))
            texts[name] = min(first, value), max(last, value)
        else:
            low, high = numbers.get(name, (float(value), float(value)))
            numbers[name] = min(low, float(value)), max(high, float(value))
    return tuple(sorted(tokens)), numbers, texts
