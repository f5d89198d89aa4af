"""The vectors that systems are given, and what a system of the search study is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

READ_BYTES = 1 << 24
BATCH_DOCUMENTS = 256


class StoredVectors:
    """The vectors of a collection and of its queries."""

    def __init__(self, folder: Path) -> None:
        for name in ("tokens.npy", "query_tokens.npy"):
            with open(folder / name, "rb") as stream:  # so that the build does not wait for a disk
                while stream.read(READ_BYTES):
                    pass
        self.tokens: np.ndarray = np.load(folder / "tokens.npy", mmap_mode="r")
        self.offsets: np.ndarray = np.load(folder / "offsets.npy")
        self.query_tokens: np.ndarray = np.load(folder / "query_tokens.npy")
        self.query_offsets: np.ndarray = np.load(folder / "query_offsets.npy")
        ids = folder / "token_ids.npy"
        self.token_ids: np.ndarray | None = np.load(ids) if ids.is_file() else None
        for rows, offsets in (
            (self.tokens, self.offsets),
            (self.query_tokens, self.query_offsets),
        ):
            if rows.dtype != np.float32 or offsets[0] != 0 or offsets[-1] != len(rows):
                raise ValueError(f"The vectors in {folder} are not float32 rows with offsets.")

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.offsets) - 1

    @property
    def dimensions(self) -> int:
        """Values in a vector."""
        return int(self.tokens.shape[1])

    def document(self, number: int) -> np.ndarray:
        """Return the token vectors of a document."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]

    def query(self, number: int) -> np.ndarray:
        """Return the token vectors of a query."""
        return self.query_tokens[self.query_offsets[number] : self.query_offsets[number + 1]]

    def batches(self) -> list[range]:
        """Return the numbers of the documents in runs of a bounded length."""
        return [
            range(first, min(first + BATCH_DOCUMENTS, self.documents))
            for first in range(0, self.documents, BATCH_DOCUMENTS)
        ]


class System:
    """An engine: `__init__` imports it, `build` is timed once, `search` for each query."""

    packages: ClassVar[tuple[str, ...]]
    environment: ClassVar[dict[str, str]] = {}
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, vectors: StoredVectors, folder: Path, threads: int, k: int, settings: dict[str, Any]
    ) -> None:
        unknown = settings.keys() - self.defaults.keys()
        if unknown:
            raise ValueError(f"No such settings: {sorted(unknown)}; there are {[*self.defaults]}.")
        self.vectors = vectors
        self.folder = folder
        self.threads = threads
        self.k = k
        self.settings = self.defaults | settings
        self.load()

    def load(self) -> None:
        """Import the engine."""
        raise NotImplementedError

    def build(self) -> None:
        """Build the index inside the folder and leave it open."""
        raise NotImplementedError

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        raise NotImplementedError


def store(vectors: StoredVectors, folder: Path) -> None:
    """Write the float32 vectors, for engines that keep none."""
    np.save(folder / "tokens.npy", vectors.tokens)
    np.save(folder / "offsets.npy", vectors.offsets)
