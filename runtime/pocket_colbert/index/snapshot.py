"""An index as it was after one commit: what is in it, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_present
from pocket_colbert.storage.document_schema import READABLE
from pocket_colbert.storage.filters import parse_filter
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.selection import Selection
from pocket_colbert.types import Document, EncodedDocument, Passage, Span

Address = tuple[int, int]
"""Number of a segment, and position of a document in it."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The segments of an index, which never change: a search works on the one that it began with.

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

    def addresses(self, document_ids: Sequence[str]) -> dict[str, Address]:
        """Return the addresses of those ids whose documents are here."""
        addresses = {}
        for number, segment in enumerate(self.segments):
            for document_id, position in segment.documents.find(document_ids).items():
                if segment.alive[position]:
                    addresses[document_id] = number, position
        return addresses

    def document(self, address: Address) -> Document:
        """Return the document at an address."""
        return self.segments[address[0]].documents.get([address[1]])[address[1]]

    def passages(self, address: Address) -> list[Passage]:
        """Return the passages of the document at an address, see `IndexReader.passages`."""
        return _passages(self.segments[address[0]], address[1], self.document(address))

    def passage_embeddings(
        self, passages: Sequence[tuple[str, Span]]
    ) -> list[NDArray[np.float32] | None]:
        """Return the token vectors of some passages, see `IndexReader.passage_embeddings`."""
        embeddings: list[NDArray[np.float32] | None] = [None] * len(passages)
        addresses = self.addresses(list(dict.fromkeys(name for name, _ in passages)))
        for number in {segment for segment, _ in addresses.values()}:
            segment = self.segments[number]
            here = {name: position for name, (n, position) in addresses.items() if n == number}
            spans = segment.spans_at(sorted(here.values()))
            for n, (name, span) in enumerate(passages):
                if name in here and span in spans[here[name]]:
                    first, _ = segment.passages.bounds(here[name])
                    embeddings[n] = segment.rows.decode(first + spans[here[name]].index(span))
        return embeddings

    def encoded(self) -> Iterator[EncodedDocument]:
        """Iterate over documents and their passages, in the order in which they were added."""
        for segment in self.segments:
            for position, document in segment.living_documents():
                yield EncodedDocument(document, _passages(segment, position, document))

    def passage_counts(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of passages of those ids whose documents are here."""
        return {
            document_id: int(np.diff(self.segments[segment].passages.bounds(position))[0])
            for document_id, (segment, position) in self.addresses(document_ids).items()
        }

    def largest_passage(self) -> tuple[str, int]:
        """Return the id of a document with the most token vectors in a passage, and how many.

        Without documents the id is "" and the number 0.
        """
        largest = "", 0
        for segment in self.segments:
            alive = segment.alive.positions()
            counts = segment.passages.counts(alive)
            lengths = segment.rows.lengths[segment.passages.of(alive)]
            if len(lengths) and lengths.max() > largest[1]:
                position = int(np.repeat(alive, counts)[lengths.argmax()])
                (document,) = segment.documents.get([position]).values()
                largest = document.document_id, int(lengths.max())
        return largest

    def allowed(
        self, where: Mapping[str, Any] | None, subset: Sequence[str] | None
    ) -> list[Selection]:
        """Say which documents a search may return.

        Args:
            where: See `filters.parse_filter`.
            subset: Ids, all of which must be here.

        Returns:
            The documents of each segment.

        Raises:
            InvalidInputError: `where` is no filter.
            DocumentNotFoundError: An id is not here.
        """
        allowed = [segment.alive for segment in self.segments]
        if subset is not None:
            addresses = self.addresses(subset)
            check_present(subset, addresses, "index")
            for number, segment in enumerate(self.segments):
                chosen = [position for n, position in addresses.values() if n == number]
                allowed[number] = Selection.of(segment.num_documents, chosen)
        if where is not None:
            condition = parse_filter(where)
            for number, segment in enumerate(self.segments):
                mask = condition.mask(segment.num_documents, segment.documents.matching)
                allowed[number] &= Selection(segment.num_documents, mask)
        return allowed


def _passages(segment: Segment, position: int, document: Document) -> list[Passage]:
    numbers = range(*segment.passages.bounds(position))
    stored = segment.stored_passages({position: document})[position]
    return [
        Passage(start, stop, segment.rows.decode(number), readable / READABLE)
        for number, (start, stop, readable) in zip(numbers, stored, strict=True)
    ]
