"""One immutable part of an index: codes, offsets, scales, documents and perhaps a graph."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.ann import TokenGraph
from pocket_colbert.candidates import gather_rows, rank_candidates
from pocket_colbert.config import IndexConfig
from pocket_colbert.documents import Document, DocumentList, DocumentSource, DocumentStore
from pocket_colbert.errors import IndexFormatError
from pocket_colbert.manifest import (
    GRAPH_FILE,
    SEGMENTS_FOLDER,
    FileEntry,
    SegmentEntry,
    hash_file,
    sync_folder,
)
from pocket_colbert.maxsim import maxsim_codes
from pocket_colbert.selection import top_k

VERIFY_LIMIT = 256 << 20
"""Below this many bytes of codes their checksum is verified when a segment is opened."""


@dataclass(frozen=True)
class TokenRows:
    """The token vectors of some documents, end to end.

    Attributes:
        codes: (total_tokens, dim) int8.
        offsets: (num_documents + 1,) int64.
        scales: (num_documents,) float32.
    """

    codes: NDArray[np.int8]
    offsets: NDArray[np.int64]
    scales: NDArray[np.float32]

    @classmethod
    def join(cls, dim: int, parts: Sequence[tuple[NDArray[np.int8], np.float32]]) -> TokenRows:
        """Lay documents, each codes and scale, end to end."""
        lengths = np.array([len(codes) for codes, _ in parts], dtype=np.int64)
        return cls(
            np.concatenate([np.empty((0, dim), np.int8), *(codes for codes, _ in parts)]),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
            np.array([scale for _, scale in parts], dtype=np.float32),
        )


class Segment:
    """Token rows with their documents; scores queries against them.

    Attributes:
        rows: The token vectors.
        documents: The documents, by position.
        graph: The graph over the token vectors, None when there is none.
        entry: What the manifest says of it, None for a segment in memory.
    """

    def __init__(
        self,
        rows: TokenRows,
        documents: DocumentSource,
        graph: TokenGraph | None = None,
        entry: SegmentEntry | None = None,
    ) -> None:
        self.rows = rows
        self.documents = documents
        self.graph = graph
        self.entry = entry

    def __len__(self) -> int:
        return len(self.rows.scales)

    @classmethod
    def in_memory(cls, rows: TokenRows, documents: Sequence[Document]) -> Segment:
        """Make a segment that is not on disk."""
        return cls(rows, DocumentList(documents))

    @classmethod
    def open(
        cls, folder: Path, entry: SegmentEntry, config: IndexConfig, verify: bool | None
    ) -> Segment:
        """Map a segment into memory after checking it.

        Args:
            folder: The index folder.
            entry: What the manifest says of the segment.
            config: The index's settings.
            verify: Whether to verify the checksum of the codes; None verifies up to
                `VERIFY_LIMIT` bytes. The other files are always verified.

        Raises:
            IndexFormatError: A file is missing, damaged, or not of the size that it must have.
        """
        place = folder / SEGMENTS_FOLDER / entry.name
        sizes = {
            "codes.i8": entry.num_tokens * config.dim,
            "offsets.i64": (entry.num_documents + 1) * 8,
            "scales.f32": entry.num_documents * 4,
        }
        for name, expected in entry.files.items():
            _check_file(place / name, expected, sizes.get(name), name != "codes.i8")
        codes_bytes = entry.files["codes.i8"].bytes
        if verify or (verify is None and codes_bytes <= VERIFY_LIMIT):
            _check_file(place / "codes.i8", entry.files["codes.i8"], None, True)
        offsets = np.fromfile(place / "offsets.i64", dtype="<i8").astype(np.int64, copy=False)
        if offsets[0] != 0 or offsets[-1] != entry.num_tokens or (np.diff(offsets) < 0).any():
            raise IndexFormatError(f"{place / 'offsets.i64'} is damaged: not ascending from 0.")
        scales = np.fromfile(place / "scales.f32", dtype="<f4").astype(np.float32, copy=False)
        if not np.isfinite(scales).all() or (scales <= 0).any():
            raise IndexFormatError(f"{place / 'scales.f32'} is damaged: scales must be > 0.")
        shape = (entry.num_tokens, config.dim)
        codes = (
            np.memmap(place / "codes.i8", dtype=np.int8, mode="r", shape=shape)
            if entry.num_tokens
            else np.empty(shape, np.int8)
        )
        graph = None
        if GRAPH_FILE in entry.files:
            graph = TokenGraph.view(place / GRAPH_FILE, dim=config.dim, rows=entry.num_tokens)
        store = DocumentStore(place / "documents.sqlite", entry.num_documents)
        # A plain view: np.memmap's own slicing costs microseconds a block.
        return cls(TokenRows(codes.view(np.ndarray), offsets, scales), store, graph, entry)

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
            parts: The token vectors, written one after the other.
            documents: Their documents.
            config: The index's settings.
            threads: Threads that build the graph.

        Returns:
            The entry for the manifest. All files are on disk when it returns.
        """
        name = f"{number:06d}-{secrets.token_hex(4)}"
        place = folder / SEGMENTS_FOLDER / name
        place.mkdir(parents=True)
        offsets, scales, tokens = [np.zeros(1, np.int64)], [], 0
        digest = hashlib.sha256()
        with (place / "codes.i8").open("wb") as stream:
            for part in parts:
                data = np.ascontiguousarray(part.codes).data
                stream.write(data)
                digest.update(data)
                offsets.append(part.offsets[1:] + tokens)
                scales.append(part.scales)
                tokens += len(part.codes)
            os.fsync(stream.fileno())
        files = {"codes.i8": FileEntry(tokens * config.dim, digest.hexdigest())}
        np.concatenate(offsets).astype("<i8").tofile(place / "offsets.i64")
        np.concatenate([np.empty(0, np.float32), *scales]).astype("<f4").tofile(
            place / "scales.f32"
        )
        DocumentStore.write(place / "documents.sqlite", documents)
        if _wants_graph(config, tokens):
            codes = np.memmap(place / "codes.i8", np.int8, "r", shape=(tokens, config.dim))
            TokenGraph.build(
                codes,
                connectivity=config.connectivity,
                expansion_add=config.expansion_add,
                threads=threads,
            ).save(place / GRAPH_FILE)
        for path in sorted(place.iterdir()):
            if path.name != "codes.i8":
                with path.open("r+b") as stream:
                    os.fsync(stream.fileno())
                files[path.name] = hash_file(path)
        sync_folder(place)
        sync_folder(place.parent)
        return SegmentEntry(name, len(documents), tokens, files)

    def search(
        self,
        query_codes: NDArray[np.int8],
        query_scales: NDArray[np.float32],
        k: int,
        *,
        approximate: bool,
        tokens: int,
        candidates: int,
        executor: Executor | None,
        threads: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Find the best documents for one query.

        Args:
            query_codes: (query_tokens, dim) int8.
            query_scales: (query_tokens,) float32.
            k: How many documents at most.
            approximate: Whether to score only what the graph finds.
            tokens: Nearest token vectors a query token, for the graph.
            candidates: Documents that the graph's findings are cut to.
            executor: Runs blocks side by side when given.
            threads: Threads for the graph.

        Returns:
            Document positions (n,) int64, best first, and scores (n,) float32.
        """
        if approximate and self.graph is not None:
            nearest, cosines = self.graph.nearest(query_codes, tokens, threads=threads)
            positions = rank_candidates(nearest, cosines, self.rows.offsets, max(candidates, k))
        else:
            positions = None
        scores = self.score(query_codes, query_scales, positions, executor)
        best = top_k(scores, k)
        return (best if positions is None else positions[best]), scores[best]

    def score(
        self,
        query_codes: NDArray[np.int8],
        query_scales: NDArray[np.float32],
        positions: NDArray[np.int64] | None,
        executor: Executor | None,
    ) -> NDArray[np.float32]:
        """Score documents exactly: those at `positions`, or all.

        Returns:
            (len(positions),) or (len(self),) float32.
        """
        codes, offsets, scales = self.rows.codes, self.rows.offsets, self.rows.scales
        if positions is not None:
            rows, offsets = gather_rows(positions, offsets)
            codes, scales = codes[rows], scales[positions]
        return maxsim_codes(query_codes, query_scales, codes, offsets, scales, executor=executor)

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)


def _wants_graph(config: IndexConfig, tokens: int) -> bool:
    if config.graph == "auto":
        return tokens >= config.graph_min_tokens
    return config.graph == "always" and tokens > 0


def _check_file(path: Path, expected: FileEntry, must_have: int | None, verify: bool) -> None:
    if not path.is_file():
        raise IndexFormatError(f"{path} is missing; the index is incomplete.")
    size = path.stat().st_size
    if size != expected.bytes or (must_have is not None and size != must_have):
        wanted = expected.bytes if must_have is None else must_have
        raise IndexFormatError(f"{path} is damaged: it has {size} bytes, not {wanted}.")
    if verify and hash_file(path).sha256 != expected.sha256:
        raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
