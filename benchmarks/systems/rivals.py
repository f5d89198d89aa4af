"""Rival engines on given token vectors, one engine a process, told what to do on stdin.

    python benchmarks/systems/rivals.py SYSTEM VECTORS_DIR WORK_DIR --threads 2 [--k 100]
        [--settings '{"name": value}']

It imports nothing of pocket-colbert: it runs in an environment that holds numpy and the rival.
VECTORS_DIR holds `tokens.npy` (unit rows, float32) and `query_tokens.npy`, with `offsets.npy` and
`query_offsets.npy` (int64): document n is rows offsets[n]:offsets[n+1]. `token_ids.npy` (one
vocabulary number a token) is optional and only tachiom uses it. WORK_DIR must be new or empty.

The worker builds the index inside WORK_DIR and prints one JSON line with "event": "built". Seconds
run from vectors in memory (the file is read once before, imports are done) to an index that is
searchable and on disk. `bytes` adds up file sizes, `bytes_allocated` the blocks that files really
take, which is less where files are sparse. Then each line of stdin is one order and gets one line:

- {"queries": [first, last]}: search for queries first to last - 1, one at a time:
  {"event": "searched", "ms": [...], "hits": [[numbers of documents, best first], ...]}
- {"rerank": [[query, [documents]], ...]}, maxsim-cpu only: score those documents; arranging the
  arrays is not timed: {"event": "reranked", "ms": [...], "scores": [[...], ...]}
- quit, or the end of the input, ends it.

A query's time includes turning its float32 array into what the engine takes (lists for Qdrant) and
the engine's answer into numbers. Every line has `peak_rss_bytes`, the peak since the line before
it, so that the searching peak is not hidden by the building one; memory that the build did not
give back counts for both. The first query may be slow in some engines: warm up. Threads, and the
cores that the process may use, are limited to --threads. An error ends the process.

Systems. Settings are the engines' own defaults or what their documentation advises for latency,
but hnsw_ef, refine_factor, num_sub_vectors and block_documents, chosen here for recall and speed;
--settings replaces any of them:

- qdrant-edge-exact (float16), qdrant-edge-exact-float32 (faster), qdrant-edge-hnsw (float32): one
  segment a thread, since one segment is searched by one
- qdrant-local: pure Python; its threads would be BLAS's, and its one small product a document gets
  one whatever --threads says
- lancedb-flat, lancedb-ivfpq
- tachiom; without token_ids.npy its token-aware clustering is one clustering of all tokens
- sentence-transformers and maxsim-cpu: exhaustive, no index, so the float32 vectors are stored
- pylate-voyager: PyLate's index of tokens, and its scoring of the documents found; its number of
  threads is the cores'

fast-plaid 1.7.0 is not among them: its wheels are for torch 2.7 to 2.11, and beside the CPU build
of 2.13 the one for 2.11 (1.7.0.2110) imports but ends with a segmentation fault while it creates an
index.

Environments, Python 3.11:

    RIV: pip install numpy==2.4.6 qdrant-edge-py==0.9.0 qdrant-client==1.20.0 lancedb==0.40.0 \
             maxsim-cpu==0.1.0
         pip install --no-deps --only-binary=:all: --platform manylinux_2_39_x86_64 \
             --python-version 3.11 --target RIV/lib/python3.11/site-packages tachiom==0.4.0
    REF: pip install torch==2.13.0 sentence-transformers==6.2.0
    PL:  pip install torch==2.13.0
         pip install sentence-transformers==5.3.0 'transformers<=5.3.0' voyager==2.1.0 sqlitedict \
             ujson==5.12.0 ninja==1.11.1.4 datasets accelerate
         pip install --no-deps pylate==1.6.0 fast-plaid==1.4.6.2110 fastkmeans==0.5.0

(torch comes first and from a CPU build. tachiom's wheel is tagged for glibc 2.39 but needs only
two weak symbols of it, so it runs on 2.36; its source build fetches from GitHub. PyLate pins a
fast-plaid that pins another torch, hence --no-deps, and voyager 2.2 no longer takes the lists that
PyLate 1.6 gives it.)
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

READ_BYTES = 1 << 24
BATCH_DOCUMENTS = 256
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS",
)  # fmt: skip
"""What the libraries here read how many threads to start from."""


class Vectors:
    """The vectors of a collection and of its queries."""

    def __init__(self, folder: Path) -> None:
        for name in ("tokens.npy", "query_tokens.npy"):
            with open(folder / name, "rb") as stream:  # so that the build does not wait for a disk
                while stream.read(READ_BYTES):
                    pass
        self.tokens: np.ndarray = np.load(folder / "tokens.npy", mmap_mode="r")
        self.offsets: np.ndarray = np.load(folder / "offsets.npy")
        self.query_tokens: np.ndarray = np.load(folder / "query_tokens.npy")
        self.query_offsets: np.ndarray = np.load(folder / "query_offsets.npy")
        ids = folder / "token_ids.npy"
        self.token_ids: np.ndarray | None = np.load(ids) if ids.is_file() else None
        for rows, offsets in (
            (self.tokens, self.offsets),
            (self.query_tokens, self.query_offsets),
        ):
            if rows.dtype != np.float32 or offsets[0] != 0 or offsets[-1] != len(rows):
                raise ValueError(f"The vectors in {folder} are not float32 rows with offsets.")

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.offsets) - 1

    @property
    def dimensions(self) -> int:
        """Values in a vector."""
        return int(self.tokens.shape[1])

    def document(self, number: int) -> np.ndarray:
        """Return the token vectors of a document."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]

    def query(self, number: int) -> np.ndarray:
        """Return the token vectors of a query."""
        return self.query_tokens[self.query_offsets[number] : self.query_offsets[number + 1]]

    def batches(self) -> list[range]:
        """Return the numbers of the documents in runs of a bounded length."""
        return [
            range(first, min(first + BATCH_DOCUMENTS, self.documents))
            for first in range(0, self.documents, BATCH_DOCUMENTS)
        ]


class Rival:
    """An engine: `__init__` imports it, `build` is timed once, `search` for each query."""

    packages: ClassVar[tuple[str, ...]]
    environment: ClassVar[dict[str, str]] = {}
    defaults: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, vectors: Vectors, folder: Path, threads: int, k: int, settings: dict[str, Any]
    ) -> None:
        unknown = settings.keys() - self.defaults.keys()
        if unknown:
            raise ValueError(f"No such settings: {sorted(unknown)}; there are {[*self.defaults]}.")
        self.vectors = vectors
        self.folder = folder
        self.threads = threads
        self.k = k
        self.settings = self.defaults | settings
        self.load()

    def load(self) -> None:
        """Import the engine."""
        raise NotImplementedError

    def build(self) -> None:
        """Build the index inside the folder and leave it open."""
        raise NotImplementedError

    def search(self, query: np.ndarray) -> list[int]:
        """Return the numbers of up to k documents, best first."""
        raise NotImplementedError

    def arrange(self, documents: list[int]) -> Any:
        """Return the documents in the form that `rerank` takes."""
        raise ValueError(f"{type(self).__name__} does not rerank.")

    def rerank(self, query: np.ndarray, arranged: Any) -> np.ndarray:
        """Return the scores of arranged documents."""
        raise ValueError(f"{type(self).__name__} does not rerank.")


class QdrantEdge(Rival):
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


class QdrantLocal(Rival):
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


class LanceFlat(Rival):
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


class Tachiom(Rival):
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


class SentenceTransformers(Rival):
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
            for place, number in enumerate(numbers):
                rows[place, : lengths[number]] = torch.tensor(vectors.document(number))
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
            places = torch.topk(scores, min(self.k, len(scores))).indices.numpy()
        return self.order[places].tolist()


class MaxSimCpu(Rival):
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

    def arrange(self, documents: list[int]) -> list[np.ndarray]:
        """Return the documents in the form that `rerank` takes."""
        return [self.documents[number] for number in documents]

    def rerank(self, query: np.ndarray, arranged: list[np.ndarray]) -> np.ndarray:
        """Return the scores of arranged documents."""
        return np.asarray(self.engine.maxsim_scores_variable(query, arranged))


class PylateVoyager(Rival):
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


SYSTEMS: dict[str, type[Rival]] = {
    "qdrant-edge-exact": QdrantEdge,
    "qdrant-edge-exact-float32": QdrantEdgeFloat32,
    "qdrant-edge-hnsw": QdrantEdgeHnsw,
    "qdrant-local": QdrantLocal,
    "lancedb-flat": LanceFlat,
    "lancedb-ivfpq": LanceIvfPq,
    "tachiom": Tachiom,
    "sentence-transformers": SentenceTransformers,
    "maxsim-cpu": MaxSimCpu,
    "pylate-voyager": PylateVoyager,
}


def main() -> None:
    """Build, then follow the orders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("vectors", type=Path, metavar="VECTORS_DIR")
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--settings", type=json.loads, default={}, help="a JSON object")
    options = parser.parse_args()
    kind = SYSTEMS[options.system]
    pin(kind, options.threads)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else prints goes to stderr, from Python and from below it
    options.work.mkdir(parents=True, exist_ok=True)
    if any(options.work.iterdir()):
        parser.error(f"{options.work} is not empty.")

    def answer(event: str, **values: Any) -> None:
        line = {"event": event, **values, "peak_rss_bytes": take_peak()}
        answers.write(json.dumps(line) + "\n")

    vectors = Vectors(options.vectors)
    rival = kind(vectors, options.work, options.threads, options.k, options.settings)
    take_peak()
    started = time.perf_counter()
    rival.build()
    seconds = time.perf_counter() - started
    size, allocated = disk(options.work)
    answer(
        "built",
        system=options.system,
        version=" ".join(f"{name} {importlib.metadata.version(name)}" for name in kind.packages),
        build_seconds=seconds,
        bytes=size,
        bytes_allocated=allocated,
        settings=rival.settings | {"threads": options.threads, "k": options.k} | kind.environment,
    )
    for line in sys.stdin:
        if line.strip() == "quit":
            break
        ((order, what),) = json.loads(line).items()
        if order == "queries":
            answer("searched", **search(rival, range(*what)))
        elif order == "rerank":
            answer("reranked", **rerank(rival, what))
        else:
            raise ValueError(f"No such order: {order!r}.")


def search(rival: Rival, numbers: range) -> dict[str, Any]:
    """Search for queries one at a time."""
    times, hits = [], []
    for number in numbers:
        query = rival.vectors.query(number)
        started = time.perf_counter()
        found = rival.search(query)
        times.append((time.perf_counter() - started) * 1e3)
        hits.append([int(document) for document in found])
    return {"ms": times, "hits": hits}


def rerank(rival: Rival, pairs: list[tuple[int, list[int]]]) -> dict[str, Any]:
    """Score given documents for queries one at a time."""
    times, scores = [], []
    for number, documents in pairs:
        query, arranged = rival.vectors.query(number), rival.arrange(documents)
        started = time.perf_counter()
        found = rival.rerank(query, arranged)
        times.append((time.perf_counter() - started) * 1e3)
        scores.append(found.tolist())
    return {"ms": times, "scores": scores}


def pin(kind: type[Rival], threads: int) -> None:
    """Limit threads and cores, starting over once so that every library sees it from the start."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    wanted |= {"HF_HUB_OFFLINE": "1"} | kind.environment
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def store(vectors: Vectors, folder: Path) -> None:
    """Write the float32 vectors, for engines that keep none."""
    np.save(folder / "tokens.npy", vectors.tokens)
    np.save(folder / "offsets.npy", vectors.offsets)


def disk(folder: Path) -> tuple[int, int]:
    """Return the sizes of the files below a folder, and the bytes of the blocks they take."""
    statuses = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    return sum(s.st_size for s in statuses), sum(s.st_blocks * 512 for s in statuses)


def take_peak() -> int:
    """Return the peak of resident memory since the last call, and start a new one."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
