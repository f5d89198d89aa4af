"""tachiom in this process."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from benchmarks.systems.system import System


class Tachiom(System):
    """Token-aware clustering, a graph over the centroids and product quantization."""

    packages = ("tachiom",)
    defaults: ClassVar[dict[str, Any]] = {
        "total_centroids": None,
        "hnsw_m": 32,
        "ef_construction": 1500,
        "k_centroids": 20,
        "ef_search": 30,
        "k_docs_to_score": 500,
        "alpha": 0.45,
    }
    build_names: ClassVar[tuple[str, ...]] = ("total_centroids", "hnsw_m", "ef_construction")
    search_names: ClassVar[tuple[str, ...]] = (
        "k_centroids", "ef_search", "k_docs_to_score", "alpha",
    )  # fmt: skip

    def load(self) -> None:
        """Import the engine."""
        import tachiom

        self.engine = tachiom

    def build(self) -> None:
        """Cluster, save, and open what was saved."""
        vectors = self.vectors
        ids = vectors.token_ids
        self.settings["token_ids"] = "given" if ids is not None else "none, all tokens are one type"
        index = self.engine.Tachiom.build_from_arrays(
            vectors.tokens.astype(np.float16).view(np.uint16),
            np.zeros(len(vectors.tokens), np.uint32) if ids is None else ids.astype(np.uint32),
            np.diff(vectors.offsets).astype(np.int32),
            **{name: self.settings[name] for name in self.build_names},
        )
        path = str(self.folder / "index.bin")
        index.save(path)
        del index
        self.index = self.engine.Tachiom.load(path)
        self.settings["centroids_built"] = self.index.n_centroids
        self.search_settings = {name: self.settings[name] for name in self.search_names}

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        scores, numbers = self.index.search(query, self.k, **self.search_settings)
        return numbers[np.isfinite(scores)].tolist()
