"""An index of several commits, built the same way each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pocket_colbert import Index, IndexConfig
from tests.support.arrays import unit_rows


def build(folder: Path, steps: str) -> None:
    """Build an index of several commits."""
    rng = np.random.default_rng(1)
    config = IndexConfig(dim=16, inverted_file="always")
    with Index.create(folder, config, threads=2) as index:
        for part in range(9):
            ids = [f"d{part}-{n}" for n in range(60)]
            metadata = [
                {"n": n, "tag": f"t{n % 5}", "list": ["a", "b", 3, 2.5, n % 3 == 0, None],
                 "inner": {"deep": n, "far": 2**70}}
                for n in range(60)
            ]  # fmt: skip
            index.upsert(
                ids, [unit_rows(rng, 8, 16) for _ in ids], metadata=metadata,
                texts=[f"text of {name} and word{n % 7}" for n, name in enumerate(ids)],
            )  # fmt: skip
            index.commit()
        index.delete(["d1-3", "d8-1"])
        index.commit()
        if "compact" in steps:
            index.compact()
