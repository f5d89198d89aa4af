"""MaxSim on a GPU, or on any other execution provider, without torch.

A document costs its transfer to the device once and next to nothing afterwards, so what pays is
many queries over documents that stay there. Documents that are scored once take about as long to
pad and to copy as `maxsim_pairwise` takes to score them on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.vectors.padding import LEAST_LENGTH, batches_of_like_length
from pocket_colbert.vectors.providers import Provider
from pocket_colbert.vectors.small_graph import SmallGraph

BLOCK_BYTES = 128 << 20
"""Padded documents that are scored at a time."""

MEMORY = 4 << 30

_GRAPHS = {"float32": "maxsim.onnx", "float16": "maxsim_fp16.onnx"}


@dataclass(frozen=True)
class _Block:
    """Documents of like length: their numbers, and what the graph takes."""

    numbers: NDArray[np.int64]
    documents: Any
    lengths: NDArray[np.int64]


class DeviceMaxSim:
    """Documents in a device's memory, scored against one query after the other.

    Examples:
        >>> from pocket_colbert import DeviceMaxSim, Encoder
        >>> encoder = Encoder.load("tiny")
        >>> texts = ["Paris is the capital of France.", "Bees swarm in May."]
        >>> scores = DeviceMaxSim(encoder.encode_document(texts), provider="cpu")
        >>> int(scores(encoder.encode_query(["When do bees swarm?"])[0]).argmax())
        1

    Safe to call from several threads.

    Attributes:
        provider: onnxruntime's name of the provider.
        bytes_on_device: Bytes of padded documents in the device's memory.
    """

    def __init__(
        self,
        documents: Sequence[NDArray[np.float32]],
        *,
        provider: Provider = "cuda",
        dtype: Literal["float32", "float16"] = "float32",
        memory: int = MEMORY,
    ) -> None:
        """Pad documents of like length together and copy them to the device.

        Args:
            documents: One (num_tokens_i, dim) float32 array each; may be empty, and so may a
                document.
            provider: See `Encoder`.
            dtype: What documents are held as and multiplied in. float16 takes half the memory and
                time; of a score it costs about 0.001, as sums are float32 all the same.
            memory: Bytes of documents that may stay on the device, padding included. What does
                not fit stays in the CPU's memory and is copied for every query. A query takes
                some 500 MB more for a moment.

        Raises:
            InvalidInputError: An argument breaks its rule.
            ProviderError: The provider is not available, or has not enough memory.
        """
        if dtype not in _GRAPHS:
            raise InvalidInputError(f"dtype must be 'float32' or 'float16', got {dtype!r}.")
        check_whole_number("memory", memory, least=0)
        self._dim = _dim(documents)
        self._lengths = np.array([len(document) for document in documents], dtype=np.int64)
        self._graph = SmallGraph(_GRAPHS[dtype], provider)
        self.provider: str = self._graph.provider
        self.bytes_on_device: int = 0
        self._blocks: list[_Block] = []
        filled = np.flatnonzero(self._lengths)
        tokens = BLOCK_BYTES // max(self._dim * np.dtype(dtype).itemsize, 1)
        for batch in batches_of_like_length(
            self._lengths[filled], len(filled), tokens, LEAST_LENGTH
        ):
            numbers = filled[batch]
            padded = _padded([documents[number] for number in numbers], self._dim, dtype)
            held: Any = padded
            if self.bytes_on_device + padded.nbytes <= memory:
                held = self._graph.put(padded)
                self.bytes_on_device += padded.nbytes
            self._blocks.append(_Block(numbers, held, self._lengths[numbers]))

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._lengths)

    def __call__(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score all documents against a query, as `maxsim_pairwise` does.

        Args:
            query: (query_tokens, dim) float32.

        Returns:
            (len(self),) float32; -inf for a document without tokens.

        Raises:
            InvalidInputError: The query has another width than the documents.
            ProviderError: The device has not enough memory, or fails.
        """
        query = np.ascontiguousarray(query, dtype=np.float32)
        if query.ndim != 2 or (self._blocks and query.shape[1] != self._dim):
            raise InvalidInputError(
                f"query must be (query_tokens, {self._dim}), got shape {query.shape}."
            )
        scores = np.full(len(self), -np.inf, dtype=np.float32)
        if not len(query):
            scores[self._lengths > 0] = 0
            return scores
        for block in self._blocks:
            inputs = {"query": query, "documents": block.documents, "lengths": block.lengths}
            scores[block.numbers] = self._graph.run(inputs)
        return scores


def _dim(documents: Sequence[NDArray[np.float32]]) -> int:
    """Return the width of all documents."""
    if not isinstance(documents, Sequence):
        raise InvalidInputError(
            f"documents must be a list of arrays, got {type(documents).__name__}."
        )
    shapes = {np.shape(document) for document in documents}
    if any(len(shape) != 2 for shape in shapes) or len({shape[1] for shape in shapes}) > 1:
        raise InvalidInputError(
            "documents must be (num_tokens, dim) arrays of one dim, got shapes "
            f"{sorted(shapes)[:4]}."
        )
    return shapes.pop()[1] if shapes else 0


def _padded(
    documents: Sequence[NDArray[np.float32]], dim: int, dtype: str
) -> NDArray[np.floating[Any]]:
    """Put documents into one (n, longest, dim) array."""
    longest = max(len(document) for document in documents)
    padded = np.zeros((len(documents), longest, dim), dtype=dtype)
    for row, document in enumerate(documents):
        padded[row, : len(document)] = document
    return padded
