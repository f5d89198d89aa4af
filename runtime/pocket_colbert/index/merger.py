"""Several segments to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from pocket_colbert.config import IndexConfig
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.document_schema import StoredDocument
from pocket_colbert.storage.segment import Segment
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec


@dataclass(frozen=True, kw_only=True)
class SegmentMaker:
    """Makes new segments of an index, in its folder or in memory.

    Attributes:
        folder: The index folder, None in memory.
        generation: The commit that the segments will be part of.
        config: The index's settings.
        threads: Threads that build inverted files.
    """

    folder: Contained | None
    generation: int
    config: IndexConfig
    threads: int

    def make(
        self, codec: Codec, parts: Iterable[TokenVectors], documents: Iterable[StoredDocument]
    ) -> Segment:
        """Make a segment; see `Segment.write`."""
        if self.folder is None:
            rows = TokenVectors.concatenate(codec, list(parts))
            return Segment.in_memory(rows, documents, self.config, self.threads)
        return Segment.write(
            self.folder, self.generation, codec, parts, documents, self.config,
            threads=self.threads,
        )  # fmt: skip

    def merge(
        self, segments: Sequence[Segment], new_source: Callable[[str], str] | None = None
    ) -> Segment:
        """Make one segment of several, without their deleted documents.

        Args:
            segments: At least one; the codec of the largest is kept.
            new_source: Returns what a source is called from now on; none change by default.
        """
        codec = max((segment.rows for segment in segments), key=lambda rows: len(rows.codes)).codec
        return self.make(codec, _rows(segments, codec), _documents(segments, new_source))


def _rows(segments: Sequence[Segment], codec: Codec) -> Iterator[TokenVectors]:
    """Iterate over the token vectors of documents that are not deleted, in pieces."""
    for segment in segments:
        yield from segment.rows.copies(codec, segment.passages.of(segment.alive.positions()))


def _documents(
    segments: Sequence[Segment], new_source: Callable[[str], str] | None
) -> Iterator[StoredDocument]:
    """Iterate over the documents that are not deleted."""
    for document, passages in chain.from_iterable(segment.stored() for segment in segments):
        if new_source is not None and document.source is not None:
            document = replace(document, source=new_source(document.source))
        yield document, passages
