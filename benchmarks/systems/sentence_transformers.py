"""MaxSim of sentence-transformers, over all documents."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from benchmarks.systems.system import System, store


class SentenceTransformers(System):
    """`maxsim` over all documents, sorted by length and padded beforehand, block by block."""

    packages = ("sentence-transformers", "torch")
    defaults: ClassVar[dict[str, Any]] = {"block_documents": 256}

    def load(self) -> None:
        """Import the engine."""
        import torch
        from sentence_transformers.util.similarity import maxsim

        torch.set_num_threads(self.threads)
        self.torch, self.maxsim = torch, maxsim

    def build(self) -> None:
        """Store the vectors, since there is no index, and pad them."""
        store(self.vectors, self.folder)
        torch, vectors, step = self.torch, self.vectors, self.settings["block_documents"]
        lengths = np.diff(vectors.offsets)
        self.order = np.argsort(lengths, kind="stable")
        self.blocks = []
        for first in range(0, len(self.order), step):
            numbers = self.order[first : first + step]
            width = int(lengths[numbers].max())
            rows = torch.zeros(len(numbers), width, vectors.dimensions)
            for row, number in enumerate(numbers):
                rows[row, : lengths[number]] = torch.tensor(vectors.document(number))
            mask = torch.arange(width)[None] < torch.tensor(lengths[numbers])[:, None]
            self.blocks.append((rows, mask))

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        torch = self.torch
        with torch.inference_mode():
            rows = torch.from_numpy(query)[None]
            scores = torch.cat(
                [self.maxsim(rows, block, b_mask=mask)[0] for block, mask in self.blocks]
            )
            best = torch.topk(scores, min(self.k, len(scores))).indices.numpy()
        return self.order[best].tolist()
