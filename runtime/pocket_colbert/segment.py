"""One immutable part of an index: token rows, documents and perhaps an inverted file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.documents import Document, DocumentList, DocumentSource, DocumentStore
from pocket_colbert.errors import IndexFormatError
from pocket_colbert.inverted import InvertedFile, build, list_dtype
from pocket_colbert.manifest import (
    CODES_FILE,
    INVERTED_FILES,
    SEGMENTS_FOLDER,
    FileEntry,
    SegmentEntry,
    hash_file,
    sync_folder,
)
from pocket_colbert.product import Product
from pocket_colbert.quantization import BITS, QueryCodes
from pocket_colbert.selection import top_k
from pocket_colbert.token_rows import TokenRows, map_array, map_bytes, read_array

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

_ALWAYS_VERIFIED = 1 << 20
"""Smaller files are always verified: it takes less than a millisecond."""


class Segment:
    """Token rows with their documents; scores queries against them.

    Attributes:
        rows: The token vectors.
        documents: The documents, by position.
        inverted: The inverted file over the token vectors, None when there is none.
        entry: What the manifest says of it, None for a segment in memory.
    """

    def __init__(
        self,
        rows: TokenRows,
        documents: DocumentSource,
        inverted: InvertedFile | None = None,
        entry: SegmentEntry | None = None,
    ) -> None:
        self.rows = rows
        self.documents = documents
        self.inverted = inverted
        self.entry = entry

    def __len__(self) -> int:
        return len(self.rows.lengths)

    @classmethod
    def in_memory(
        cls, rows: TokenRows, documents: Sequence[Document], config: IndexConfig, threads: int
    ) -> Segment:
        """Make a segment that is not on disk."""
        inverted = _inverted_file(rows, config, threads)
        return cls(rows, DocumentList(documents), inverted)

    @classmethod
    def open(
        cls, folder: Path, entry: SegmentEntry, config: IndexConfig, verify: bool | None
    ) -> Segment:
        """Map a segment into memory after checking it.

        Args:
            folder: The index folder.
            entry: What the manifest says of the segment.
            config: The index's settings.
            verify: Whether to verify the checksums of all files, which reads them all; None
                does for segments of up to `VERIFY_LIMIT` bytes. Sizes, and the checksums of
                small files, are always verified.

        Raises:
            IndexFormatError: A file is missing, damaged, or not of the size that it must have.
        """
        place = folder / SEGMENTS_FOLDER / entry.name
        if verify is None:
            verify = sum(item.bytes for item in entry.files.values()) <= VERIFY_LIMIT
        for name, expected in entry.files.items():
            _check_file(place / name, expected, verify or expected.bytes <= _ALWAYS_VERIFIED)
        counts = config.dim, entry.num_documents, entry.num_tokens
        if CODES_FILE in entry.files:
            rows = TokenRows.open(place, counts[0], BITS[config.codes], *counts[1:])
        else:
            rows = TokenRows.open_version_1(place, *counts)
        inverted = None
        if INVERTED_FILES[0] in entry.files:
            inverted = _open_inverted(place, config.dim, entry)
        store = DocumentStore(place / "documents.sqlite", entry.num_documents)
        return cls(rows, store, inverted, entry)

    @staticmethod
    def write(
        folder: Path,
        number: int,
        parts: Iterable[TokenRows],
        documents: Sequence[Document],
        config: IndexConfig,
        *,
        threads: int,
    ) -> SegmentEntry:
        """Write a new segment; nothing refers to it until a manifest does.

        Args:
            folder: The index folder.
            number: Goes into the segment's name, so that names sort by age.
            parts: The token vectors, of one codec, written one after the other.
            documents: Their documents.
            config: The index's settings.
            threads: Threads that build the inverted file.

        Returns:
            The entry for the manifest. All files are on disk when it returns.
        """
        name = f"{number:06d}-{secrets.token_hex(4)}"
        place = folder / SEGMENTS_FOLDER / name
        place.mkdir(parents=True)
        parts = list(parts)
        codec = parts[0].codec
        tokens, codes = TokenRows.write(place, codec, parts)
        DocumentStore.write(place / "documents.sqlite", documents)
        rows = TokenRows.open(place, codec.dim, codec.bits, len(documents), tokens)
        inverted = _inverted_file(rows, config, threads)
        if inverted is not None:
            _write_inverted(place, inverted)
        files = {CODES_FILE: codes}
        for path in sorted(place.iterdir()):
            if path.name != CODES_FILE:
                with path.open("r+b") as stream:
                    os.fsync(stream.fileno())
                files[path.name] = hash_file(path)
        sync_folder(place)
        sync_folder(place.parent)
        return SegmentEntry(name, len(documents), tokens, files)

    def search(
        self,
        query: QueryCodes,
        k: int,
        *,
        parameters: SearchParameters,
        executor: Executor | None,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best documents for one query.

        Args:
            query: The query, encoded with this segment's codec.
            k: How many documents at most.
            parameters: How to search.
            executor: Scores parts side by side when given.
            threads: How many of its threads to keep busy.

        Returns:
            Document positions (n,) int64, best first, and scores (n,) float32.
        """
        positions = None
        if self.inverted is not None and self.approximates(parameters, k):
            try:
                positions = self.inverted.candidates(
                    query,
                    len(self),
                    lookups=parameters.lookups,
                    limit=self.candidates(parameters, k),
                    kernel=Product,
                    query_tokens=parameters.query_tokens,
                )
            except IndexError as error:  # its checksum was not verified, see `open`
                raise IndexFormatError(f"an inverted file is damaged: {error}.") from error
        return self.best_of(query, positions, k, executor=executor, threads=threads)

    def best_of(
        self,
        query: QueryCodes,
        positions: NDArray[np.int64] | None,
        k: int,
        *,
        executor: Executor | None,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Score the documents at `positions` (ascending), or all, and return the best k."""
        scores = self.rows.score(query, positions, executor, threads)
        best = top_k(scores, k)
        return (best if positions is None else positions[best]), scores[best]

    def approximates(self, parameters: SearchParameters, k: int) -> bool:
        """Say whether a search looks into the inverted file rather than scoring all documents."""
        if self.inverted is None or parameters.mode == "exact":
            return False
        if parameters.mode == "approximate":
            return True
        share = min(self.candidates(parameters, k) / max(len(self), 1), 1.0)
        return (1 - share) * len(self.rows.codes) * self.rows.codec.planes > LOOKUP_TOKENS

    def candidates(self, parameters: SearchParameters, k: int) -> int:
        """Return how many documents an approximate search scores exactly."""
        wanted = parameters.candidates
        if wanted is None:
            length = len(self.rows.codes) * self.rows.codec.planes / max(len(self), 1)
            wanted = round(_CANDIDATES * max(_FULL_LENGTH / max(length, 1.0), 1.0) ** 1.25)
        return max(wanted, k)

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)


def _inverted_file(rows: TokenRows, config: IndexConfig, threads: int) -> InvertedFile | None:
    tokens = rows.num_tokens
    wanted = config.inverted_file == "always" or (
        config.inverted_file == "auto" and tokens >= config.inverted_min_tokens
    )
    if not wanted or not tokens:
        return None
    return build(rows.codec, rows.codes, rows.scales, rows.offsets, threads=threads)


def _write_inverted(place: Path, inverted: InvertedFile) -> None:
    inverted.centroids.tofile(place / "centroids.u8")
    inverted.scales.astype("<f4").tofile(place / "centroid_scales.f32")
    np.diff(inverted.offsets).astype("<i4").tofile(place / "list_lengths.i32")
    inverted.documents.tofile(place / "lists.bin")


def _open_inverted(place: Path, dim: int, entry: SegmentEntry) -> InvertedFile:
    number = entry.files["centroid_scales.f32"].bytes // 4
    scales = read_array(place / "centroid_scales.f32", "<f4", number)
    lengths = read_array(place / "list_lengths.i32", "<i4", number)
    total = int(lengths.sum(dtype=np.int64))
    if not number or number % 32 or not np.isfinite(scales).all() or (lengths < 0).any():
        raise IndexFormatError(f"{place} is damaged: its inverted file makes no sense.")
    documents = map_array(place / "lists.bin", list_dtype(entry.num_documents), total)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return InvertedFile(map_bytes(place / "centroids.u8", number, dim), scales, offsets, documents)


def _check_file(path: Path, expected: FileEntry, verify: bool) -> None:
    if not path.is_file():
        raise IndexFormatError(f"{path} is missing; the index is incomplete.")
    size = path.stat().st_size
    if size != expected.bytes:
        raise IndexFormatError(f"{path} is damaged: it has {size} bytes, not {expected.bytes}.")
    if verify and hash_file(path).sha256 != expected.sha256:
        raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
