"""Documents whose token vectors become codes while they are encoded.

Token vectors take a hundred times the memory of their text, codes an eighth of that. Documents that
are prepared hold no more than `FIT_TOKENS` token vectors at any time, however long they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.storage.document_schema import StoredPassage
from pocket_colbert.storage.token_vectors import EncodedPassage
from pocket_colbert.types import Document
from pocket_colbert.vectors.array_checks import are_unit_rows, check_shape, check_tokens
from pocket_colbert.vectors.codec import Codec

FIT_TOKENS = 16_384
"""Token vectors that are enough to fit a codec to: more do not move their mean."""

_RUN_TOKENS = 4096
"""Token vectors that become codes at a time, once there is a codec."""


@dataclass
class PreparedPassage:
    """The token vectors of a passage, which become codes once there is a codec.

    Attributes:
        num_tokens: How many there are.
        vectors: (num_tokens, dim) float32, None once they are codes.
        codes: The codes.
    """

    num_tokens: int
    vectors: NDArray[np.float32] | None
    codes: EncodedPassage | None = None


@dataclass(frozen=True)
class PreparedDocument:
    """A document and its passages.

    Attributes:
        document: The document.
        stored: What is kept of each passage beside its token vectors.
        passages: The passages.
    """

    document: Document
    stored: Sequence[StoredPassage]
    passages: Sequence[PreparedPassage]


@dataclass(frozen=True)
class PreparedDocuments:
    """What `Retriever.prepare` returns and `Index.add_prepared` takes.

    Attributes:
        documents: The documents.
        codec: What the codes were written with; None while there are too few token vectors to fit
            one to, which are kept as they are.
    """

    documents: Sequence[PreparedDocument]
    codec: Codec | None

    @property
    def num_tokens(self) -> int:
        """Number of token vectors."""
        return sum(item.num_tokens for document in self.documents for item in document.passages)


ChooseCodec = Callable[[Sequence[NDArray[np.float32]]], Codec | None]
"""Returns the codec of an index, one that fits some token vectors if it has none, and None if it
has none and there are no token vectors."""


class PassageCoder:
    """Makes codes of passages, for one index; `finish` makes those of the last ones.

    Attributes:
        codec: What codes are written with, None until there is one.
    """

    def __init__(self, dim: int, choose: ChooseCodec) -> None:
        """Begin with the codec that the index has, if it has one.

        Args:
            dim: Width of a token vector.
            choose: See `ChooseCodec`.
        """
        self.codec = choose(())
        self._dim = dim
        self._choose = choose
        self._waiting: list[PreparedPassage] = []
        self._num_waiting = 0

    def __call__(self, embedding: NDArray[np.float32]) -> PreparedPassage:
        """Return a passage of token vectors, (num_tokens, dim) float32 of length 1."""
        passage = PreparedPassage(
            len(embedding),
            check_shape(embedding, self._dim, "embedding").astype(np.float32, copy=False),
        )
        self._waiting.append(passage)
        self._num_waiting += passage.num_tokens
        if self._num_waiting >= (FIT_TOKENS if self.codec is None else _RUN_TOKENS):
            self._encode()
        return passage

    def finish(self) -> None:
        """Make codes of what is left, if there is a codec."""
        if self.codec is not None:
            self._encode()

    def _encode(self) -> None:
        vectors = [item.vectors for item in self._waiting if item.vectors is not None]
        if vectors and not are_unit_rows(np.concatenate(vectors)):
            for item in vectors:
                check_tokens(item, self._dim, "embedding")
        if self.codec is None:
            self.codec = self._choose(vectors)
        assert self.codec is not None
        for passage, codes in zip(self._waiting, self.codec.encode_each(vectors), strict=True):
            passage.codes, passage.vectors = (*codes, passage.num_tokens), None
        self._waiting, self._num_waiting = [], 0
