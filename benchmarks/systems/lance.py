"""LanceDB in this process."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.systems.changing import DIM, ChangingSystem, Document, K, Where, batches
from benchmarks.systems.system import System


class LanceFlat(System):
    """LanceDB without an index; multivectors take cosine only, and the default is L2."""

    packages = ("lancedb", "pyarrow")
    environment: ClassVar[dict[str, str]] = {"LANCE_LOG": "error"}
    defaults: ClassVar[dict[str, Any]] = {"values": "float32"}

    def load(self) -> None:
        """Import the engine."""
        import lancedb
        import pyarrow

        self.engine, self.arrow = lancedb, pyarrow

    def build(self) -> None:
        """Write the table."""
        arrow = self.arrow
        kind = arrow.from_numpy_dtype(np.dtype(self.settings["values"]))
        vector = arrow.list_(arrow.list_(kind, self.vectors.dimensions))
        schema = arrow.schema([("number", arrow.int32()), ("vector", vector)])
        self.table = self.engine.connect(self.folder).create_table(
            "documents",
            data=(self._batch(n, schema) for n in self.vectors.batches()),
            schema=schema,
        )

    def _batch(self, numbers: range, schema: Any) -> Any:
        arrow, vectors = self.arrow, self.vectors
        offsets = vectors.offsets[numbers.start : numbers.stop + 1]
        rows = vectors.tokens[offsets[0] : offsets[-1]].astype(self.settings["values"])
        flat = arrow.FixedSizeListArray.from_arrays(rows.reshape(-1), vectors.dimensions)
        starts = arrow.array((offsets - offsets[0]).astype(np.int32))
        column = arrow.ListArray.from_arrays(starts, flat)
        return arrow.record_batch(
            [arrow.array(np.asarray(numbers, dtype=np.int32)), column], schema=schema
        )

    def request(self, query: np.ndarray) -> Any:
        """Return the search to run."""
        return (
            self.table.search(query, vector_column_name="vector")
            .distance_type("cosine")
            .limit(self.k)
            .select(["number", "_distance"])
        )

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        return self.request(query).to_arrow()["number"].to_pylist()


class LanceIvfPq(LanceFlat):
    """LanceDB's IVF_PQ over the token vectors, its hits scored again with the stored vectors."""

    defaults: ClassVar[dict[str, Any]] = LanceFlat.defaults | {
        "num_partitions": None,
        "num_sub_vectors": None,
        "nprobes": 20,
        "refine_factor": 5,
    }

    def build(self) -> None:
        """Write the table and index it: the square root in partitions, 8 values a sub-vector."""
        super().build()
        settings = self.settings
        if settings["num_partitions"] is None:
            settings["num_partitions"] = max(1, round(len(self.vectors.tokens) ** 0.5))
        if settings["num_sub_vectors"] is None:
            settings["num_sub_vectors"] = self.vectors.dimensions // 8
        from lancedb.index import IvfPq

        self.table.create_index(
            "vector",
            config=IvfPq(
                distance_type="cosine",
                num_partitions=settings["num_partitions"],
                num_sub_vectors=settings["num_sub_vectors"],
            ),
        )
        statistics = self.table.index_stats("vector_idx")
        if statistics is None or statistics.num_unindexed_rows:
            raise RuntimeError(f"LanceDB did not index every document: {statistics}")

    def request(self, query: np.ndarray) -> Any:
        """Return the search to run."""
        request = super().request(query).nprobes(self.settings["nprobes"])
        return request.refine_factor(self.settings["refine_factor"])


class ChangingLance(ChangingSystem):
    """LanceDB without an index of the vectors."""

    package = "lancedb"
    environment: ClassVar[dict[str, str]] = {"LANCE_LOG": "error"}

    def __init__(self, folder: Path) -> None:
        import lancedb
        import pyarrow

        super().__init__(folder)
        self.engine, self.arrow = lancedb, pyarrow
        vector = pyarrow.list_(pyarrow.list_(pyarrow.float32(), DIM))
        self.schema = pyarrow.schema([
            ("number", pyarrow.int32()), ("year", pyarrow.int32()), ("group", pyarrow.string()),
            ("vector", vector),
        ])  # fmt: skip

    def build(self, items: Sequence[Document]) -> None:
        """Write a table and index the other columns."""
        from lancedb.index import BTree

        self.table = self.engine.connect(self.folder).create_table(
            "documents", data=map(self._batch, batches(items)), schema=self.schema
        )
        for name in ("number", "year", "group"):
            self.table.create_index(name, config=BTree())

    def _batch(self, items: Sequence[Document]) -> Any:
        arrow = self.arrow
        rows = np.concatenate([item.vectors for item in items])
        starts = np.cumsum([0, *(len(item.vectors) for item in items)]).astype(np.int32)
        flat = arrow.FixedSizeListArray.from_arrays(rows.reshape(-1), DIM)
        columns = [
            arrow.array([item.number for item in items], arrow.int32()),
            arrow.array([item.metadata["year"] for item in items], arrow.int32()),
            arrow.array([item.metadata["group"] for item in items]),
            arrow.ListArray.from_arrays(arrow.array(starts), flat),
        ]
        return arrow.record_batch(columns, schema=self.schema)

    def open(self) -> None:
        """Open the table."""
        self.table = self.engine.connect(self.folder).open_table("documents")

    def close(self) -> None:
        """Forget the table."""
        del self.table

    def add(self, item: Document) -> None:
        """Add a version with one row more."""
        self.table.add(self.arrow.Table.from_batches([self._batch([item])]))

    def upsert(self, items: Sequence[Document]) -> None:
        """Merge rows."""
        merge = self.table.merge_insert("number")
        merge = merge.when_matched_update_all().when_not_matched_insert_all()
        merge.execute(self.arrow.Table.from_batches([self._batch(items)]))

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete rows."""
        self.table.delete(f"number IN ({', '.join(map(str, numbers))})")

    def delete_where(self, where: Where) -> None:
        """Delete rows."""
        self.table.delete(self._filter(where))

    def _filter(self, where: Where) -> str:
        return " AND ".join(f"`{name}` = {value!r}" for name, value in where.items())

    def compact(self) -> None:
        """Optimize, and drop all versions but the last."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.table.optimize(cleanup_older_than=datetime.timedelta(0))

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        request = self.table.search(query, vector_column_name="vector").distance_type("cosine")
        if where:
            request = request.where(self._filter(where), prefilter=True)
        found = request.limit(K).select(["number", "_distance"]).to_arrow()
        return list(found["number"].to_pylist())
