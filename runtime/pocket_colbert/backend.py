"""What `Retriever` needs of whatever holds the documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.types import Document, Hit, Passage, Span


class Backend(Protocol):
    """Documents with their token vectors: what `Retriever` searches.

    `Index` and `MultiIndex` are in this process, those in `pocket_colbert.backends` on other
    engines. They rank alike, and differ only in what raises `UnsupportedError`.

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
        """Return a document; DocumentNotFoundError if there is none of that id."""

    def passages(self, document_id: str) -> list[Passage]:
        """Return a document's passages with their token vectors as they are stored.

        Raises:
            DocumentNotFoundError: There is no document of that id.
        """

    def passage_embeddings(
        self, passages: Sequence[tuple[str, Span]]
    ) -> list[NDArray[np.float32] | None]:
        """Return the token vectors of some passages, which are read or fetched together.

        Args:
            passages: The id of a document and the span of one of its passages, as in `Hit`.

        Returns:
            (num_tokens, dim) float32 each, None where there is no such passage.

        Raises:
            ClosedError: `close` was called.
        """

    def close(self) -> None:
        """Release what is open."""
