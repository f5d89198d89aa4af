"""maxsim-cpu, over all documents."""

from __future__ import annotations

import numpy as np

from benchmarks.systems.system import System, store


class MaxSimCpu(System):
    """maxsim-cpu over all documents."""

    packages = ("maxsim-cpu",)

    def load(self) -> None:
        """Import the engine."""
        import maxsim_cpu

        self.engine = maxsim_cpu

    def build(self) -> None:
        """Store the vectors, since there is no index, and keep them as arrays."""
        store(self.vectors, self.folder)
        tokens = np.array(self.vectors.tokens)
        self.documents = np.split(tokens, self.vectors.offsets[1:-1])

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        scores = np.asarray(self.engine.maxsim_scores_variable(query, self.documents))
        count = min(self.k, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        return best[np.argsort(-scores[best], kind="stable")].tolist()
