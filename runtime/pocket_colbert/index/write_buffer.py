"""What was added to an index and deleted from it since the last commit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_ids, checked_document
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.storage.document_schema import StoredDocument
from pocket_colbert.storage.token_vectors import EncodedPassage, TokenVectors
from pocket_colbert.types import Document, Passage, Span
from pocket_colbert.vectors.array_checks import check_tokens
from pocket_colbert.vectors.codec import BITS, Codec

Embedded = NDArray[Any] | Sequence[Passage]
"""A document's token vectors: one (num_tokens, dim) array, or its passages."""

Addition = tuple[Document, list[tuple[Span, NDArray[np.float32]]]]
"""A document, and span and (num_tokens, dim) token vectors of each of its passages."""

FIT_TOKENS = 16_384
"""Token vectors that are enough to fit a codec to: more do not move their mean."""


@dataclass
class Added:
    """A document that was added: its passages' spans, and their vectors or codes."""

    document: Document
    spans: tuple[Span, ...]
    raw: list[NDArray[np.float32]]  # waiting for enough to fit a codec to
    encoded: list[EncodedPassage]

    @property
    def num_tokens(self) -> int:
        """Number of token vectors."""
        return sum(map(len, self.raw)) + sum(item[2] for item in self.encoded)

    @property
    def nbytes(self) -> int:
        """Bytes that the token vectors take."""
        encoded = sum(item[0].nbytes + item[1].nbytes for item in self.encoded)
        return encoded + sum(item.nbytes for item in self.raw)


class WriteBuffer:
    """Documents by id, and their token vectors, as codes once there is a codec.

    One codec serves an index, so that segments can be merged as they are. Only when it was fitted
    to a handful of token vectors and many more come, a new one is fitted.

    Attributes:
        deleted: Where the deleted documents are, (number of the segment, position) by id.
        num_tokens: Number of token vectors that were added.
    """

    def __init__(self, config: IndexConfig) -> None:
        self.deleted: dict[str, tuple[int, int]] = {}
        self.num_tokens = 0
        self._config = config
        self._added: dict[str, Added] = {}
        self._raw_tokens = 0
        self._codec: Codec | None = None

    def __bool__(self) -> bool:
        return bool(self._added or self.deleted)

    def __len__(self) -> int:
        return len(self._added)

    def __contains__(self, document_id: object) -> bool:
        return document_id in self._added

    def __iter__(self) -> Iterator[Document]:
        return (item.document for item in self._added.values())

    def find(self, document_id: str) -> Document | None:
        """Return a document that was added, None for any other id."""
        added = self._added.get(document_id)
        return None if added is None else added.document

    def add(self, added: Sequence[Added], existing: Sequence[TokenVectors]) -> None:
        """Add documents.

        Args:
            added: From `copied`; their ids are new.
            existing: The rows of the index's segments, whose codec is kept if it can be.
        """
        for item in added:
            self._added[item.document.document_id] = item
            self.num_tokens += item.num_tokens
            self._raw_tokens += item.num_tokens
        if self._raw_tokens >= FIT_TOKENS:
            self._encode(existing)

    def remove(self, document_id: str) -> None:
        """Take back a document that was added."""
        removed = self._added.pop(document_id)
        self.num_tokens -= removed.num_tokens
        self._raw_tokens -= sum(map(len, removed.raw))

    def rows(self, existing: Sequence[TokenVectors]) -> TokenVectors:
        """Return everything as codes; see `add` for `existing`."""
        codec = self._encode(existing)
        encoded = [passage for item in self._added.values() for passage in item.encoded]
        return TokenVectors.join(codec, encoded)

    def stored(self) -> Iterator[StoredDocument]:
        """Iterate over the documents with the spans of their passages."""
        return ((item.document, item.spans) for item in self._added.values())

    @property
    def num_passages(self) -> int:
        """Number of passages that were added."""
        return sum(len(item.spans) for item in self._added.values())

    @property
    def nbytes(self) -> int:
        """Bytes that the token vectors take in memory."""
        return sum(item.nbytes for item in self._added.values())

    def _encode(self, existing: Sequence[TokenVectors]) -> Codec:
        if self._codec is None:
            self._codec = self._choose(existing)
        codec = self._codec
        for item in self._added.values():
            encoded = [(*codec.encode(raw), len(raw)) for raw in item.raw]
            item.encoded, item.raw = item.encoded + encoded, []
        self._raw_tokens = 0
        return codec

    def _choose(self, existing: Sequence[TokenVectors]) -> Codec:
        if existing:
            largest = max(existing, key=lambda rows: rows.num_tokens)
            if largest.num_tokens >= FIT_TOKENS or self._raw_tokens < 4 * largest.num_tokens:
                return largest.codec
        raw = [vectors for item in self._added.values() for vectors in item.raw]
        tokens = np.concatenate([np.empty((0, self._config.dim), np.float32), *raw])
        return Codec.fit(tokens, BITS[self._config.codes])


def copied(additions: Sequence[Addition]) -> list[Added]:
    """Copy what is added, as the caller may go on and change its arrays."""
    return [
        Added(document, tuple(span for span, _ in passages), [v.copy() for _, v in passages], [])
        for document, passages in additions
    ]


def columns_of(documents: Sequence[Document]) -> dict[str, list[Any]]:
    """Return documents as the columns that `Index.add` takes beside ids and token vectors."""
    return {
        "texts": [document.text for document in documents],
        "titles": [document.title for document in documents],
        "metadata": [document.metadata for document in documents],
        "sources": [document.source for document in documents],
    }


def checked_additions(
    dim: int,
    document_ids: Sequence[str],
    embeddings: Sequence[Embedded],
    texts: Sequence[str | None] | None,
    titles: Sequence[str | None] | None,
    metadata: Sequence[Mapping[str, Any]] | None,
    sources: Sequence[str | None] | None,
) -> list[Addition]:
    """Put together documents and their passages; see `Index.add` for the arguments.

    Raises:
        InvalidInputError: The lists differ in length, or an item is of the wrong kind.
    """
    document_ids = check_ids(document_ids, "document_ids")
    columns = {
        "embeddings": embeddings, "texts": texts, "titles": titles, "metadata": metadata,
        "sources": sources,
    }  # fmt: skip
    for name, column in columns.items():
        unordered = isinstance(column, str | Mapping | Set)
        size = len(column) if isinstance(column, Sized) and not unordered else None
        if column is not None and size != len(document_ids):
            raise InvalidInputError(
                f"{name} must be a list of {len(document_ids)} items, one a document id, "
                f"got {type(column).__name__}{'' if size is None else f' of {size}'}."
            )
    additions = []
    for n, document_id in enumerate(document_ids):
        document = checked_document(
            Document(
                document_id,
                None if texts is None else texts[n],
                None if titles is None else titles[n],
                {} if metadata is None else metadata[n],
                None if sources is None else sources[n],
            )
        )
        additions.append((document, _checked_passages(document, embeddings[n], dim)))
    return additions


def _checked_passages(
    document: Document, embedded: Embedded, dim: int
) -> list[tuple[Span, NDArray[np.float32]]]:
    name, size = f"embedding of {document.document_id!r}", len(document.text or "")
    if isinstance(embedded, np.ndarray):
        return [((0, size), check_tokens(embedded, dim, name))]
    passages = list(embedded)
    if not passages or not all(isinstance(item, Passage) for item in passages):
        raise InvalidInputError(
            f"{name} must be an array or a list of passages, at least one, got {embedded!r}."
        )
    for item in passages:
        if not 0 <= item.start <= item.end or (document.text is not None and item.end > size):
            raise InvalidInputError(
                f"passages of {document.document_id!r} must lie within its {size} characters, "
                f"got {item.start} to {item.end}."
            )
    return [((item.start, item.end), check_tokens(item.embedding, dim, name)) for item in passages]
