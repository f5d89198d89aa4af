"""Turn documents into rows for an engine: one per passage, with ids derived from the document's.

Metadata turns into values that every engine can filter: tokens, which are texts such as
`lang="en"`, and for comparisons the smallest and largest number and text of each field.
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
from pocket_colbert.sections import sections_to_json
from pocket_colbert.types import Document, Passage, Value

_NAMESPACE = uuid.UUID("6a0e7b57-5f1c-5d0e-9a43-0c8d7f2b1e64")

RECORD_ID = str(uuid.uuid5(_NAMESPACE, "record"))
"""Id of the row that holds the record."""

NEVER = "="
"""A token that no document has."""

SEPARATOR = "\x1f"
"""No token contains this character, so it can join tokens."""


@dataclass(frozen=True, eq=False)
class Row:
    """A passage as an engine stores it.

    Attributes:
        document_id: Id of its document.
        passage: Its number within the document, from 0.
        passages: Number of passages of the document.
        start: Offset of its first character in the document's text.
        end: Offset just past its last character.
        position: Orders documents with equal scores.
        digest: Digest of the document and its token vectors; it changes when they do.
        tokens: See `value_token` and `name_token`.
        numbers: Smallest and largest number of each field that has numbers.
        texts: First and last text, by code points, of each field that has texts.
        embedding: (num_tokens, dim) float32.
        document: The document in the row of its first passage, None in the others.
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
        """Id of the row; see the function of the same name."""
        return row_id(self.document_id, self.passage)


def row_id(document_id: str, passage: int) -> str:
    """Return the id of a passage's row, the same in every push (UUID version 5)."""
    return str(uuid.uuid5(_NAMESPACE, f"{passage}\0{document_id}"))


def digest_of(document: Document, passages: Sequence[Passage]) -> str:
    """Return a digest that changes when a document or its token vectors change."""
    hasher = hashlib.blake2b(digest_size=16)
    spans = [(item.start, item.end, len(item.embedding)) for item in passages]
    described = [document.title, document.text, document.source, metadata_text(document), spans]
    if document.sections:
        described.append(sections_text(document))
    hasher.update(json.dumps(described).encode())
    for item in passages:
        hasher.update(np.ascontiguousarray(item.embedding, "<f4").data)
    return hasher.hexdigest()


def metadata_text(document: Document) -> str:
    """Return a document's metadata as JSON, including what no filter can see."""
    return json.dumps(document.metadata, ensure_ascii=False)


def sections_text(document: Document) -> str:
    """Return a document's sections as JSON."""
    return json.dumps(sections_to_json(document.sections), ensure_ascii=False)


def rows_of_document(
    document: Document, passages: Sequence[Passage], digest: str, position: int
) -> Iterator[Row]:
    """Yield a document's rows, the row of its first passage last.

    Lookups read the digest from that row, so once it is there the document is complete.
    """
    tokens, numbers, texts = _searchable_values(document)
    for number in reversed(range(len(passages))):
        item = passages[number]
        yield Row(
            document.document_id, number, len(passages), item.start, item.end, position, digest,
            tokens, numbers, texts, item.embedding, None if number else document,
        )  # fmt: skip


def name_token(name: str) -> str:
    """Return the token that marks documents with a field of this name."""
    return escaped(name).replace("=", "%3D") or "%"  # never empty


def value_token(name: str, value: Value) -> str:
    """Return the token that marks documents with this value in a field."""
    if isinstance(value, str):
        return text_prefix(name, value)
    whole = isinstance(value, int) or (value.is_integer() and abs(value) < 2**63)
    return f"{name_token(name)}={int(value) if whole else repr(value)}"


def text_prefix(name: str, prefix: str) -> str:
    """Return the prefix that the tokens of a field's texts with this prefix share."""
    return f'{name_token(name)}="{escaped(prefix)}'


def escaped(text: str) -> str:
    """Escape `SEPARATOR` in a text so that prefixes stay prefixes."""
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
