"""Documents with random token vectors that know their own scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Index, IndexConfig, Passage, maxsim_pairwise
from tests.support.arrays import unit_rows

DIM = 16
CONFIG = IndexConfig(dim=DIM, codes="int8")
WORDS = "bees swarm in may roof supplier bread dough paris france berlin capital".split()


class Collection:
    """Documents with random vectors, some of several passages."""

    def __init__(self, rng: np.random.Generator, ids: Sequence[str]) -> None:
        self.ids = list(ids)
        self.embeddings: list[list[Passage]] = []
        self.texts = [" ".join(rng.choice(WORDS, 12)) for _ in ids]
        for number, text in enumerate(self.texts):
            ends = [0, 20, len(text)] if number % 3 == 0 else [0, len(text)]
            self.embeddings.append(
                [
                    Passage(first, last, unit_rows(rng, int(rng.integers(1, 9)), DIM))
                    for first, last in zip(ends, ends[1:], strict=False)
                ]
            )
        self.metadata = [{"number": number} for number in range(len(self.ids))]

    def write(self, folder: Path, config: IndexConfig = CONFIG) -> Path:
        with Index.create(folder, config) as index:
            index.add(self.ids, self.embeddings, texts=self.texts, metadata=self.metadata)
            index.commit()
        return folder

    def scores(self, query: NDArray[np.float32]) -> dict[str, float]:
        """Score by brute force, in floats."""
        return {
            name: float(maxsim_pairwise(query, [item.embedding for item in parts]).max())
            for name, parts in zip(self.ids, self.embeddings, strict=True)
        }
