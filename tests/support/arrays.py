"""Random token vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    """Return random unit vectors (rows, dim) float32."""
    values = rng.normal(size=(rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def documents_of(
    rng: np.random.Generator, lengths: list[int], dim: int
) -> list[NDArray[np.float32]]:
    """Return random documents of the lengths given."""
    return [unit_rows(rng, length, dim) for length in lengths]


def cone_documents(
    rng: np.random.Generator, lengths: list[int], dim: int, topics: int = 60, spread: float = 0.45
) -> list[NDArray[np.float32]]:
    """Return documents whose token vectors lie as a ColBERT's do: in a cone, around topics.

    About 0.75 of a dot product is shared by all, each document has a few of the topics, and
    documents with the same topics resemble each other.
    """
    fixed = np.random.default_rng(5)
    shared = unit_rows(fixed, 1, dim)
    centres = unit_rows(fixed, topics, dim)
    documents = []
    for length in lengths:
        own = centres[rng.integers(topics, size=max(3, length // 8))]
        tokens = (
            shared
            + spread * own[rng.integers(len(own), size=length)]
            + 0.6 * spread * unit_rows(rng, length, dim)
        )
        norms = np.linalg.norm(tokens, axis=1, keepdims=True)
        documents.append((tokens / norms).astype(np.float32))
    return documents


def clustered_rows(
    rng: np.random.Generator, rows: int, dim: int, groups: int, noise: float
) -> NDArray[np.float32]:
    """Return unit vectors that gather around a few centres, as a text's token vectors do."""
    centres = rng.normal(size=(groups, dim))
    values = centres[rng.integers(0, groups, rows)] + noise * rng.normal(size=(rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
