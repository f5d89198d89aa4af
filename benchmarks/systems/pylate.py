"""PyLate's index of tokens."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from benchmarks.systems.system import System


class PylateVoyager(System):
    """PyLate's graph of tokens; each search reads its table of documents from disk again."""

    packages = ("pylate", "voyager", "torch")
    defaults: ClassVar[dict[str, Any]] = {
        "M": 64,
        "ef_construction": 200,
        "ef_search": 200,
        "k_token": 100,
    }

    def load(self) -> None:
        """Import the engine."""
        import torch
        from pylate import indexes, retrieve

        torch.set_num_threads(self.threads)
        self.indexes, self.retrieve = indexes, retrieve

    def build(self) -> None:
        """Add the documents."""
        names = ("M", "ef_construction", "ef_search")
        index = self.indexes.Voyager(
            index_folder=str(self.folder),
            override=True,
            embedding_size=self.vectors.dimensions,
            **{name: self.settings[name] for name in names},
        )
        numbers = range(self.vectors.documents)
        index.add_documents(
            documents_ids=[str(number) for number in numbers],
            documents_embeddings=[self.vectors.document(number) for number in numbers],
        )
        self.retriever = self.retrieve.ColBERT(index=index)

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        (hits,) = self.retriever.retrieve(
            queries_embeddings=[query], k=self.k, k_token=self.settings["k_token"], device="cpu"
        )
        return [int(hit["id"]) for hit in hits]
