"""Documents that were added to an index and are not committed yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig
from pocket_colbert.documents import Document
from pocket_colbert.quantization import BITS, Codec
from pocket_colbert.segment import Segment
from pocket_colbert.token_rows import EncodedDocument, TokenRows

FIT_TOKENS = 16_384
"""Token vectors that are enough to fit a codec to: more do not move their mean."""


class Pending:
    """Documents by id, and their token vectors, as codes once there is a codec.

    One codec serves an index, so that segments can be merged as they are. Only when it was fitted
    to a handful of token vectors and many more come, a new one is fitted.

    Attributes:
        documents: The documents by id, in the order they were added.
    """

    def __init__(self, config: IndexConfig) -> None:
        self.documents: dict[str, Document] = {}
        self._config = config
        self._raw: list[NDArray[np.float32]] = []  # waiting for enough to fit a codec to
        self._encoded: list[EncodedDocument] = []
        self._codec: Codec | None = None

    def __len__(self) -> int:
        return len(self.documents)

    def add(
        self,
        documents: Sequence[Document],
        embeddings: Sequence[NDArray[np.float32]],
        segments: Sequence[Segment],
    ) -> None:
        """Add documents that have been checked.

        Args:
            documents: Their ids are new.
            embeddings: One (num_tokens, dim) float32 array each.
            segments: Those of the index, whose codec is kept if it can be.
        """
        self.documents.update((item.document_id, item) for item in documents)
        # Copies: the caller may go on and change its arrays.
        self._raw.extend(item.copy() for item in embeddings)
        if sum(map(len, self._raw)) >= FIT_TOKENS:
            self._encode(segments)

    def rows(self, segments: Sequence[Segment]) -> TokenRows:
        """Return everything as codes; see `add` for `segments`."""
        codec = self._encode(segments)
        return TokenRows.join(codec, self._encoded)

    @property
    def num_tokens(self) -> int:
        """Number of token vectors."""
        return sum(item[2] for item in self._encoded) + sum(map(len, self._raw))

    @property
    def nbytes(self) -> int:
        """Bytes that the token vectors take in memory."""
        encoded = sum(item[0].nbytes + item[1].nbytes for item in self._encoded)
        return encoded + sum(item.nbytes for item in self._raw)

    def _encode(self, segments: Sequence[Segment]) -> Codec:
        if self._codec is None:
            self._codec = self._choose(segments)
        codec = self._codec
        self._encoded.extend((*codec.encode(item), len(item)) for item in self._raw)
        self._raw = []
        return codec

    def _choose(self, segments: Sequence[Segment]) -> Codec:
        usable = [segment.rows for segment in segments if segment.rows.codec.rotated]
        fresh = sum(map(len, self._raw))
        if usable:
            largest = max(usable, key=lambda rows: rows.num_tokens)
            if largest.num_tokens >= FIT_TOKENS or fresh < 4 * largest.num_tokens:
                return largest.codec
        tokens = np.concatenate([np.empty((0, self._config.dim), np.float32), *self._raw])
        return Codec.fit(tokens, BITS[self._config.codes])
