"""Qdrant: its engine in this process, and the local mode of its client."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.systems.changing import DIM, THREADS, ChangingSystem, Document, K, Where, batches
from benchmarks.systems.system import BATCH_DOCUMENTS, System


class QdrantEdge(System):
    """Qdrant's engine in this process; its documentation advises m=0 for multivectors."""

    packages = ("qdrant-edge-py",)
    defaults: ClassVar[dict[str, Any]] = {
        "m": 0,
        "ef_construct": 100,
        "hnsw_ef": None,
        "full_scan_threshold": 10,
        "indexing_threshold": 1,
        "datatype": "Float16",
        "distance": "Dot",
        "memory": "Cached",
        "wal_enabled": False,
        "segments": None,
    }

    def load(self) -> None:
        """Import the engine."""
        import qdrant_edge

        self.engine = qdrant_edge

    def build(self) -> None:
        """Add, optimize and flush."""
        engine, settings = self.engine, self.settings
        if settings["segments"] is None:
            settings["segments"] = self.threads
        memory = getattr(engine.Memory, settings["memory"])
        parameters = engine.EdgeVectorParams(
            size=self.vectors.dimensions,
            distance=getattr(engine.Distance, settings["distance"]),
            multivector_config=engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim),
            datatype=getattr(engine.VectorStorageDatatype, settings["datatype"]),
            hnsw_config=engine.HnswIndexConfig(
                m=settings["m"],
                ef_construct=settings["ef_construct"],
                full_scan_threshold=settings["full_scan_threshold"],
                max_indexing_threads=self.threads,
                memory=memory,
            ),
            memory=memory,
        )
        self.shard = engine.EdgeShard.create(
            str(self.folder),
            engine.EdgeConfig(
                vectors=parameters,
                optimizers=engine.EdgeOptimizersConfig(
                    indexing_threshold=settings["indexing_threshold"],
                    default_segment_number=settings["segments"] + 1,  # one is open for additions
                ),
                max_search_threads=self.threads,
                wal_enabled=settings["wal_enabled"],
            ),
        )
        for part in np.array_split(np.arange(self.vectors.documents), settings["segments"]):
            for first in range(0, len(part), BATCH_DOCUMENTS):
                numbers = part[first : first + BATCH_DOCUMENTS].tolist()
                points = [engine.Point(n, self.vectors.document(n).tolist()) for n in numbers]
                self.shard.update(engine.UpdateOperation.upsert_points(points))
            self.shard.optimize()
        self.shard.flush()
        info = self.shard.info()
        if info.points_count != self.vectors.documents:
            raise RuntimeError(f"Qdrant holds {info.points_count} documents.")
        settings["segments_with_the_open_one"] = info.segments_count
        settings["indexed_vectors"] = info.indexed_vectors_count
        self.parameters = (
            engine.SearchParams(hnsw_ef=settings["hnsw_ef"])
            if settings["m"]
            else engine.SearchParams(exact=True)
        )

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        request = self.engine.QueryRequest(
            limit=self.k,
            query=self.engine.Query.Nearest(query.tolist()),
            params=self.parameters,
        )
        return [point.id for point in self.shard.query(request)]


class QdrantEdgeFloat32(QdrantEdge):
    """The same with twice the bytes, which are compared faster."""

    defaults: ClassVar[dict[str, Any]] = QdrantEdge.defaults | {"datatype": "Float32"}


class QdrantEdgeHnsw(QdrantEdgeFloat32):
    """The same with its graph over multivectors."""

    defaults: ClassVar[dict[str, Any]] = QdrantEdgeFloat32.defaults | {"m": 16, "hnsw_ef": 256}


class QdrantLocal(System):
    """qdrant-client's local mode: Python and numpy, vectors in memory, pickled into SQLite."""

    packages = ("qdrant-client",)
    environment: ClassVar[dict[str, str]] = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    defaults: ClassVar[dict[str, Any]] = {"distance": "Dot"}

    def load(self) -> None:
        """Import the engine."""
        import qdrant_client

        self.engine = qdrant_client

    def build(self) -> None:
        """Add the documents."""
        models = self.engine.models
        self.client = self.engine.QdrantClient(path=str(self.folder))
        self.client.create_collection(
            "documents",
            vectors_config=models.VectorParams(
                size=self.vectors.dimensions,
                distance=models.Distance(self.settings["distance"]),
                multivector_config=models.MultiVectorConfig(
                    comparator=models.MultiVectorComparator.MAX_SIM
                ),
            ),
        )
        for numbers in self.vectors.batches():
            self.client.upload_collection(
                "documents", [self.vectors.document(n) for n in numbers], ids=list(numbers)
            )

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        answer = self.client.query_points(
            "documents", query=query.tolist(), limit=self.k, with_payload=False
        )
        return [point.id for point in answer.points]


class ChangingQdrant(ChangingSystem):
    """Qdrant's engine in this process, set up as for the search study."""

    package = "qdrant-edge-py"

    def __init__(self, folder: Path) -> None:
        import qdrant_edge

        super().__init__(folder)
        self.engine = qdrant_edge

    def build(self, items: Sequence[Document]) -> None:
        """Add in as many segments as threads, optimize and flush."""
        engine = self.engine
        hnsw = engine.HnswIndexConfig(
            m=0, ef_construct=100, full_scan_threshold=10, max_indexing_threads=THREADS
        )
        vectors = engine.EdgeVectorParams(
            size=DIM,
            distance=engine.Distance.Dot,
            multivector_config=engine.MultiVectorConfig(engine.MultiVectorComparator.MaxSim),
            datatype=engine.VectorStorageDatatype.Float16,
            hnsw_config=hnsw,
            memory=engine.Memory.Cached,
        )
        optimizers = engine.EdgeOptimizersConfig(
            indexing_threshold=1,
            default_segment_number=THREADS + 1,  # one is open for additions
            deleted_threshold=0.001,
            vacuum_min_vector_number=1,
        )
        self.folder.mkdir()
        self.shard = engine.EdgeShard.create(
            str(self.folder),
            engine.EdgeConfig(
                vectors=vectors, optimizers=optimizers, max_search_threads=THREADS,
                wal_enabled=False,
            ),
        )  # fmt: skip
        for name, kind in (("year", "Integer"), ("group", "Keyword")):
            schema = getattr(engine.PayloadSchemaType, kind)
            self.shard.update(engine.UpdateOperation.create_field_index(name, schema))
        half = len(items) // THREADS + 1
        for first in range(0, len(items), half):
            for batch in batches(items[first : first + half]):
                self._put(batch)
            self.shard.optimize()
        self.shard.flush()

    def _put(self, items: Sequence[Document]) -> None:
        points = [self.engine.Point(i.number, i.vectors.tolist(), i.metadata) for i in items]
        self.shard.update(self.engine.UpdateOperation.upsert_points(points))

    def open(self) -> None:
        """Load the shard."""
        self.shard = self.engine.EdgeShard.load(str(self.folder))

    def close(self) -> None:
        """Close it."""
        self.shard.close()

    def add(self, item: Document) -> None:
        """Upsert and flush."""
        self.upsert([item])

    def upsert(self, items: Sequence[Document]) -> None:
        """Upsert and flush."""
        for batch in batches(items):
            self._put(batch)
        self.shard.flush()

    def delete(self, numbers: Sequence[int]) -> None:
        """Delete and flush."""
        self.shard.update(self.engine.UpdateOperation.delete_points(list(numbers)))
        self.shard.flush()

    def delete_where(self, where: Where) -> None:
        """Delete by filter and flush."""
        operation = self.engine.UpdateOperation.delete_points_by_filter(self._filter(where))
        self.shard.update(operation)
        self.shard.flush()

    def _filter(self, where: Where) -> Any:
        engine = self.engine
        return engine.Filter(
            must=[engine.FieldCondition(n, match=engine.MatchValue(v)) for n, v in where.items()]
        )

    def compact(self) -> None:
        """Optimize and flush."""
        self.shard.optimize()
        self.shard.flush()

    def search(self, query: NDArray[np.float32], where: Where | None = None) -> list[int]:
        """Return the numbers of the best ten."""
        request = self.engine.QueryRequest(
            limit=K,
            query=self.engine.Query.Nearest(query.tolist()),
            params=self.engine.SearchParams(exact=True),
            filter=self._filter(where) if where else None,
        )
        return [point.id for point in self.shard.query(request)]
