"""Synthetic documents made of real token vectors, for sizes beyond those of real collections.

A synthetic document is a real one, a third of its token vectors replaced by those of other
documents, all moved a little (noise of a tenth of their length), so that lengths, the cone, and
the clusters stay those of real token vectors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Passage
from pocket_colbert.vectors.pooling import pool_tokens

BATCH = 128


@dataclass(frozen=True)
class Real:
    """A real document.

    Attributes:
        text: Its text.
        title: Its title.
        passages: Its passages, with float32 token vectors.
    """

    text: str
    title: str | None
    passages: Sequence[Passage]

    def pooled(self, factor: float) -> Real:
        """Return it with the token vectors of each passage merged, see `pool_tokens`."""
        merged = [
            Passage(item.start, item.end, pool_tokens(item.embedding, factor))
            for item in self.passages
        ]
        return Real(self.text, self.title, merged)


def resembling(
    tokens: NDArray[np.float32], pool: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return token vectors that resemble a real document's.

    Args:
        tokens: (num_tokens, dim) float32, those of the real document.
        pool: (any, dim) float32, those of other documents.
        rng: Where chance comes from.

    Returns:
        (num_tokens, dim) float32, unit rows.
    """
    tokens = tokens.copy()
    foreign = rng.random(len(tokens)) < 1 / 3
    tokens[foreign] = pool[rng.integers(len(pool), size=int(foreign.sum()))]
    noise = rng.normal(size=tokens.shape).astype(np.float32) * 0.1 / np.sqrt(tokens.shape[1])
    tokens += noise
    return tokens / np.linalg.norm(tokens, axis=1, keepdims=True)


def write_collection(folder: Path, real: Sequence[Real], size: int) -> None:
    """Write a collection: the real documents, and synthetic ones up to a number.

    Its files are tokens.f16 (total_tokens, dim) float16; lengths.npy (passages,) int64, token
    vectors each; sources.npy (size,) int64, which real document each one is or resembles; and
    texts.json. A synthetic document has the text, and passages as long as those, of its model.

    Args:
        folder: Where to; made here.
        real: The real documents, with at least one passage each.
        size: Documents in all.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(size)
    joined = [np.concatenate([item.embedding for item in found.passages]) for found in real]
    pool = np.concatenate(joined[:: max(len(real) // 5000, 1)])
    chosen = rng.integers(len(real), size=max(size - len(real), 0))
    sources = np.concatenate([np.arange(min(len(real), size)), chosen])
    with (folder / "tokens.f16").open("wb") as file:
        for number, source in enumerate(sources):
            tokens = joined[source]
            if number >= len(real):
                tokens = resembling(tokens, pool, rng)
            file.write(tokens.astype(np.float16).tobytes())
    lengths = [len(item.embedding) for source in sources for item in real[source].passages]
    np.save(folder / "lengths.npy", np.array(lengths, np.int64))
    np.save(folder / "sources.npy", sources)
    texts = {
        "dim": joined[0].shape[1],
        "texts": [found.text for found in real],
        "titles": [found.title for found in real],
        "spans": [[(item.start, item.end) for item in found.passages] for found in real],
    }
    (folder / "texts.json").write_text(json.dumps(texts))


@dataclass(frozen=True)
class Batch:
    """Documents as `Index.add` takes them."""

    ids: list[str]
    passages: list[list[Passage]]
    texts: list[str]
    titles: list[str | None]

    @property
    def num_tokens(self) -> int:
        """Token vectors of all."""
        return sum(len(item.embedding) for found in self.passages for item in found)


def read_collection(folder: Path, first: int, last: int) -> Iterator[Batch]:
    """Iterate over documents of a collection that `write_collection` wrote.

    They are read, not mapped, so that a process which measures its memory holds one batch.

    Args:
        folder: The collection.
        first: The first document.
        last: The one after the last.
    """
    sources = np.load(folder / "sources.npy")
    lengths = np.load(folder / "lengths.npy")
    texts = json.loads((folder / "texts.json").read_text())
    spans = texts["spans"]
    row = sum(len(spans[source]) for source in sources[:first])
    with (folder / "tokens.f16").open("rb") as file:
        file.seek(int(lengths[:row].sum()) * texts["dim"] * 2)
        for start in range(first, last, BATCH):
            batch = Batch([], [], [], [])
            for number in range(start, min(start + BATCH, last)):
                source = sources[number]
                passages = []
                for begin, end in spans[source]:
                    data = file.read(int(lengths[row]) * texts["dim"] * 2)
                    tokens = np.frombuffer(data, np.float16).reshape(-1, texts["dim"])
                    passages.append(Passage(begin, end, tokens.astype(np.float32)))
                    row += 1
                batch.ids.append(f"document-{number}")
                batch.passages.append(passages)
                batch.texts.append(texts["texts"][source])
                batch.titles.append(texts["titles"][source])
            yield batch
