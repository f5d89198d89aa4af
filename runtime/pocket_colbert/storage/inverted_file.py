"""Which passages are worth an exact MaxSim: an inverted file over centroids of token vectors.

Token vectors are clustered; a list for each centroid names the passages that have a token
vector there. A query looks into the lists of the centroids nearest to its tokens and estimates
each passage's MaxSim from the centroids alone (PLAID, Santhanam et al. 2022, arXiv 2205.09707,
section 4; WARP, Scheerer et al. 2025, arXiv 2501.17788). Per token vector it takes about a byte.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError
from pocket_colbert.storage.clustering import CentroidGraph
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import FileEntry, write_file
from pocket_colbert.storage.manifest import INVERTED_FILES, RecallEntry
from pocket_colbert.storage.mapped_arrays import forget, map_array, map_bytes, read_array
from pocket_colbert.storage.selection import Selection
from pocket_colbert.vectors.codec import Codec, QueryCodes, quantize_rows_int8
from pocket_colbert.vectors.int8_matmul import MakeProduct
from pocket_colbert.vectors.query_tokens import informative_query_tokens
from pocket_colbert.vectors.ragged import rows_of
from pocket_colbert.vectors.thread_buffers import scratch
from pocket_colbert.vectors.top_k import top_k

CENTROID_ZERO_POINT = 128
_CANDIDATES = 512
_FULL_LENGTH = 200
"""So many passages of so many token vectors are scored exactly by default. Shorter ones are
estimated less well and scored faster: there the number grows, a little faster than their length
falls. Measured: 512 find 99.9 % at 235 token vectors a passage, 1400 find 99.7 % at 90, and 8000
find 99 % at 23 (documents pooled by 4)."""
_ROUNDS = 4
_SAMPLE = 24
"""Token vectors a centroid that k-means sees."""
_SAMPLE_LIMIT = 600_000
_CHUNK = 1 << 14
_BLOCK = 32
_PROBES = 8, 64
"""Centroids that a query token looks up at least and at most."""
_DENSE = 1 << 20
"""Estimates of all passages are held side by side up to this many; beyond, only of those that a
list names."""


@dataclass(frozen=True, eq=False)
class InvertedFile:
    """Centroids and the passages near each.

    Attributes:
        centroids: (num_centroids, dim) uint8; minus 128 and times its scale a row is the
            difference of a centroid from what all token vectors share, rotated.
        scales: (num_centroids,) float32.
        offsets: (num_centroids + 1,) int64, where each centroid's list starts.
        passages: (total,) uint16 or uint32, the lists end to end, each ascending.
        quality: What it finds of what exact search finds, None when that was not measured.
    """

    centroids: NDArray[np.uint8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.int64]
    passages: NDArray[Any]
    quality: RecallEntry | None = None

    @property
    def widening(self) -> int:
        """How many times more to look up and to score; 0 where all is to be scored."""
        return 1 if self.quality is None else self.quality.widening

    def candidates(
        self,
        query: QueryCodes,
        allowed: Selection,
        *,
        lookups: int,
        limit: int,
        product: MakeProduct,
        query_tokens: int | None = None,
    ) -> NDArray[np.int64]:
        """Find the passages whose MaxSim is estimated the highest.

        A passage that is in no list of a query token gets the score of that token's next
        centroid: no list below it was looked into, so no more is possible (missing similarity
        imputation: XTR, Lee et al. 2023, arXiv 2304.01982, section 4.2).

        Args:
            query: The query.
            allowed: Which of the segment's passages may be returned.
            lookups: Centroids whose lists are looked into, shared out among the query tokens.
            limit: How many passages to return at most.
            product: See `MakeProduct`.
            query_tokens: How many query tokens to look up, those whose best centroids stand out
                the most; all by default.

        Returns:
            Passages, ascending.

        Raises:
            IndexFormatError: A list names a passage that is not there.
        """
        scores = product(query.codes, CENTROID_ZERO_POINT)(self.centroids, self.scales)
        scales = query.scales
        if query_tokens is not None and query_tokens < len(scores):
            chosen = np.sort(informative_query_tokens(scores, query_tokens))
            scores, scales = scores[chosen], scales[chosen]
        probes = min(max(lookups // len(scores), _PROBES[0]), _PROBES[1])
        nearest, values = _largest(scores, min(probes, scores.shape[1] - 1) + 1)
        gains = (values - values[:, -1:]) * scales[:, None]
        # The worst probe first: of several values for one estimate the last one stays.
        lists, gains = nearest[:, -2::-1].T.ravel(), gains[:, -2::-1].T.ravel()
        sizes = self.offsets[lists + 1] - self.offsets[lists]
        passages = np.take(self.passages, rows_of(lists, self.offsets)).astype(np.int64)
        if len(passages) and passages.max() >= allowed.size:
            # Met only here: checksums of large files are not always verified.
            raise IndexFormatError(
                "an inverted file is damaged: a list names passage "
                f"{passages.max()} of {allowed.size}."
            )
        width, named = allowed.size, None
        if len(scores) * width > _DENSE:
            touched = np.zeros(width, dtype=bool)
            touched[passages] = True
            named = np.flatnonzero(touched)
            column = np.zeros(width, dtype=np.int64)
            column[named] = np.arange(len(named))
            passages, width = column[passages], len(named)
        rows = np.tile(np.arange(len(scores)) * width, len(lists) // len(scores))
        best = scratch("estimates", len(scores) * width, np.float32)
        best.fill(0)
        best[np.repeat(rows, sizes) + passages] = np.repeat(gains, sizes)
        estimates = best.reshape(len(scores), width).sum(axis=0)
        # What no list names, or only ones at the level of the imputed score, gains nothing.
        estimates[estimates <= 0] = -np.inf
        if allowed.mask is not None:
            mask = allowed.mask if named is None else allowed.mask[named]
            estimates[~mask] = -np.inf
        chosen = np.sort(top_k(estimates, limit))
        return chosen if named is None else named[chosen]


def build(
    codec: Codec,
    rows: NDArray[np.uint8],
    scales: NDArray[Any],
    offsets: NDArray[np.int64],
    *,
    threads: int,
) -> InvertedFile:
    """Cluster the token vectors of a segment and list passages by centroid.

    Args:
        codec: What the rows were written with.
        rows: (total_rows, dim) uint8; may be memory-mapped, and is read in pieces.
        scales: (total_rows, planes) float16.
        offsets: (num_passages + 1,) int64, the first row of each passage.
        threads: Threads.

    Returns:
        The inverted file; the same for the same rows.
    """
    tokens = len(rows) * codec.planes
    number = num_centroids(tokens)
    centroids, centroid_scales = _cluster(codec, rows, scales, number, threads)
    graph = CentroidGraph((centroids - np.uint8(CENTROID_ZERO_POINT)).view(np.int8))
    num_passages = len(offsets) - 1
    owners = np.repeat(np.arange(num_passages), np.diff(offsets))
    pieces = []
    step = max(_CHUNK // codec.planes, 1)
    for start in range(0, len(rows), step):
        levels = codec.levels(rows[start : start + step])
        pairs = graph.nearest(levels, threads) * num_passages
        pairs += np.tile(owners[start : start + step], codec.planes)
        pieces.append(np.unique(pairs))
        forget(rows)
    pairs = np.concatenate(pieces)
    pieces.clear()
    pairs.sort()
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])]
    counts = np.bincount(pairs // num_passages, minlength=number)
    return InvertedFile(
        centroids,
        centroid_scales,
        np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        (pairs % num_passages).astype(list_dtype(num_passages)),
    )


def default_candidates(mean_length: float) -> int:
    """Return how many passages to score exactly, by their mean number of token vectors.

    Args:
        mean_length: About how many token vectors a passage has.
    """
    return int(round(_CANDIDATES * max(_FULL_LENGTH / max(mean_length, 1.0), 1.0) ** 1.25))


def write_files(folder: Contained, inverted: InvertedFile) -> dict[str, FileEntry]:
    """Write an inverted file into the folder of a segment."""
    contents = (
        inverted.centroids,
        inverted.scales.astype("<f4"),
        np.diff(inverted.offsets).astype("<i4"),
        inverted.passages,
    )
    return {
        name: write_file(folder / name, content)
        for name, content in zip(INVERTED_FILES, contents, strict=True)
    }


def open_files(folder: Contained, dim: int, num_passages: int) -> InvertedFile:
    """Map the inverted file of a segment.

    Raises:
        IndexFormatError: The files do not fit each other.
    """
    centroids, scales_path, lengths_path, lists_path = (folder / name for name in INVERTED_FILES)
    with scales_path.open() as stream:
        number = os.fstat(stream.fileno()).st_size // 4
    scales = read_array(scales_path, "<f4", number)
    lengths = read_array(lengths_path, "<i4", number)
    if not number or number % 32 or not np.isfinite(scales).all() or (lengths < 0).any():
        raise IndexFormatError(f"{folder} is damaged: its inverted file makes no sense.")
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    passages = map_array(lists_path, list_dtype(num_passages), int(offsets[-1]))
    return InvertedFile(map_bytes(centroids, number, dim), scales, offsets, passages)


def num_centroids(tokens: int) -> int:
    """Return how many centroids that many token vectors get, a power of two from 32 on.

    About 8 times the square root: PLAID takes 16 times; half of it finds as much when some more
    passages are scored exactly, and clusters in half the time.
    """
    return int(max(2 ** round(np.log2(max(8 * np.sqrt(tokens), 1))), _BLOCK))


def list_dtype(num_passages: int) -> np.dtype[Any]:
    """Return the smallest of uint16 and uint32 that can number the passages."""
    return np.dtype("<u2") if num_passages <= 1 << 16 else np.dtype("<u4")


def _cluster(
    codec: Codec, rows: NDArray[np.uint8], scales: NDArray[Any], number: int, threads: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Find centroids by k-means with cosine on a sample of the token vectors."""
    rng = np.random.Generator(np.random.PCG64(11))
    wanted = -(-min(_SAMPLE * number, _SAMPLE_LIMIT) // codec.planes)
    chosen = np.sort(rng.permutation(len(rows))[:wanted])
    levels = codec.levels(_gather(rows, chosen))
    steps = _gather(scales, chosen).T.reshape(-1, 1).astype(np.float32)
    picked = rng.integers(len(levels), size=number)
    centroids = levels[picked] * steps[picked]
    for _ in range(_ROUNDS):
        nearest = CentroidGraph(quantize_rows_int8(centroids)[0]).nearest(levels, threads)
        counts = np.bincount(nearest, minlength=number)
        filled = counts > 0
        sums = np.zeros_like(centroids)
        for start in range(0, len(levels), _CHUNK):
            part = slice(start, start + _CHUNK)
            order = np.argsort(nearest[part], kind="stable")
            owners, starts = np.unique(nearest[part][order], return_index=True)
            values = levels[part][order] * steps[part][order]
            sums[owners] += np.add.reduceat(values, starts, axis=0)
        centroids[filled] = sums[filled] / counts[filled, None]
        # A centroid that nothing is near to moves to some token vector.
        empty = np.flatnonzero(~filled)
        picked = rng.integers(len(levels), size=len(empty))
        centroids[empty] = levels[picked] * steps[picked]
    codes, centroid_scales = quantize_rows_int8(centroids)
    return codes.view(np.uint8) + np.uint8(CENTROID_ZERO_POINT), centroid_scales


def _gather(array: NDArray[Any], chosen: NDArray[np.int64]) -> NDArray[Any]:
    """Take ascending rows of a mapped array without keeping its pages in memory."""
    taken = np.empty((len(chosen), *array.shape[1:]), array.dtype)
    for start in range(0, len(chosen), _CHUNK):
        part = slice(start, start + _CHUNK)
        np.take(array, chosen[part], axis=0, out=taken[part], mode="clip")
        forget(array)
    return taken


def _largest(
    scores: NDArray[np.float32], number: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return columns and values of the largest of each row, best first.

    The largest `number` lie in the `number` blocks with the largest maxima, so only those are
    looked at; a partition of whole rows takes several times longer.
    """
    starts = np.arange(0, scores.shape[1], _BLOCK)
    if len(starts) > number:
        maxima = np.maximum.reduceat(scores, starts, axis=1)
        blocks = np.argpartition(maxima, len(starts) - number, axis=1)[:, -number:]
        blocks.sort(axis=1)
        columns = (blocks[:, :, None] * _BLOCK + np.arange(_BLOCK)).reshape(len(scores), -1)
        values = np.take_along_axis(scores, columns, axis=1)
    else:
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
        values = scores
    if values.shape[1] > number:
        part = np.argpartition(values, values.shape[1] - number, axis=1)[:, -number:]
        part.sort(axis=1)
        columns = np.take_along_axis(columns, part, axis=1)
        values = np.take_along_axis(values, part, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1), np.take_along_axis(values, order, axis=1)
