"""One part of an index, which never changes: token vectors, documents, perhaps a way to search."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import IndexFormatError
from pocket_colbert.storage import candidate_source
from pocket_colbert.storage.candidate_source import Source
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.document_schema import StoredDocument, StoredPassage
from pocket_colbert.storage.document_store import DocumentStore
from pocket_colbert.storage.files import (
    FileEntry,
    copy_file,
    hash_stream,
    make_folder,
    sync_file,
    sync_folder,
    write_file,
)
from pocket_colbert.storage.manifest import (
    DOCUMENTS_FILE,
    PASSAGES_FILE,
    SEGMENTS_FOLDER,
    DeletedEntry,
    SegmentEntry,
)
from pocket_colbert.storage.mapped_arrays import read_array
from pocket_colbert.storage.passage_ranges import PassageRanges
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.types import Document, Span
from pocket_colbert.vectors.codec import BITS, Codec

VERIFY_LIMIT = 64 << 20
"""A segment of more bytes is opened without verifying the checksums of its large files."""

_ALWAYS_VERIFIED = 1 << 20
"""Smaller files are always verified: it takes less than a millisecond."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Documents and their token vectors; `SegmentSearch` scores them.

    Attributes:
        rows: The token vectors of the passages.
        documents: The documents, by position.
        passages: Which passages belong to which document.
        alive: The documents that are not deleted.
        source: What approximate search takes candidates from, None when there is none.
        entry: What the manifest says of it, None for a segment in memory.
    """

    rows: TokenVectors
    documents: DocumentStore
    passages: PassageRanges
    alive: Selection
    source: Source | None = None
    entry: SegmentEntry | None = None

    def __len__(self) -> int:
        """Return the number of documents that are not deleted."""
        return len(self.alive)

    @property
    def num_documents(self) -> int:
        """Number of documents, deleted ones included."""
        return self.documents.num_documents

    @classmethod
    def in_memory(
        cls,
        rows: TokenVectors,
        documents: Iterable[StoredDocument],
        config: IndexConfig,
        threads: int,
    ) -> Segment:
        """Make a segment that is not on disk; see `write` for the arguments."""
        store, counts = DocumentStore.in_memory(documents, config.keywords)
        source = candidate_source.build(rows, config, threads)
        passages = PassageRanges.of_counts(counts)
        return cls(rows, store, passages, Selection(len(counts)), source)

    @classmethod
    def open(
        cls, folder: Contained, entry: SegmentEntry, config: IndexConfig, verify: bool | None
    ) -> Segment:
        """Map a segment into memory after checking it.

        Args:
            folder: The index folder.
            entry: What the manifest says of the segment; `marked` deletes documents.
            config: The index's settings.
            verify: Whether to verify the checksums of all files, which reads them all; None
                does for segments of up to `VERIFY_LIMIT` bytes. Sizes, and the checksums of
                small files, are always verified.

        Raises:
            IndexFormatError: A file is missing, damaged, or not of the size that it must have.
        """
        path = entry.folder(folder)
        if verify is None:
            verify = sum(item.bytes for item in entry.files.values()) <= VERIFY_LIMIT
        for file, expected in entry.paths(folder):
            check_file(file, expected, verify or expected.bytes <= _ALWAYS_VERIFIED)
        rows = TokenVectors.open(
            path, config.dim, BITS[config.codes], entry.num_passages, entry.num_tokens
        )
        passages = PassageRanges(entry.num_documents)
        if PASSAGES_FILE in entry.files:
            counts = read_array(path / PASSAGES_FILE, "<i4", entry.num_documents)
            if (counts < 1).any() or counts.sum(dtype=np.int64) != entry.num_passages:
                raise IndexFormatError(f"{path / PASSAGES_FILE} is damaged: it does not add up.")
            passages = PassageRanges.of_counts(counts)
        source = candidate_source.open_files(path, entry, config.dim)
        store = DocumentStore.open(path / DOCUMENTS_FILE, entry.num_documents, entry.num_passages)
        alive = Selection(entry.num_documents)
        return cls(rows, store, passages, alive, source, replace(entry, deleted=None))

    @classmethod
    def write(
        cls,
        folder: Contained,
        generation: int,
        codec: Codec,
        parts: Iterable[TokenVectors],
        documents: Iterable[StoredDocument],
        config: IndexConfig,
        *,
        threads: int,
    ) -> Segment:
        """Write a new segment; nothing refers to it until a manifest does.

        Args:
            folder: The index folder.
            generation: Goes into the segment's name, so that names sort by age.
            codec: What the parts were written with.
            parts: The token vectors of the passages, written one after the other.
            documents: Their documents.
            config: The index's settings.
            threads: Threads that build an inverted file.

        Returns:
            The segment; all its files are on disk.

        Raises:
            OSError: The disk is full or fails. What was written is of no use then.
        """
        name = _new_name(folder, generation)
        path = folder / SEGMENTS_FOLDER / name
        make_folder(path)
        tokens, files = TokenVectors.write(path, codec, parts)
        database = path / DOCUMENTS_FILE
        counts = DocumentStore.write(database, documents, config.keywords)
        files[DOCUMENTS_FILE] = sync_file(database)
        passages = PassageRanges.of_counts(counts)
        if not passages.one_each:
            files[PASSAGES_FILE] = write_file(path / PASSAGES_FILE, counts.astype("<i4"))
        rows = TokenVectors.open(path, codec.dim, codec.bits, len(passages), tokens)
        source = candidate_source.build(rows, config, threads)
        if source is not None:
            files.update(candidate_source.write_files(path, source))
        sync_folder(path)
        sync_folder(path.parent)
        quality = None if source is None else source.quality
        store = DocumentStore.open(database, len(counts), len(passages))
        entry = SegmentEntry(name, len(counts), len(passages), tokens, files, approximate=quality)
        source = candidate_source.open_files(path, entry, codec.dim)  # mapped, not in memory
        return cls(rows, store, passages, Selection(len(counts)), source, entry)

    def copied(
        self,
        source: Contained,
        target: Contained,
        config: IndexConfig,
        moved: Callable[[str], str],
    ) -> Segment:
        """Write the same segment into another index, all of its files verified on the way.

        Args:
            source: The index folder that it is in.
            target: The other one, at its first commit.
            config: The other index's settings.
            moved: What the other index calls a source.

        Raises:
            IndexFormatError: A file is missing or damaged.
            OSError: The disk is full or fails. What was written is of no use then.
        """
        assert self.entry is not None
        entry = replace(self.entry, name=_new_name(target, 1), deleted=None)
        folder = entry.folder(target)
        make_folder(folder)
        for path, expected in self.entry.paths(source):
            if copy_file(path, folder / path.name) != expected:
                raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
        names = {name: moved(name) for name in self.documents.sources()}
        changed = {old: new for old, new in names.items() if old != new}
        if changed:
            database = folder / DOCUMENTS_FILE
            DocumentStore.change_sources(database, changed)
            entry = replace(entry, files={**entry.files, DOCUMENTS_FILE: sync_file(database)})
        sync_folder(folder)
        sync_folder(folder.parent)
        segment = Segment.open(target, entry, config, verify=False)
        if self.alive.is_all:
            return segment
        return segment.without(self.alive.left_out(), target, 1)

    def without(
        self, positions: NDArray[np.int64], folder: Contained | None, generation: int
    ) -> Segment:
        """Return the same segment with some more documents deleted.

        Args:
            positions: The documents.
            folder: The index folder, which gets a new file that marks them; None in memory.
            generation: The commit that does it.
        """
        alive = self.alive.without(positions)
        if folder is None or self.entry is None:
            return replace(self, alive=alive)
        deleted = alive.left_out()
        bits = np.zeros(self.num_documents, dtype=bool)
        bits[deleted] = True
        marked = replace(
            self.entry, deleted=DeletedEntry(len(deleted), generation, FileEntry(0, ""))
        )
        path = marked.deleted_file(folder)
        assert path is not None and marked.deleted is not None
        make_folder(path.parent)
        file = write_file(path, np.packbits(bits, bitorder="little"))
        sync_folder(path.parent)
        entry = replace(marked, deleted=replace(marked.deleted, file=file))
        return replace(self, alive=alive, entry=entry)

    def marked(self, folder: Contained, entry: SegmentEntry) -> Segment:
        """Return the same segment with the documents deleted that its entry says.

        Raises:
            IndexFormatError: The file that marks them is missing or damaged.
        """
        if self.entry == entry:
            return self
        return replace(self, alive=_open_alive(folder, entry), entry=entry)

    def stored_passages(self, documents: Mapping[int, Document]) -> dict[int, list[StoredPassage]]:
        """Return the passages of some documents, given by their positions."""
        bounds = self.passages.bounds_of(documents)
        stored = self.documents.passages(bounds.values())
        return {
            position: [
                stored.get(passage) or StoredPassage(0, len(document.text or ""))
                for passage in range(*bounds[position])
            ]
            for position, document in documents.items()
        }

    def spans(self, documents: Mapping[int, Document]) -> dict[int, list[Span]]:
        """Return the spans of the passages of some documents, given by their positions."""
        return {
            position: [(passage.start, passage.stop) for passage in passages]
            for position, passages in self.stored_passages(documents).items()
        }

    def spans_at(self, positions: Sequence[int]) -> dict[int, list[Span]]:
        """Return the spans of the passages of the documents at some positions, see `spans`.

        Of documents that are one passage the texts are read, of others nothing but the spans.
        """
        bounds = self.passages.bounds_of(positions)
        stored = self.documents.passages(bounds.values())
        whole = [n for n in positions if any(m not in stored for m in range(*bounds[n]))]
        lengths = self.documents.text_lengths(whole)
        return {
            n: [
                (stored[m].start, stored[m].stop) if m in stored else (0, lengths[n])
                for m in range(*bounds[n])
            ]
            for n in positions
        }

    def living_ids(self) -> Iterator[list[str]]:
        """Iterate over the ids of documents that are not deleted, in batches."""
        for batch in self.documents.ids():
            yield [document_id for position, document_id in batch if self.alive[position]]

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents that are not deleted."""
        return (document for _, document in self.living_documents())

    def stored(self) -> Iterator[StoredDocument]:
        """Iterate over the documents that are not deleted, with their passages."""
        return (
            (document, self.stored_passages({position: document})[position])
            for position, document in self.living_documents()
        )

    def living_documents(self) -> Iterator[tuple[int, Document]]:
        """Iterate over the documents that are not deleted, with their positions."""
        for position, document in self.documents.iterate():
            if self.alive[position]:
                yield position, document


def _new_name(folder: Contained, generation: int) -> str:
    """Return a name for a new segment that no folder has: the same for the same commits."""
    taken = set((folder / SEGMENTS_FOLDER).names())
    for number in count():
        digest = hashlib.sha256(f"{generation} {number}".encode()).hexdigest()
        name = f"{generation:06d}-{digest[:8]}"
        if name not in taken:
            return name
    raise AssertionError("the loop returns")


def _open_alive(folder: Contained, entry: SegmentEntry) -> Selection:
    alive, path = Selection(entry.num_documents), entry.deleted_file(folder)
    if path is None or entry.deleted is None:
        return alive
    check_file(path, entry.deleted.file, verify=True)
    bits = read_array(path, "u1", entry.deleted.file.bytes)
    deleted = np.unpackbits(bits, count=entry.num_documents, bitorder="little")
    alive = alive.without(np.flatnonzero(deleted))
    if entry.num_documents - len(alive) != entry.deleted.count:
        raise IndexFormatError(f"{path} is damaged: it does not mark {entry.deleted.count}.")
    return alive


def check_file(path: Contained, expected: FileEntry, verify: bool) -> None:
    """Raise IndexFormatError unless a file has its size and, when `verify`, its checksum."""
    try:
        with path.open() as stream:
            size = os.fstat(stream.fileno()).st_size
            if size != expected.bytes:
                raise IndexFormatError(
                    f"{path} is damaged: it has {size} bytes, not {expected.bytes}."
                )
            if verify and hash_stream(stream).sha256 != expected.sha256:
                raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
    except FileNotFoundError as error:
        raise IndexFormatError(f"{path} is missing; the index is incomplete.") from error
