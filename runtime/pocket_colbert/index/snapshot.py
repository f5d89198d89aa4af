"""An index as it was after one commit: what is in it, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_present
from pocket_colbert.storage.filters import parse_filter
from pocket_colbert.storage.segment import Segment
from pocket_colbert.types import Document, Passage

Place = tuple[int, int]
"""Number of a segment, and position of a document in it."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The segments of an index, which never change: a search works on what it found at first.

    Attributes:
        segments: The segments, oldest first.
    """

    segments: tuple[Segment, ...] = ()

    def __len__(self) -> int:
        """Return the number of documents."""
        return sum(map(len, self.segments))

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents in the order in which they were added."""
        for segment in self.segments:
            yield from segment

    def places(self, document_ids: Sequence[str]) -> dict[str, Place]:
        """Return the places of those ids whose documents are here."""
        found = {}
        for number, segment in enumerate(self.segments):
            for document_id, position in segment.documents.find(document_ids).items():
                if segment.alive is None or segment.alive[position]:
                    found[document_id] = number, position
        return found

    def document(self, place: Place) -> Document:
        """Return the document at a place."""
        return self.segments[place[0]].documents.get([place[1]])[place[1]]

    def passages(self, place: Place, start: int | None = None) -> list[Passage]:
        """Return the passages of the document at a place, see `IndexReader.passages`."""
        return _passages(self.segments[place[0]], place[1], self.document(place), start)

    def encoded(self) -> Iterator[tuple[Document, list[Passage]]]:
        """Iterate over documents and their passages, in the order in which they were added."""
        for segment in self.segments:
            for position, document in segment.living_documents():
                yield document, _passages(segment, position, document)

    def passage_counts(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of passages of those ids whose documents are here."""
        return {
            document_id: len(self.segments[segment].passages_of(np.array([position])))
            for document_id, (segment, position) in self.places(document_ids).items()
        }

    def allowed(
        self, where: Mapping[str, Any] | None, subset: Sequence[str] | None
    ) -> list[NDArray[np.bool_] | None]:
        """Say which documents may be found.

        Args:
            where: See `filters.parse_filter`.
            subset: Ids, all of which must be here.

        Returns:
            (num_documents,) bool a segment, None for all its documents.

        Raises:
            InvalidInputError: `where` is no filter, or an id is not here.
        """
        allowed: list[NDArray[np.bool_] | None] = [None] * len(self.segments)
        if subset is not None:
            places = self.places(subset)
            check_present(subset, places, "index")
            for number, segment in enumerate(self.segments):
                mask = np.zeros(segment.num_documents, dtype=bool)
                mask[[position for n, position in places.values() if n == number]] = True
                allowed[number] = mask
        if where is not None:
            condition = parse_filter(where)
            for number, segment in enumerate(self.segments):
                mask = condition.mask(segment.num_documents, segment.documents.matching)
                before = allowed[number]
                allowed[number] = mask if before is None else before & mask
        return allowed


def _passages(
    segment: Segment, position: int, document: Document, start: int | None = None
) -> list[Passage]:
    numbers = segment.passages_of(np.array([position]))
    return [
        Passage(first, end, segment.rows.decode(int(number)))
        for number, (first, end) in zip(
            numbers, segment.spans(position, document.text), strict=True
        )
        if start is None or first == start
    ]
