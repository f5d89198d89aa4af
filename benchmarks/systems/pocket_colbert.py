"""pocket-colbert in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.systems.changing import DIM, THREADS, ChangingSystem, Document, K, Where, batches
from benchmarks.systems.system import System
from pocket_colbert import Index, IndexConfig, SearchParameters


class PocketColbert(System):
    """An index of all vectors as they are, one commit."""

    packages = ("pocket-colbert",)
    defaults: ClassVar[dict[str, Any]] = {"codes": "int4", "mode": "exact"}

    def load(self) -> None:
        """Take the parameters of the search."""
        self.parameters = SearchParameters(mode=self.settings["mode"])
        self.settings["lookups"] = self.parameters.lookups
        self.settings["candidates"] = self.parameters.candidates
        self.index: Index | None = None

    def build(self) -> None:
        """Add and commit."""
        inverted = "always" if self.settings["mode"] == "approximate" else "never"
        config = IndexConfig(
            dim=self.vectors.dimensions, codes=self.settings["codes"], inverted_file=inverted
        )
        with Index.create(self.folder, config, threads=self.threads) as index:
            for numbers in self.vectors.batches():
                documents = [self.vectors.document(n) for n in numbers]
                index.add([str(n) for n in numbers], documents)
            index.commit()

    def search(self, query: NDArray[np.float32]) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        if self.index is None:
            self.index = Index.load(self.folder, threads=self.threads)
        (hits,) = self.index.search([query], self.k, parameters=self.parameters)
        return [int(hit.document_id) for hit in hits]


class ChangingPocketColbert(ChangingSystem):
    """pocket-colbert with the default codes and exact search."""

    package = "pocket-colbert"
    mode: ClassVar[Literal["exact", "auto"]] = "exact"
    inverted_file: ClassVar[Literal["never", "auto"]] = "never"

    def build(self, items: Sequence[Document]) -> None:
        """Make a new index, one commit."""
        config = IndexConfig(dim=DIM, inverted_file=self.inverted_file)
        self.index = Index.create(self.folder, config, threads=THREADS)
        for batch in batches(items):
            self._change(self.index.add, batch)
        self.index.commit()

    def _change(self, change: Callable[..., None], items: Sequence[Document]) -> None:
        change(
            [str(item.number) for item in items],
            [item.vectors for item in items],
            metadata=[item.metadata for item in items],
        )

    def open(self) -> None:
        """Open for writing."""
        self.index = Index.load(self.folder, writable=True, threads=THREADS)

    def close(self) -> None:
        """Close it."""
        self.index.close()

    def add(self, item: Document) -> None:
        """Add and commit."""
        self._change(self.index.add, [item])
        self.index.commit()

    def upsert(self, items: Sequence[Document]) -> None:
        """Upsert and commit."""
        self._change(self.index.upsert, items)
        self.index.commit()

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete and commit."""
        self.index.delete(map(str, numbers))
        self.index.commit()

    def delete_where(self, where: Where) -> None:
        """Search for all that match, delete, commit."""
        any_query = np.ones((1, DIM), np.float32) / np.float32(DIM**0.5)
        hits = self.index.search([any_query], len(self.index), where=where)[0]
        self.index.delete(hit.document_id for hit in hits)
        self.index.commit()

    def compact(self) -> None:
        """Compact."""
        self.index.compact()

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        parameters = SearchParameters(mode=self.mode)
        (hits,) = self.index.search([query], K, parameters=parameters, where=where)
        return [int(hit.document_id) for hit in hits]


class ChangingPocketColbertAuto(ChangingPocketColbert):
    """pocket-colbert with all defaults."""

    mode = "auto"
    inverted_file = "auto"
