"""Which texts are trained on together, and which run through the model together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert.model.tokenizer import TokenizedText

_CHUNK_TOKENS = 1024
"""Tokens that run through the model together, padding included."""


def neighbour_batches(
    vectors: NDArray[np.float32], size: int, generator: np.random.Generator
) -> list[list[int]]:
    """Divide pairs into batches of neighbours, all of the same size; a remainder is left out.

    Cells of a random projection tree (Dasgupta & Freund 2008), cut at the median so that they
    are of one size, hold half a batch each. Every epoch has its own tree.

    Args:
        vectors: (pairs, dim) float32, one row per passage.
        size: Pairs per batch.
        generator: Source of the random numbers.
    """
    half = max(size // 2, 1)
    cells: list[NDArray[np.int64]] = []
    open_cells = [generator.permutation(len(vectors))]
    while open_cells:
        cell = open_cells.pop()
        if len(cell) <= half:
            cells.append(cell)
            continue
        first, second = vectors[generator.choice(cell, 2, replace=False)]
        cell = cell[np.argsort(vectors[cell] @ (first - second), kind="stable")]
        middle = half * max(round(len(cell) / half / 2), 1)
        open_cells += [cell[:middle], cell[middle:]]
    order = np.concatenate([cells[int(n)] for n in generator.permutation(len(cells))])
    return [order[start : start + size].tolist() for start in range(0, len(order) - size + 1, size)]


def batches_of_steps(
    vectors: NDArray[np.float32], size: int, seed: int, steps: range
) -> Iterator[list[int]]:
    """Yield the batches of some steps, which are the same whenever training was stopped.

    Args:
        vectors: See `neighbour_batches`.
        size: Pairs per batch.
        seed: Decides all batches.
        steps: The numbers of the steps, ascending by one.
    """
    taken = epoch = 0
    while taken < steps.stop:
        generator = np.random.default_rng([seed, epoch])
        for batch in neighbour_batches(vectors, size, generator):
            if taken in steps:
                yield batch
            taken += 1
        epoch += 1


def chunks(lengths: Sequence[int]) -> list[list[int]]:
    """Divide texts into runs of similar length, so that little is padding and all stays cached."""
    chunks: list[list[int]] = [[]]
    for number in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        if chunks[-1] and (len(chunks[-1]) + 1) * lengths[number] > _CHUNK_TOKENS:
            chunks.append([])
        chunks[-1].append(number)
    return chunks


def padded(
    items: Sequence[TokenizedText], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and attention mask, (texts, length) int64 each, padded with 0."""
    length = max(len(item.input_ids) for item in items)
    ids = np.zeros((len(items), length), dtype=np.int64)
    mask = np.zeros((len(items), length), dtype=np.int64)
    for row, item in enumerate(items):
        ids[row, : len(item.input_ids)] = item.input_ids
        mask[row, : len(item.input_ids)] = item.attention_mask
    return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
