"""One immutable part of an index: token rows, documents and perhaps an inverted file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.errors import IndexFormatError
from pocket_colbert.storage.document_store import DocumentStore, StoredDocument
from pocket_colbert.storage.files import (
    FileEntry,
    copy_file,
    hash_file,
    make_folder,
    sync_file,
    sync_folder,
    write_file,
)
from pocket_colbert.storage.inverted_file import InvertedFile, build, list_dtype
from pocket_colbert.storage.manifest import (
    DOCUMENTS_FILE,
    INVERTED_FILES,
    PASSAGES_FILE,
    SEGMENTS_FOLDER,
    DeletedEntry,
    SegmentEntry,
)
from pocket_colbert.storage.mapped_arrays import map_array, map_bytes, read_array
from pocket_colbert.storage.token_vectors import TokenVectors, row_offsets
from pocket_colbert.types import Document, Span
from pocket_colbert.vectors.codec import BITS, Codec, QueryCodes
from pocket_colbert.vectors.int8_matmul import Product
from pocket_colbert.vectors.ragged import rows_of
from pocket_colbert.vectors.top_k import top_k

VERIFY_LIMIT = 64 << 20
"""A segment of more bytes is opened without verifying the checksums of its large files."""

_CANDIDATES = 512
_FULL_LENGTH = 200
"""So many documents of so many token vectors are scored exactly by default. Shorter ones are
estimated less well and scored faster: there the number grows, a little faster than their length
falls. Measured: 512 find 99.9 % at 235 token vectors a document, 1400 find 99.7 % at 90, and 8000
find 99 % at 23 (documents pooled by 4)."""

LOOKUP_TOKENS = 100_000
"""What looking into an inverted file costs, in token vectors that could be scored instead: about
2 ms of 20 ns on the machine of `benchmarks/README.md`. The ratio moves little between machines."""

_MOSTLY = 0.5
"""From this share of the documents on it is faster to score them all than to gather some."""

_ALWAYS_VERIFIED = 1 << 20
"""Smaller files are always verified: it takes less than a millisecond."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Token rows with their documents; scores queries against them.

    Attributes:
        rows: The token vectors of the passages.
        documents: The documents, by position.
        first_passages: (num_documents + 1,) int64, the first passage of each document, and the
            total; None where every document is one passage.
        inverted: The inverted file over the token vectors, None when there is none.
        alive: (num_documents,) bool, False for deleted documents; None when there are none.
        entry: What the manifest says of it, None for a segment in memory.
    """

    rows: TokenVectors
    documents: DocumentStore
    first_passages: NDArray[np.int64] | None = None
    inverted: InvertedFile | None = None
    alive: NDArray[np.bool_] | None = None
    entry: SegmentEntry | None = None

    def __len__(self) -> int:
        """Return the number of documents that are not deleted."""
        return self.num_documents if self.alive is None else int(self.alive.sum())

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
        store, passages = DocumentStore.in_memory(documents, config.keywords)
        inverted = _inverted_file(rows, config, threads)
        return cls(rows, store, _first_passages(passages), inverted)

    @classmethod
    def open(
        cls, folder: Path, entry: SegmentEntry, config: IndexConfig, verify: bool | None
    ) -> Segment:
        """Map a segment into memory after checking it.

        Args:
            folder: The index folder.
            entry: What the manifest says of the segment; `marked` sees to deleted documents.
            config: The index's settings.
            verify: Whether to verify the checksums of all files, which reads them all; None
                does for segments of up to `VERIFY_LIMIT` bytes. Sizes, and the checksums of
                small files, are always verified.

        Raises:
            IndexFormatError: A file is missing, damaged, or not of the size that it must have.
        """
        place = entry.folder(folder)
        if verify is None:
            verify = sum(item.bytes for item in entry.files.values()) <= VERIFY_LIMIT
        for path, expected in entry.paths(folder):
            check_file(path, expected, verify or expected.bytes <= _ALWAYS_VERIFIED)
        counts = config.dim, entry.num_passages, entry.num_tokens
        rows = TokenVectors.open(place, counts[0], BITS[config.codes], *counts[1:])
        first_passages = None
        if PASSAGES_FILE in entry.files:
            passages = read_array(place / PASSAGES_FILE, "<i4", entry.num_documents)
            first_passages = _first_passages(passages)
            if (passages < 1).any() or passages.sum(dtype=np.int64) != entry.num_passages:
                raise IndexFormatError(f"{place / PASSAGES_FILE} is damaged: it does not add up.")
        inverted = None
        if INVERTED_FILES[0] in entry.files:
            inverted = _open_inverted(place, config.dim, entry)
        store = DocumentStore(place / DOCUMENTS_FILE, entry.num_documents, entry.num_passages)
        return cls(rows, store, first_passages, inverted, None, replace(entry, deleted=None))

    @classmethod
    def write(
        cls,
        folder: Path,
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
            threads: Threads that build the inverted file.

        Returns:
            The segment; all its files are on disk.

        Raises:
            OSError: The disk is full or fails. What was written is of no use then.
        """
        name = _new_name(generation)
        place = folder / SEGMENTS_FOLDER / name
        make_folder(place)
        tokens, files = TokenVectors.write(place, codec, parts)
        database = place / DOCUMENTS_FILE
        passages = DocumentStore.write(database, documents, config.keywords)
        files[database.name] = sync_file(database)
        total = int(passages.sum(dtype=np.int64))
        first_passages = _first_passages(passages)
        if first_passages is not None:
            files[PASSAGES_FILE] = write_file(place / PASSAGES_FILE, passages.astype("<i4"))
        rows = TokenVectors.open(place, codec.dim, codec.bits, total, tokens)
        inverted = _inverted_file(rows, config, threads)
        if inverted is not None:
            files.update(_write_inverted(place, inverted))
        sync_folder(place)
        sync_folder(place.parent)
        entry = SegmentEntry(name, len(passages), total, tokens, files)
        if inverted is not None:
            inverted = _open_inverted(place, codec.dim, entry)  # mapped, no longer in memory
        store = DocumentStore(database, len(passages), total)
        return cls(rows, store, first_passages, inverted, None, entry)

    def copied(
        self,
        source: Path,
        target: Path,
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
        entry = replace(self.entry, name=_new_name(1), deleted=None)
        place = entry.folder(target)
        make_folder(place)
        for path, expected in self.entry.paths(source):
            if copy_file(path, place / path.name) != expected:
                raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
        names = {name: moved(name) for name in self.documents.sources()}
        changed = {old: new for old, new in names.items() if old != new}
        if changed:
            database = place / DOCUMENTS_FILE
            DocumentStore.change_sources(database, changed)
            entry = replace(entry, files={**entry.files, DOCUMENTS_FILE: sync_file(database)})
        sync_folder(place)
        sync_folder(place.parent)
        segment = Segment.open(target, entry, config, verify=False)
        if self.alive is None:
            return segment
        return segment.without(np.flatnonzero(~self.alive), target, 1)

    def without(
        self, positions: NDArray[np.int64], folder: Path | None, generation: int
    ) -> Segment:
        """Return the same segment with some more documents deleted.

        Args:
            positions: The documents.
            folder: The index folder, which gets a new file that marks them; None in memory.
            generation: The commit that does it.
        """
        alive = np.ones(self.num_documents, bool) if self.alive is None else self.alive.copy()
        alive[positions] = False
        if folder is None or self.entry is None:
            return replace(self, alive=alive)
        count = int((~alive).sum())
        marked = replace(self.entry, deleted=DeletedEntry(count, generation, FileEntry(0, "")))
        path = marked.deleted_file(folder)
        assert path is not None and marked.deleted is not None
        make_folder(path.parent)
        file = write_file(path, np.packbits(~alive, bitorder="little"))
        sync_folder(path.parent)
        entry = replace(marked, deleted=replace(marked.deleted, file=file))
        return replace(self, alive=alive, entry=entry)

    def marked(self, folder: Path, entry: SegmentEntry) -> Segment:
        """Return the same segment with the documents deleted that its entry says.

        Raises:
            IndexFormatError: The file that marks them is missing or damaged.
        """
        if self.entry == entry:
            return self
        return replace(self, alive=_open_alive(folder, entry), entry=entry)

    def alive_positions(self) -> NDArray[np.int64]:
        """Return the documents that are not deleted, ascending."""
        return np.arange(self.num_documents) if self.alive is None else np.flatnonzero(self.alive)

    def passages_of(self, documents: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the passages of some documents, end to end."""
        if self.first_passages is None:
            return documents
        return rows_of(documents, self.first_passages)

    def spans(self, document: int, text: str | None) -> list[Span]:
        """Return the spans of a document's passages in its text."""
        first, last = document, document + 1
        if self.first_passages is not None:
            first, last = map(int, self.first_passages[document : document + 2])
        found = self.documents.spans(first, last)
        return [found.get(passage, (0, len(text or ""))) for passage in range(first, last)]

    def living_ids(self) -> Iterator[list[str]]:
        """Iterate over the ids of documents that are not deleted, in batches."""
        for batch in self.documents.ids():
            yield [item for n, item in batch if self.alive is None or self.alive[n]]

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents that are not deleted."""
        return (document for _, document in self.living_documents())

    def stored(self) -> Iterator[StoredDocument]:
        """Iterate over the documents that are not deleted, with the spans of their passages."""
        return (
            (document, self.spans(position, document.text))
            for position, document in self.living_documents()
        )

    def living_documents(self) -> Iterator[tuple[int, Document]]:
        """Iterate over the documents that are not deleted, with their positions."""
        for position, document in self.documents.iterate():
            if self.alive is None or self.alive[position]:
                yield position, document

    def search(
        self,
        query: QueryCodes,
        k: int,
        *,
        parameters: SearchParameters,
        allowed: NDArray[np.bool_] | None,
        executor: Executor | None,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best documents for one query.

        Args:
            query: The query, encoded with this segment's codec.
            k: How many documents at most.
            parameters: How to search.
            allowed: (num_documents,) bool, which documents may be found; all that are not
                deleted by default.
            executor: Scores parts side by side when given.
            threads: How many of its threads to keep busy.

        Returns:
            Document positions (n,) int64, best first, and scores (n,) float32. Approximate
            search, too, returns k where that many documents are allowed and have token vectors.
        """
        allowed = self.living(allowed)
        if self.inverted is not None and self.approximates(parameters, k, allowed):
            try:
                passages = self.inverted.candidates(
                    query,
                    len(self.rows.lengths),
                    lookups=parameters.lookups,
                    limit=self.candidates(parameters, k),
                    kernel=Product,
                    query_tokens=parameters.query_tokens,
                    allowed=self._passage_mask(allowed),
                )
            except IndexError as error:  # its checksum was not verified, see `open`
                raise IndexFormatError(f"an inverted file is damaged: {error}.") from error
            found = self._best(query, passages, k, executor, threads)
            if len(found[0]) >= min(k, self.num_documents if allowed is None else allowed.sum()):
                return found
        return self.exact(query, k, allowed=allowed, executor=executor, threads=threads)

    def exact(
        self,
        query: QueryCodes,
        k: int,
        *,
        allowed: NDArray[np.bool_] | None,
        executor: Executor | None,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Score all documents, or those allowed; see `search`."""
        allowed = self.living(allowed)
        passages = None
        if allowed is not None and allowed.mean() < _MOSTLY:
            passages = self.passages_of(np.flatnonzero(allowed))
        return self._best(query, passages, k, executor, threads, allowed)

    def scores_of(
        self, query: QueryCodes, documents: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the passages of some documents (ascending), and their scores."""
        passages = self.passages_of(documents)
        return passages, self.rows.score(query, passages, None, 1)

    def scores_by_document(
        self, query: QueryCodes, documents: NDArray[np.int64]
    ) -> list[NDArray[np.float32]]:
        """Return the scores of the passages of each of some documents (ascending)."""
        _, scores = self.scores_of(query, documents)
        if self.first_passages is None:
            return np.split(scores, len(documents))
        counts = np.diff(self.first_passages)[documents]
        return np.split(scores, np.cumsum(counts)[:-1])

    def living(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        """Return which documents are allowed and not deleted, None for all."""
        if allowed is None or self.alive is None:
            return self.alive if allowed is None else allowed
        return allowed & self.alive

    def by_document(
        self, passages: NDArray[np.int64] | None, scores: NDArray[np.float32]
    ) -> tuple[NDArray[np.int64] | None, NDArray[np.float32]]:
        """Give each document the score of its best passage.

        Args:
            passages: Ascending passage numbers, None for all.
            scores: Their scores.

        Returns:
            Ascending document positions, None for all, and their scores.
        """
        if self.first_passages is None:
            return passages, scores
        if passages is None:
            return None, np.maximum.reduceat(scores, self.first_passages[:-1])
        if not len(passages):
            return passages, scores
        owners = np.searchsorted(self.first_passages, passages, side="right") - 1
        starts = np.flatnonzero(np.diff(owners, prepend=-1))
        return owners[starts], np.maximum.reduceat(scores, starts)

    def _best(
        self,
        query: QueryCodes,
        passages: NDArray[np.int64] | None,
        k: int,
        executor: Executor | None,
        threads: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Score passages (ascending), or all, and return the best k documents among them."""
        scores = self.rows.score(query, passages, executor, threads)
        documents, scores = self.by_document(passages, scores)
        if documents is None and allowed is not None:
            scores = np.where(allowed, scores, np.float32(-np.inf))
        best = top_k(scores, k)
        return (best if documents is None else documents[best]), scores[best]

    def _passage_mask(self, allowed: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        if allowed is None or self.first_passages is None:
            return allowed
        return np.repeat(allowed, np.diff(self.first_passages))

    def approximates(
        self, parameters: SearchParameters, k: int, allowed: NDArray[np.bool_] | None = None
    ) -> bool:
        """Say whether a search looks into the inverted file rather than scoring all documents."""
        if self.inverted is None or parameters.mode == "exact":
            return False
        if parameters.mode == "approximate":
            return True
        passages = len(self.rows.lengths) * (1.0 if allowed is None else float(allowed.mean()))
        share = min(self.candidates(parameters, k) / max(passages, 1.0), 1.0)
        tokens = passages * self._mean_length()
        return (1 - share) * tokens > LOOKUP_TOKENS

    def candidates(self, parameters: SearchParameters, k: int) -> int:
        """Return how many passages an approximate search scores exactly."""
        wanted = parameters.candidates
        if wanted is None:
            wanted = round(
                _CANDIDATES * max(_FULL_LENGTH / max(self._mean_length(), 1.0), 1.0) ** 1.25
            )
        if self.first_passages is not None:
            k = k * len(self.rows.lengths) // self.num_documents
        return max(wanted, k)

    def _mean_length(self) -> float:
        """Return about how many token vectors a passage has."""
        return len(self.rows.codes) * self.rows.codec.planes / max(len(self.rows.lengths), 1)


def _new_name(generation: int) -> str:
    return f"{generation:06d}-{os.urandom(4).hex()}"


def _first_passages(counts: NDArray[np.int32]) -> NDArray[np.int64] | None:
    return row_offsets(counts, 1) if (counts > 1).any() else None


def _inverted_file(rows: TokenVectors, config: IndexConfig, threads: int) -> InvertedFile | None:
    tokens = rows.num_tokens
    wanted = config.inverted_file == "always" or (
        config.inverted_file == "auto" and tokens >= config.inverted_min_tokens
    )
    if not wanted or not tokens:
        return None
    return build(rows.codec, rows.codes, rows.scales, rows.offsets, threads=threads)


def _write_inverted(place: Path, inverted: InvertedFile) -> dict[str, FileEntry]:
    contents = (
        inverted.centroids,
        inverted.scales.astype("<f4"),
        np.diff(inverted.offsets).astype("<i4"),
        inverted.documents,
    )
    return {
        name: write_file(place / name, content)
        for name, content in zip(INVERTED_FILES, contents, strict=True)
    }


def _open_inverted(place: Path, dim: int, entry: SegmentEntry) -> InvertedFile:
    number = entry.files["centroid_scales.f32"].bytes // 4
    scales = read_array(place / "centroid_scales.f32", "<f4", number)
    lengths = read_array(place / "list_lengths.i32", "<i4", number)
    total = int(lengths.sum(dtype=np.int64))
    if not number or number % 32 or not np.isfinite(scales).all() or (lengths < 0).any():
        raise IndexFormatError(f"{place} is damaged: its inverted file makes no sense.")
    documents = map_array(place / "lists.bin", list_dtype(entry.num_passages), total)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return InvertedFile(map_bytes(place / "centroids.u8", number, dim), scales, offsets, documents)


def _open_alive(folder: Path, entry: SegmentEntry) -> NDArray[np.bool_] | None:
    path = entry.deleted_file(folder)
    if path is None or entry.deleted is None:
        return None
    check_file(path, entry.deleted.file, verify=True)
    bits = np.fromfile(path, np.uint8)
    deleted = np.unpackbits(bits, count=entry.num_documents, bitorder="little").astype(bool)
    if int(deleted.sum()) != entry.deleted.count:
        raise IndexFormatError(f"{path} is damaged: it does not mark {entry.deleted.count}.")
    return ~deleted


def check_file(path: Path, expected: FileEntry, verify: bool) -> None:
    """Raise IndexFormatError unless a file has its size and, when `verify`, its checksum."""
    if not path.is_file():
        raise IndexFormatError(f"{path} is missing; the index is incomplete.")
    size = path.stat().st_size
    if size != expected.bytes:
        raise IndexFormatError(f"{path} is damaged: it has {size} bytes, not {expected.bytes}.")
    if verify and hash_file(path).sha256 != expected.sha256:
        raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
