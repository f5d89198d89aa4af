"""A teacher's token vectors of all training text, on disk, made once and resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Encoder
from pocket_colbert_export.distillation.queries import Pair
from pocket_colbert_export.exporter import Step

SHARD = 500
"""Pairs a file; what an interruption costs at most."""

Rows = NDArray[np.float16]


class Targets:
    """Token vectors of queries and passages by position, memory-mapped."""

    Side = Callable[[int], Rows]
    """Gives the rows of one side by position."""

    def __init__(self, folder: Path, queries: int, passages: int) -> None:
        """Open what `encode_targets` or `encode_texts` wrote for so many texts."""
        self._sides = {
            side: [_load(folder, side, shard) for shard in range(-(-count // SHARD))]
            for side, count in (("queries", queries), ("passages", passages))
        }

    def query(self, number: int) -> Rows:
        """Return the (num_tokens, dim) float16 unit rows of a query."""
        return self._rows("queries", number)

    def passage(self, number: int) -> Rows:
        """Return the (num_tokens, dim) float16 unit rows of a passage."""
        return self._rows("passages", number)

    def _rows(self, side: str, number: int) -> Rows:
        vectors, offsets = self._sides[side][number // SHARD]
        row = number % SHARD
        return vectors[offsets[row] : offsets[row + 1]]


def encode_targets(encoder: Encoder, pairs: Sequence[Pair], folder: Path, step: Step) -> Targets:
    """Encode pairs that are not encoded yet.

    Args:
        encoder: The teacher.
        pairs: The training text, in the order of its positions.
        folder: Where the vectors go. A shard is in it whole or not at all, and one that is there
            is not encoded again, so a folder belongs to one teacher and one list of pairs.
        step: Told what is being done.

    Returns:
        The vectors, float16: its rounding is a tenth of that of int8 inference.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = -(-len(pairs) // SHARD)
    for shard in range(shards):
        part = pairs[shard * SHARD : (shard + 1) * SHARD]
        if not all(_paths(folder, side, shard)[1].is_file() for side in ("queries", "passages")):
            _save(folder, "queries", shard, encoder.encode_query([pair.query for pair in part]))
            passages = encoder.encode_document([pair.passage for pair in part])
            _save(folder, "passages", shard, passages)
            step(f"{folder.name}: {shard * SHARD + len(part)} of {len(pairs)} pairs encoded")
    return Targets(folder, len(pairs), len(pairs))


def encode_texts(
    encoder: Encoder, queries: Sequence[str], passages: Sequence[str], work: Path, step: Step
) -> Targets:
    """Encode queries and passages that do not come in pairs.

    Args:
        encoder: The model.
        queries: The queries.
        passages: The passages.
        work: Folder in which these texts, by this model, get a folder of their own.
        step: Told what is being done.
    """
    values = [encoder.card.fingerprint, encoder.config.to_json(), list(queries), list(passages)]
    folder = work / hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
    folder.mkdir(parents=True, exist_ok=True)
    for side, texts, encode in (
        ("queries", queries, encoder.encode_query),
        ("passages", passages, encoder.encode_document),
    ):
        for start in range(0, len(texts), SHARD):
            if _paths(folder, side, start // SHARD)[1].is_file():
                continue
            part = list(texts[start : start + SHARD])
            _save(folder, side, start // SHARD, encode(part))
            step(f"start: {start + len(part)} of {len(texts)} {side} encoded")
    return Targets(folder, len(queries), len(passages))


def _paths(folder: Path, side: str, shard: int) -> tuple[Path, Path]:
    return folder / f"{side}-{shard:05}.npy", folder / f"{side}-{shard:05}-offsets.npy"


def _save(folder: Path, side: str, shard: int, arrays: Sequence[NDArray[np.float32]]) -> None:
    """Write vectors, then offsets, which mark the shard as whole."""
    vectors, offsets = _paths(folder, side, shard)
    lengths = [len(array) for array in arrays]
    for path, values in (
        (vectors, np.concatenate(arrays).astype(np.float16)),
        (offsets, np.cumsum([0, *lengths])),
    ):
        work = path.with_suffix(".writing")
        with work.open("wb") as stream:
            np.save(stream, values)
        work.replace(path)


def _load(folder: Path, side: str, shard: int) -> tuple[Rows, NDArray[np.int64]]:
    vectors, offsets = _paths(folder, side, shard)
    return np.load(vectors, mmap_mode="r", allow_pickle=False), np.load(offsets, allow_pickle=False)
