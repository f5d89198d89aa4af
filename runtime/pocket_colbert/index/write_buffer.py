"""What was added to an index and deleted from it since the last commit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import UNREAD, IndexConfig
from pocket_colbert.index.prepared_documents import FIT_TOKENS, PreparedDocuments
from pocket_colbert.index.snapshot import Address
from pocket_colbert.storage.document_schema import READABLE, StoredDocument, StoredPassage
from pocket_colbert.storage.token_vectors import EncodedPassage, TokenVectors
from pocket_colbert.types import Document, EncodedDocument
from pocket_colbert.vectors.codec import BITS, Codec


@dataclass(frozen=True)
class _Added:
    """A document that was added; its vectors become codes when there are enough to fit a codec."""

    document: Document
    passages: tuple[StoredPassage, ...]
    vectors: list[NDArray[np.float32]]
    codes: list[EncodedPassage]

    @property
    def num_tokens(self) -> int:
        """Number of token vectors."""
        return sum(map(len, self.vectors)) + sum(tokens for _, _, tokens in self.codes)

    @property
    def nbytes(self) -> int:
        """Bytes that the token vectors take."""
        encoded = sum(rows.nbytes + scales.nbytes for rows, scales, _ in self.codes)
        return encoded + sum(item.nbytes for item in self.vectors)


class WriteBuffer:
    """Documents by id, and their token vectors, as codes once there is a codec.

    One codec serves an index, so that segments can be merged as they are. Only when it was fitted
    to a handful of token vectors and many more come, a new one is fitted.

    Attributes:
        deleted: The addresses of deleted documents, by id.
        num_tokens: Number of token vectors that were added.
    """

    def __init__(self, config: IndexConfig) -> None:
        self.deleted: dict[str, Address] = {}
        self.num_tokens: int = 0
        self._config = config
        self._added: dict[str, _Added] = {}
        self._waiting: dict[str, _Added] = {}
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

    def add(self, documents: Sequence[EncodedDocument], existing: Sequence[TokenVectors]) -> None:
        """Add documents.

        Args:
            documents: Checked copies; their ids are new.
            existing: The rows of the index's segments, whose codec is kept if it can be.
        """
        for document, passages in documents:
            stored = tuple(
                StoredPassage.of((item.start, item.end), item.readable) for item in passages
            )
            self._put(_Added(document, stored, [item.embedding for item in passages], []))
        if self._raw_tokens >= FIT_TOKENS:
            self._encode(existing)

    def add_prepared(self, prepared: PreparedDocuments, existing: Sequence[TokenVectors]) -> None:
        """Add documents whose token vectors may be codes already; see `add`."""
        codec = prepared.codec
        if self._codec is None:
            self._codec = codec
        same = codec is None or self._codec is None or codec.same_as(self._codec)
        for document, stored, passages in (
            (item.document, item.stored, item.passages) for item in prepared.documents
        ):
            codes = [item.codes for item in passages if item.codes is not None]
            vectors = [item.vectors for item in passages if item.vectors is not None]
            if not same and codec is not None:  # a commit, and a new codec, came between
                vectors, codes = [codec.decode(*item) for item in codes], []
            self._put(_Added(document, tuple(stored), vectors, codes))
        if self._raw_tokens >= FIT_TOKENS:
            self._encode(existing)

    def codec_for(
        self, existing: Sequence[TokenVectors], vectors: Sequence[NDArray[np.float32]]
    ) -> Codec | None:
        """Return the codec of what is added next.

        Args:
            existing: See `add`.
            vectors: Token vectors to fit one to if there is none; without any, None comes back.
        """
        if self._codec is None and not vectors:
            largest = max(existing, key=lambda rows: rows.num_tokens, default=None)
            return largest.codec if largest and largest.num_tokens >= FIT_TOKENS else None
        if self._codec is None:
            self._codec = self._choose(existing, vectors)
        return self._codec

    def _put(self, added: _Added) -> None:
        if added.vectors:  # first: what is added must be encoded, if an interruption comes between
            self._waiting[added.document.document_id] = added
        self._added[added.document.document_id] = added
        self.num_tokens += added.num_tokens
        self._raw_tokens += sum(map(len, added.vectors))

    def remove(self, document_id: str) -> None:
        """Take back a document that was added."""
        removed = self._added.pop(document_id)
        self._waiting.pop(document_id, None)
        self.num_tokens -= removed.num_tokens
        self._raw_tokens -= sum(map(len, removed.vectors))

    def rows(self, existing: Sequence[TokenVectors]) -> TokenVectors:
        """Return everything as codes; see `add` for `existing`."""
        codec = self._encode(existing)
        encoded = [passage for item in self._added.values() for passage in item.codes]
        return TokenVectors.join(codec, encoded)

    def stored(self) -> Iterator[StoredDocument]:
        """Iterate over the documents with their passages."""
        return ((item.document, item.passages) for item in self._added.values())

    @property
    def num_passages(self) -> int:
        """Number of passages that were added."""
        return sum(len(item.passages) for item in self._added.values())

    @property
    def num_unread(self) -> int:
        """Number of passages that were added in languages that the model was not made for."""
        return sum(
            passage.readable < UNREAD * READABLE
            for item in self._added.values()
            for passage in item.passages
        )

    @property
    def nbytes(self) -> int:
        """Bytes that the token vectors take in memory."""
        return sum(item.nbytes for item in self._added.values())

    def _encode(self, existing: Sequence[TokenVectors]) -> Codec:
        if self._codec is None:
            self._codec = self._choose(existing)
        codec = self._codec
        waiting = {name: item for name, item in self._waiting.items() if name in self._added}
        vectors = [part for item in waiting.values() for part in item.vectors]
        encoded = iter(codec.encode_each(vectors))
        done = {
            name: replace(
                item,
                codes=[*item.codes, *((*next(encoded), len(part)) for part in item.vectors)],
                vectors=[],
            )
            for name, item in waiting.items()
        }
        # In one step: an interruption, after which everything is encoded again, doubles nothing.
        self._added.update(done)
        self._waiting = {}
        self._raw_tokens = 0
        return codec

    def _choose(
        self, existing: Sequence[TokenVectors], more: Sequence[NDArray[np.float32]] = ()
    ) -> Codec:
        if existing:
            largest = max(existing, key=lambda rows: rows.num_tokens)
            new = self._raw_tokens + sum(map(len, more))
            if largest.num_tokens >= FIT_TOKENS or new < 4 * largest.num_tokens:
                return largest.codec
        waiting = [vectors for item in self._waiting.values() for vectors in item.vectors]
        waiting += more
        tokens = np.concatenate([np.empty((0, self._config.dim), np.float32), *waiting])
        return Codec.fit(tokens, BITS[self._config.codes])
