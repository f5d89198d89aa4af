"""Token vectors as 8-, 4-, 2- or 1-bit codes that keep their direction.

Token vectors of a ColBERT lie in a cone: most of every dot product is the part that all of them
share, and ranking lives in what is left. So a code describes only the difference from the mean of
the collection, turned by a fixed rotation that spreads it evenly over the components, and a token
vector is put together as

    decoded = shared + scale * levels,      length(decoded) = length(token vector)

with small whole numbers as `levels` and one scale a token vector, which is fixed by the second
equation. That equation is what keeps low-bit codes near: an error along the shared direction
would be multiplied by the large part of every dot product, and it rules such errors out. Dot
products need no decoding: `query . decoded = query . shared + scale * (query . levels)`, where the
last is a product of whole numbers.

The step between levels is the best for a normal distribution (Max 1960, "Quantizing for minimum
distortion", table I), which rotated components follow closely; rotating before quantising is the
idea of RaBitQ (Gao & Long 2024, arXiv 2405.12497) and TurboQuant (Zandieh et al. 2025,
arXiv 2504.19874), the mean taken off first that of residual codes (PLAID, arXiv 2205.09707).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.products import product
from pocket_colbert.vectors.ragged import blocks

BITS = {"int8": 8, "int4": 4, "int2": 2, "int1": 1}
"""Bits a component by the name of the scheme."""

_STEP = {4: 0.3352, 2: 0.9957, 1: 1.596}
"""Best distance of two levels for a normal distribution of variance 1 (Max 1960, table I)."""

_DISTORTION = {8: 0.0, 4: 0.01154, 2: 0.1188, 1: 0.3634}
"""Share of the energy that those levels lose (Max 1960, table I; 8 bits lose next to nothing)."""

_RUN_TOKENS = 4096
"""Token vectors that are written down at a time: what is computed on the way takes 8 MB."""

_LARGEST_SCALE = 65504.0
"""The largest float16: scales of vectors of length 1 are below 1."""


@dataclass(frozen=True, eq=False)
class QueryCodes:
    """A query in the form that `maxsim_codes` takes.

    Attributes:
        codes: (dim, query_tokens) int8.
        scales: (query_tokens,) float32; a code times its scale is the rotated component.
        constants: (query_tokens,) float32, the dot product with what all token vectors share.
    """

    codes: NDArray[np.int8]
    scales: NDArray[np.float32]
    constants: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Codec:
    """How the token vectors of a segment are written down.

    A document's codes depend on the document and the codec alone. The row layout: a row is `dim`
    bytes and holds `planes` token vectors, one in the low bits, the next above it, and so on.
    A document of n token vectors has ceil(n / planes) rows; its token vector t is in row
    t % rows and plane t // rows. Places that are left over repeat the last token vector, which
    changes no maximum.

    Attributes:
        bits: Bits a component: 8, 4, 2 or 1.
        mean: (dim,) float32, the mean token vector that was fitted.
    """

    bits: int
    mean: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.bits not in BITS.values():
            raise InvalidInputError(f"bits must be 8, 4, 2 or 1, got {self.bits!r}.")

    @classmethod
    def fit(cls, tokens: NDArray[np.float32], bits: int) -> Codec:
        """Fit a codec to token vectors.

        Args:
            tokens: (num_tokens, dim) float32, of the collection; none gives a mean of zero.
            bits: See the class.
        """
        if not len(tokens):
            return cls(bits, np.zeros(tokens.shape[1], np.float32))
        return cls(bits, tokens.mean(axis=0, dtype=np.float64).astype(np.float32))

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return len(self.mean)

    @property
    def planes(self) -> int:
        """Token vectors a row."""
        return 8 // self.bits

    @property
    def zero_point(self) -> int:
        """What is subtracted from an unpacked code to get its level."""
        return 128 if self.bits == 8 else (1 << self.bits) - 1

    @cached_property
    def shared(self) -> NDArray[np.float32]:
        """Return the part that all decoded vectors have, (dim,) float32, rotated.

        Levels carry less energy than what they stand for, by the distortion; so that lengths come
        out right with scales that are right too, the mean is made longer by as much.
        """
        mean = self._rotate(self.mean[None])[0]
        energy = float(mean @ mean)
        if energy < 1e-6:
            return np.zeros_like(mean)
        kept = 1.0 - _DISTORTION[self.bits]
        longer = np.float32(np.sqrt(max(1.0 - kept * (1.0 - energy), energy) / energy))
        return np.asarray(mean * longer, dtype=np.float32)

    def same_as(self, other: Codec) -> bool:
        """Say whether rows that either wrote can be mixed."""
        return self.bits == other.bits and self.mean.tobytes() == other.mean.tobytes()

    def encode(self, embedding: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Write down one document's token vectors.

        Args:
            embedding: (num_tokens, dim) float32, finite; of any length, though length 1 is usual.

        Returns:
            Rows (ceil(num_tokens / planes), dim) uint8 and scales
            (ceil(num_tokens / planes), planes) float16.
        """
        ((rows, scales),) = self.encode_each([embedding])
        return rows, scales

    def encode_each(
        self, embeddings: Sequence[NDArray[np.float32]]
    ) -> list[tuple[NDArray[np.uint8], NDArray[Any]]]:
        """Write down the token vectors of several documents, a few thousand at a time.

        Args:
            embeddings: (num_tokens, dim) float32 each.

        Returns:
            What `encode` returns, for each document.
        """
        lengths = np.array([len(embedding) for embedding in embeddings], dtype=np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        encoded: list[tuple[NDArray[np.uint8], NDArray[Any]]] = []
        for first, last in blocks(offsets, _RUN_TOKENS):
            tokens = np.concatenate([np.empty((0, self.dim), np.float32), *embeddings[first:last]])
            rows, scales = self._packed(tokens, lengths[first:last])
            ends = np.cumsum(-(-lengths[first:last] // self.planes))[:-1]
            encoded += zip(np.split(rows, ends), np.split(scales, ends), strict=True)
        return encoded

    def _packed(
        self, tokens: NDArray[np.float32], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Return the rows and the scales of documents that lie end to end.

        Args:
            tokens: (total_tokens, dim) float32.
            lengths: (num_documents,) int64.
        """
        levels = self._levels(self._rotate(tokens - self.mean))
        scales = _scales(levels, self.shared, np.square(tokens).sum(axis=1)).astype(np.float16)
        if self.bits == 8:
            return (levels + 128).astype(np.uint8), scales[:, None]
        stored = ((levels + self.zero_point) / 2).astype(np.uint8)
        rows = -(-lengths // self.planes)
        total = int(rows.sum())
        inside = np.arange(total) - np.repeat(np.cumsum(rows) - rows, rows)
        starts = np.repeat(np.cumsum(lengths) - lengths, rows)
        height, ends = np.repeat(rows, rows), np.repeat(lengths, rows) - 1
        packed = np.zeros((total, self.dim), np.uint8)
        kept = np.empty((total, self.planes), np.float16)
        for plane in range(self.planes):
            sources = starts + np.minimum(inside + plane * height, ends)
            packed |= stored[sources] << np.uint8(plane * self.bits)
            kept[:, plane] = scales[sources]
        return packed, kept

    def unpack(
        self, rows: NDArray[np.uint8], out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """Return the codes of all planes, plane after plane; level = code - zero_point.

        Args:
            rows: (n, dim) uint8.
            out: (n * dim * planes,) uint8 to write to, new by default. Not used for 8 bits.

        Returns:
            (planes * n, dim) uint8.
        """
        if self.bits == 8:
            return rows
        if out is None:
            out = np.empty(rows.size * self.planes, np.uint8)
        codes = out.reshape(self.planes, *rows.shape)
        # Doubled, so that levels are odd whole numbers and none is zero. The first plane is added
        # to itself, as NumPy adds uint8 many at a time but shifts them left one by one.
        np.add(rows, rows, out=codes[0])
        for plane in range(1, self.planes):
            np.right_shift(rows, np.uint8(plane * self.bits - 1), out=codes[plane])
        np.bitwise_and(codes, np.uint8(((1 << self.bits) - 1) << 1), out=codes)
        return codes.reshape(-1, self.dim)

    def levels(self, rows: NDArray[np.uint8]) -> NDArray[np.int8]:
        """Return the levels of all planes, (planes * n, dim) int8, plane after plane."""
        codes = self.unpack(rows)
        out = None if self.bits == 8 else codes  # where nothing is unpacked they are the caller's
        return np.subtract(codes, np.uint8(self.zero_point), out=out).view(np.int8)

    def decode(
        self, rows: NDArray[np.uint8], scales: NDArray[Any], num_tokens: int
    ) -> NDArray[np.float32]:
        """Turn one document's rows back into token vectors.

        Args:
            rows: (rows, dim) uint8 of `encode`.
            scales: (rows, planes) float16 of `encode`.
            num_tokens: How many token vectors the document has.

        Returns:
            (num_tokens, dim) float32.
        """
        values = self.levels(rows).astype(np.float32)
        values *= scales.T.reshape(-1, 1).astype(np.float32)
        values = (values + self.shared)[:num_tokens]
        return product(values, _rotation(self.dim).T)

    def encode_query(
        self, query: NDArray[np.float32], weights: NDArray[np.float32] | None = None
    ) -> QueryCodes:
        """Bring a query into the form that is multiplied with codes.

        Args:
            query: (query_tokens, dim) float32.
            weights: (query_tokens,) float32, how often each counts; once by default.

        Returns:
            Its 8-bit codes with one scale a query token; a maximum is taken within a query
            token, so that costs nothing.
        """
        rotated = self._rotate(query)
        codes, scales = quantize_rows_int8(rotated)
        times = np.float32(1) if weights is None else weights
        return QueryCodes(
            np.ascontiguousarray(codes.T),
            (scales * times).astype(np.float32),
            (rotated @ self.shared * times).astype(np.float32),
        )

    def _rotate(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return product(vectors, _rotation(self.dim))

    def _levels(self, rotated: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return whole numbers within -127 and 127, or odd ones within the range of the bits."""
        if self.bits == 8:
            largest = np.abs(rotated).max(axis=1, keepdims=True)
            return np.asarray(np.rint(rotated * (np.float32(127.0) / np.maximum(largest, 1e-20))))
        energy = np.square(rotated).mean(axis=1, keepdims=True)
        step = np.float32(_STEP[self.bits]) * np.sqrt(np.maximum(energy, np.float32(1e-30)))
        half = 1 << (self.bits - 1)
        return np.asarray(2 * np.clip(np.floor(rotated / step), -half, half - 1) + 1)


def quantize_rows_int8(
    vectors: NDArray[np.float32],
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Quantise rows with a scale each: the largest component of a row becomes 127.

    Args:
        vectors: (n, dim) float32.

    Returns:
        Codes (n, dim) int8 and scales (n,) float32; a code times its scale is the component.
    """
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    largest = np.where(largest == 0.0, np.float32(127.0), largest).astype(np.float32)
    codes = np.rint(vectors * (np.float32(127.0) / largest)[:, None]).astype(np.int8)
    return codes, (largest / np.float32(127.0)).astype(np.float32)


def _scales(
    levels: NDArray[np.float32], shared: NDArray[np.float32], energy: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solve length(shared + scale * levels)**2 = energy for the larger scale, a token vector each.

    Where no scale gives that length, the one that comes nearest.
    """
    along = np.einsum("ij,j->i", levels, shared)  # row by row: BLAS adds up by where a row is
    square = np.square(levels).sum(axis=1)
    rest = along * along + square * (energy - np.float32(shared @ shared))
    # Levels are all zero only for the mean itself, in 8 bits; any scale does then.
    scales = (np.sqrt(np.maximum(rest, 0)) - along) / np.maximum(square, 1)
    return np.asarray(np.clip(scales, -_LARGEST_SCALE, _LARGEST_SCALE), dtype=np.float32)


def rotation_signs(dim: int) -> str:
    """Return the 2 * dim signs, "+" and "-", that the rotation flips components by."""
    # Not from numpy.random, which takes longer to import than a query to answer.
    bits = hashlib.shake_256(b"pocket-colbert rotation").digest(2 * dim)
    return "".join("-" if byte & 1 else "+" for byte in bits)


@cache
def _rotation(dim: int) -> NDArray[np.float32]:
    """Return a fixed orthogonal matrix (dim, dim) that mixes all components.

    Twice a cosine transform after flipping signs, which is the same on every machine: a random
    orthogonal matrix would depend on LAPACK.
    """
    row, column = np.arange(dim)[:, None], np.arange(dim)[None, :]
    cosine = np.cos(np.pi * (column + 0.5) * row / dim) * np.sqrt(2.0 / dim)
    cosine[0] /= np.sqrt(2.0)
    signs = np.array([1.0 if sign == "+" else -1.0 for sign in rotation_signs(dim)])
    signs = signs.reshape(2, dim)
    matrix = ((cosine * signs[0]) @ (cosine * signs[1])).T.astype(np.float32)
    matrix.setflags(write=False)
    return np.asarray(matrix)
