"""Which passages belong to which document of a segment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.storage.selection import Selection
from pocket_colbert.vectors.ragged import rows_of


@dataclass(frozen=True, eq=False)
class PassageRanges:
    """Passages of documents, end to end.

    Attributes:
        num_documents: Number of documents.
        first: (num_documents + 1,) int64, the first passage of each document, and the total; None
            where every document is one passage, which is then numbered as its document is.
    """

    num_documents: int
    first: NDArray[np.int64] | None = None

    @classmethod
    def of_counts(cls, counts: NDArray[np.int32]) -> PassageRanges:
        """Number the passages of documents that have `counts` each, (num_documents,) int32."""
        if (counts == 1).all():
            return cls(len(counts))
        ends = np.cumsum(counts, dtype=np.int64)
        return cls(len(counts), np.concatenate([np.zeros(1, np.int64), ends]))

    def __len__(self) -> int:
        """Return the number of passages."""
        return self.num_documents if self.first is None else int(self.first[-1])

    @property
    def one_each(self) -> bool:
        """Whether every document is one passage."""
        return self.first is None

    def bounds(self, document: int) -> tuple[int, int]:
        """Return the first passage of a document, and the one after its last."""
        if self.first is None:
            return document, document + 1
        return int(self.first[document]), int(self.first[document + 1])

    def bounds_of(self, documents: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Return `bounds` of some documents, by document."""
        first = self.first
        if first is None:
            return {n: (n, n + 1) for n in documents}
        return {n: (int(first[n]), int(first[n + 1])) for n in documents}

    def counts(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many passages each of some documents has."""
        if self.first is None:
            return np.ones(len(documents), np.int64)
        return np.asarray(self.first[documents + 1] - self.first[documents])

    def of(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the passages of some documents, end to end."""
        return documents if self.first is None else rows_of(documents, self.first)

    def selection(self, documents: Selection) -> Selection:
        """Select the passages of selected documents."""
        if self.first is None or documents.mask is None:
            return Selection(len(self), documents.mask)
        return Selection(len(self), np.repeat(documents.mask, np.diff(self.first)))

    def best_of_all(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give every document the score of its best passage.

        Args:
            scores: (num_passages,) float32.

        Returns:
            (num_documents,) float32.
        """
        if self.first is None or not self.num_documents:
            return scores
        return np.asarray(np.maximum.reduceat(scores, self.first[:-1]))

    def best(
        self, passages: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give the documents of some passages the score of their best one.

        Args:
            passages: Passages, ascending.
            scores: Their scores.

        Returns:
            The documents, ascending, and their scores.
        """
        if self.first is None or not len(passages):
            return passages, scores
        owners = np.searchsorted(self.first, passages, side="right") - 1
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        return owners[starts], np.maximum.reduceat(scores, starts)
