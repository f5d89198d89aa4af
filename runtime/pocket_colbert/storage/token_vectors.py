"""The token vectors of many documents as codes, in memory or mapped from files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import IndexFormatError, InvalidInputError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import FileEntry, FileWriter, write_file
from pocket_colbert.storage.manifest import CODES_FILE
from pocket_colbert.storage.mapped_arrays import forget, map_array, map_bytes, read_array
from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.int8_maxima import Maxima
from pocket_colbert.vectors.maxsim_codes import maxsim_codes
from pocket_colbert.vectors.ragged import blocks, rows_of

EncodedPassage = tuple[NDArray[np.uint8], NDArray[Any], int]
"""Rows, scales, and the number of token vectors, of one passage."""


_CHUNK_ROWS = 1 << 16
_CODEC_LIMIT = 1 << 20


@dataclass(frozen=True, eq=False)
class TokenVectors:
    """Codes of passages, end to end. A document is one passage or several in a row.

    Attributes:
        codec: What they were written with.
        codes: (total_rows, dim) uint8.
        scales: (total_rows, planes) float16.
        lengths: (num_passages,) int32, token vectors of each passage.
        offsets: (num_passages + 1,) int64, the first row of each passage.
    """

    codec: Codec
    codes: NDArray[np.uint8]
    scales: NDArray[Any]
    lengths: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def join(cls, codec: Codec, passages: Sequence[EncodedPassage]) -> TokenVectors:
        """Lay passages, as `Codec.encode` writes them, end to end."""
        lengths = np.array([length for _, _, length in passages], dtype=np.int32)
        return cls(
            codec,
            np.concatenate([np.empty((0, codec.dim), np.uint8), *(item[0] for item in passages)]),
            np.concatenate(
                [np.empty((0, codec.planes), np.float16), *(item[1] for item in passages)]
            ),
            lengths,
            row_offsets(lengths, codec.planes),
        )

    @classmethod
    def encode(cls, codec: Codec, embeddings: Iterable[NDArray[np.float32]]) -> TokenVectors:
        """Write down passages and lay them end to end."""
        items = list(embeddings)
        encoded = zip(codec.encode_each(items), items, strict=True)
        return cls.join(codec, [(*both, len(item)) for both, item in encoded])

    @classmethod
    def concatenate(cls, codec: Codec, parts: Sequence[TokenVectors]) -> TokenVectors:
        """Lay several that were written with one codec end to end."""
        if not parts:
            return cls.join(codec, [])
        lengths = np.concatenate([part.lengths for part in parts])
        return cls(
            codec,
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.scales for part in parts]),
            lengths,
            row_offsets(lengths, codec.planes),
        )

    def copies(self, codec: Codec, passages: NDArray[np.int64]) -> Iterator[TokenVectors]:
        """Copy some passages, a few megabytes at a time.

        Args:
            codec: The codec that the copies are to have. Another than that of these rows adds
                its error once more.
            passages: Which ones, ascending.
        """
        keeps_codec = self.codec.same_as(codec)
        widths = self.offsets[passages + 1] - self.offsets[passages]
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(widths)])
        for first, last in blocks(ends, _CHUNK_ROWS):
            chosen = passages[first:last]
            if keeps_codec:
                rows = rows_of(chosen, self.offsets)
                lengths = self.lengths[chosen]
                yield TokenVectors(
                    codec,
                    self.codes[rows],
                    self.scales[rows],
                    lengths,
                    row_offsets(lengths, codec.planes),
                )
            else:
                yield TokenVectors.encode(codec, (self.decode(int(n)) for n in chosen))
            forget(self.codes)
            forget(self.scales)

    def decode(self, passage: int) -> NDArray[np.float32]:
        """Return the token vectors (num_tokens, dim) float32 of a passage."""
        begin, end = self.offsets[passage : passage + 2]
        return self.codec.decode(
            self.codes[begin:end], self.scales[begin:end], int(self.lengths[passage])
        )

    @property
    def num_tokens(self) -> int:
        """Number of token vectors."""
        return int(self.lengths.sum(dtype=np.int64))

    def score(
        self,
        query: QueryCodes,
        passages: NDArray[np.int64],
        executor: Executor | None = None,
        threads: int = 1,
    ) -> NDArray[np.float32]:
        """Return the exact MaxSim of some passages, (len(passages),) float32."""
        return self._maxsim(query, passages, executor, threads)

    def score_all(
        self, query: QueryCodes, executor: Executor | None = None, threads: int = 1
    ) -> NDArray[np.float32]:
        """Return the exact MaxSim of all passages, (num_passages,) float32."""
        return self._maxsim(query, None, executor, threads)

    def similarities(self, query: QueryCodes, passages: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the terms that the MaxSim of some passages sums.

        Returns:
            (len(passages), query_tokens) float32, -1 for a passage without tokens.
        """
        terms = np.full((len(passages), len(query.scales)), -1, np.float32)
        maxsim_codes(
            query,
            self.codec,
            self.codes,
            self.scales,
            self.offsets,
            kernel=Maxima,
            documents=passages,
            similarities=terms,
        )
        return terms

    def _maxsim(
        self,
        query: QueryCodes,
        passages: NDArray[np.int64] | None,
        executor: Executor | None,
        threads: int,
    ) -> NDArray[np.float32]:
        return maxsim_codes(
            query,
            self.codec,
            self.codes,
            self.scales,
            self.offsets,
            kernel=Maxima,
            documents=passages,
            executor=executor,
            threads=threads,
        )

    @property
    def nbytes(self) -> Mapping[str, int]:
        """What the arrays take, by what they are for."""
        return {
            "codes": self.codes.nbytes,
            "scales": self.scales.nbytes,
            "offsets": self.lengths.nbytes,
        }

    @staticmethod
    def write(
        folder: Contained, codec: Codec, parts: Iterable[TokenVectors]
    ) -> tuple[int, dict[str, FileEntry]]:
        """Write files to a new folder.

        Args:
            folder: The folder.
            codec: What all parts were written with.
            parts: Written one after the other.

        Returns:
            The number of token vectors, and the entries of the files, which are on disk.
        """
        tokens = 0
        with (
            FileWriter(folder / CODES_FILE) as codes,
            FileWriter(folder / "scales.f16") as scales,
            FileWriter(folder / "lengths.i32") as lengths,
        ):
            for part in parts:
                tokens += part.num_tokens
                codes.write(part.codes)
                scales.write(part.scales.astype("<f2"))
                lengths.write(part.lengths.astype("<i4"))
            files = {
                CODES_FILE: codes.finish(),
                "scales.f16": scales.finish(),
                "lengths.i32": lengths.finish(),
            }
        # Nine digits tell all float32 apart.
        mean = [float(f"{value:.9g}") for value in codec.mean]
        description = json.dumps({"bits": codec.bits, "mean": mean}) + "\n"
        files["codec.json"] = write_file(folder / "codec.json", description.encode())
        return tokens, files

    @classmethod
    def open(
        cls, folder: Contained, dim: int, bits: int, passages: int, tokens: int
    ) -> TokenVectors:
        """Map the files of a folder.

        Args:
            folder: The folder.
            dim: Width of a token vector.
            bits: Bits that the index's settings say.
            passages: How many passages there must be.
            tokens: How many token vectors there must be.

        Raises:
            IndexFormatError: The files do not fit that or each other.
        """
        codec = _read_codec(folder / "codec.json", dim, bits)
        lengths = read_array(folder / "lengths.i32", "<i4", passages)
        if (lengths < 0).any() or lengths.sum(dtype=np.int64) != tokens:
            raise IndexFormatError(f"{folder / 'lengths.i32'} is damaged: they do not add up.")
        offsets = row_offsets(lengths, codec.planes)
        rows = int(offsets[-1])
        scales = map_array(folder / "scales.f16", np.dtype("<f2"), rows * codec.planes)
        return cls(
            codec,
            map_bytes(folder / CODES_FILE, rows, dim),
            scales.reshape(rows, codec.planes),
            lengths,
            offsets,
        )


def row_offsets(lengths: NDArray[np.int32], planes: int) -> NDArray[np.int64]:
    """Return the first row of each passage, and the total, (num_passages + 1,) int64."""
    rows = -(-lengths.astype(np.int64) // planes)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])


def _read_codec(path: Contained, dim: int, bits: int) -> Codec:
    try:
        content = json.loads(path.read_bytes(_CODEC_LIMIT))
        mean = np.array(content["mean"], dtype=np.float32)
        codec = Codec(content["bits"], mean)
    except (
        ValueError, KeyError, TypeError, OverflowError, RecursionError, InvalidInputError
    ) as error:  # fmt: skip
        raise IndexFormatError(f"{path} is damaged: {error!r}.") from error
    if mean.shape != (dim,) or not np.isfinite(mean).all() or codec.bits != bits:
        raise IndexFormatError(f"{path} is damaged: not a codec of {bits} bits for {dim} numbers.")
    return codec
