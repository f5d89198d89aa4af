"""The protocol of what `Retriever` searches: an index, or a copy of one on another engine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.types import Document, Hit, Passage, Span


class Backend(Protocol):
    """Documents with their token vectors, ready to be searched.

    `Index` and `MultiIndex` are backends in this process; `pocket_colbert.backends` has backends
    on other engines. All rank alike and behave alike, except for what raises `UnsupportedError`.

    Examples:
        >>> from pocket_colbert import Backend, Encoder, Index, Retriever
        >>> backend: Backend = Index(dim=96)  # or a MultiIndex, or a copy on another engine
        >>> retriever = Retriever(Encoder.load("tiny"), backend)
        >>> len(backend), backend.dim
        (0, 96)

    Attributes:
        config: How the documents were encoded.
    """

    config: IndexConfig

    @property
    def dim(self) -> int:
        """Width of a token vector."""

    def __len__(self) -> int:
        """Return the number of documents."""

    def __contains__(self, document_id: object) -> bool: ...

    def search(
        self,
        query_embeddings: Sequence[NDArray[Any]],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        where: Mapping[str, Any] | None = None,
        subset: Iterable[str] | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """Find the best documents for each query; see `Index.search`."""

    def get(self, document_id: str) -> Document:
        """Return a document; raise DocumentNotFoundError if there is none with that id."""

    def passages(self, document_id: str) -> list[Passage]:
        """Return a document's passages with their stored token vectors.

        Raises:
            DocumentNotFoundError: There is no document with that id.
        """

    def passage_embeddings(
        self, passages: Sequence[tuple[str, Span]]
    ) -> list[NDArray[np.float32] | None]:
        """Return the token vectors of some passages, read or fetched together.

        Args:
            passages: The id of a document and the span of one of its passages, each, as in `Hit`.

        Returns:
            One (num_tokens, dim) float32 array per passage, None if there is no such passage.

        Raises:
            ClosedError: The backend is closed.
        """

    def word_counts(self, words: Sequence[str]) -> tuple[dict[str, float], int]:
        """Say about how many passages hold each of some words, and how many passages there are.

        Returns:
            The counts by word, and the number of passages. Without counts where it cannot say.

        Raises:
            ClosedError: The backend is closed.
        """

    def close(self) -> None:
        """Release what is open."""
