"""What a system of the study of changing collections is, and the documents it holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.systems.system import BATCH_DOCUMENTS

DIM, YEARS, GROUPS, K = 96, 10, 1000, 10
THREADS = 2
Where = dict[str, Any]
"""The name of a field and what it must equal."""


@dataclass(frozen=True)
class Document:
    """A document of the collection."""

    number: int
    vectors: NDArray[np.float32]

    @property
    def metadata(self) -> dict[str, Any]:
        """Return its year and group."""
        return {
            "year": 2016 + self.number % YEARS,
            "group": f"g{self.number // YEARS % GROUPS}",
        }

    def matches(self, where: Where) -> bool:
        """Say whether its metadata is as a filter wants it."""
        return all(self.metadata[name] == value for name, value in where.items())


def documents(numbers: Sequence[int], seed: int) -> list[Document]:
    """Make documents; other seeds make other vectors around the same centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4096, DIM)) + rng.normal(size=DIM)
    rng = np.random.default_rng(seed)
    lengths = rng.integers(20, 31, size=len(numbers))
    tokens = np.empty((int(lengths.sum()), DIM), np.float32)
    for first in range(0, len(tokens), 100_000):
        part = tokens[first : first + 100_000]
        part[:] = centres[rng.integers(len(centres), size=len(part))]
        part += rng.normal(size=part.shape).astype(np.float32) * 0.5
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    parts = np.split(tokens, np.cumsum(lengths)[:-1])
    return [Document(number, part) for number, part in zip(numbers, parts, strict=True)]


def batches(items: Sequence[Document]) -> Iterable[Sequence[Document]]:
    """Return runs of a bounded length."""
    for first in range(0, len(items), BATCH_DOCUMENTS):
        yield items[first : first + BATCH_DOCUMENTS]


class ChangingSystem:
    """A system under test; every change is durable when its method returns."""

    package: ClassVar[str]
    environment: ClassVar[dict[str, str]] = {}

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, items: Sequence[Document]) -> None:
        """Make a new collection and leave it open."""
        raise NotImplementedError

    def open(self) -> None:
        """Open the collection."""
        raise NotImplementedError

    def close(self) -> None:
        """Close it."""
        raise NotImplementedError

    def add(self, item: Document) -> None:
        """Add one document."""
        raise NotImplementedError

    def upsert(self, items: Sequence[Document]) -> None:
        """Replace documents."""
        raise NotImplementedError

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete documents by their numbers."""
        raise NotImplementedError

    def delete_where(self, where: Where) -> None:
        """Delete documents by their metadata."""
        raise NotImplementedError

    def compact(self) -> None:
        """Give room back."""
        raise NotImplementedError

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        raise NotImplementedError
