"""Lists and graphs as sources of candidates: bytes, seconds to build, milliseconds and recall.

python -m benchmarks.harness.vectors DATA/scifact --into VECTORS/scifact
python -m benchmarks.studies.candidates VECTORS/scifact --random 12000

Sources are built and measured as for an index. Recall is given as they are, and with the widening
that was measured when they were made ("all" where everything is scored). Times are of the
processor, on one thread. `usearch b1` is a trial: the signs of the components alone, compared by
how many differ, which an index does not offer.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.vectors import Vectors
from pocket_colbert.config import IndexConfig, Pruning
from pocket_colbert.storage import candidate_source
from pocket_colbert.storage.inverted_file import InvertedFile, default_candidates
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_graph import TokenGraph
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec, QueryCodes
from pocket_colbert.vectors.int8_matmul import Product
from pocket_colbert.vectors.pruning import apply_pruning
from pocket_colbert.vectors.top_k import top_k

PRUNINGS = {
    "unpruned": Pruning(),
    "pooled by 2": Pruning(pool_factor=2),
    "pooled by 4": Pruning(pool_factor=4),
    "keep .5": Pruning(keep=0.5),
}
LOOKUPS = 512
K = 10

Find = Callable[[QueryCodes, int], NDArray[np.int64]]
"""A query and a widening to candidates."""


@dataclass(frozen=True)
class Collection:
    """Token vectors of documents and of queries, float32."""

    name: str
    documents: list[NDArray[np.float32]]
    queries: list[NDArray[np.float32]]


@dataclass(frozen=True)
class Built:
    """A source of candidates, what it takes, and the widening that was measured."""

    name: str
    find: Find
    bytes: int
    seconds: float
    widening: int | None = None
    source: candidate_source.Source | None = None


def main() -> None:
    """Build and search with every source and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("vectors", type=Path, nargs="*", help="Folders of harness.vectors.")
    parser.add_argument("--documents", type=int, default=10**9, help="Of each folder at most.")
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--random", type=int, default=0, help="Documents of 12 random vectors.")
    parser.add_argument("--codes", type=int, default=4, help="Bits of a component.")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("candidates", options)
    rows: list[dict[str, Any]] = []
    for folder in options.vectors:
        found = Vectors.load(folder)
        count = min(len(found.offsets) - 1, options.documents)
        documents = [np.array(found.document(n)) for n in range(count)]
        queries = [found.queries[n] for n in found.sample(options.queries)]
        collection = Collection(folder.name, documents, queries)
        for name, pruning in PRUNINGS.items():
            rows += measure(pruned(collection, pruning), name, options.codes)
    if options.random:
        rows += measure(random_vectors(options.random, options.queries), "random", options.codes)
    results = {"rows": rows}
    print(table(results))
    run.save(options.json, results)


def pruned(collection: Collection, pruning: Pruning) -> Collection:
    """Return a collection whose documents are pruned."""
    if pruning == Pruning():
        return collection
    kept = []
    for embedding in collection.documents:
        everything = np.ones(len(embedding), dtype=bool)
        kept.append(apply_pruning(embedding, everything, pruning))
    return replace(collection, documents=kept)


def random_vectors(number: int, queries: int) -> Collection:
    """Return documents of 12 random token vectors of 32 numbers: there are no clusters."""
    rng = np.random.default_rng(7)

    def unit(rows: int) -> NDArray[np.float32]:
        values = rng.normal(size=(rows, 32))
        return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)

    return Collection(
        "random", [unit(12) for _ in range(number)], [unit(16) for _ in range(queries)]
    )


def measure(collection: Collection, pruning: str, bits: int) -> list[dict[str, Any]]:
    """Return a row a source."""
    codec = Codec.fit(np.concatenate(collection.documents), bits)
    rows = TokenVectors.encode(codec, collection.documents)
    queries = [codec.encode_query(query) for query in collection.queries]
    exact_ms, exact = timed(lambda query: top_k(rows.score_all(query), K), queries)
    sources = [in_an_index(rows, name) for name in ("lists", "usearch")]
    auto = sources[0].name
    if sources[0].widening != 1:
        auto = max(sources, key=_goodness).name
    table_rows = []
    for built in (*sources, signs(rows)):
        as_is = searched(rows, queries, exact, built, 1)
        used = as_is
        if built.widening == 0:
            used = exact_ms, 1.0
        elif built.widening is not None:
            used = searched(rows, queries, exact, built, built.widening)
        table_rows.append(
            {
                "collection": collection.name,
                "pruning": pruning,
                "documents": len(rows.lengths),
                "tokens": rows.num_tokens,
                "source": built.name,
                "bytes": built.bytes / rows.num_tokens,
                "seconds": built.seconds,
                "ms": as_is[0],
                "recall": as_is[1],
                "widening": built.widening,
                "used_ms": used[0],
                "used_recall": used[1],
                "exact_ms": exact_ms,
                "auto": auto == built.name,
            }  # fmt: skip
        )
    return table_rows


def searched(
    rows: TokenVectors, queries: Sequence[QueryCodes], exact: Sequence[NDArray[np.int64]],
    built: Built, widening: int,
) -> tuple[float, float]:  # fmt: skip
    """Return the milliseconds a query, and the share of the exact hits that are found."""

    def search(query: QueryCodes) -> NDArray[np.int64]:
        passages = built.find(query, widening)
        return passages[top_k(rows.score(query, passages), K)]

    milliseconds, hits = timed(search, queries)
    shares = [np.isin(a, b).mean() for a, b in zip(exact, hits, strict=True)]
    return milliseconds, float(np.mean(shares))


def timed(
    search: Callable[[QueryCodes], NDArray[np.int64]], queries: Sequence[QueryCodes]
) -> tuple[float, list[NDArray[np.int64]]]:
    """Return the milliseconds of the processor a query, and what was found."""
    search(queries[0])
    started = time.process_time()
    found = [search(query) for query in queries]
    return (time.process_time() - started) / len(queries) * 1e3, found


def in_an_index(rows: TokenVectors, name: Literal["lists", "usearch"]) -> Built:
    """Build and measure lists or a graph as an index does."""
    config = IndexConfig(dim=rows.codec.dim, inverted_file="always", candidates=name)
    started = time.process_time()
    source = candidate_source.build(rows, config, 1)
    seconds = time.process_time() - started
    assert source is not None
    size = len(source.data) if isinstance(source, TokenGraph) else _size(source)
    limit, everything = limit_of(rows), Selection(len(rows.lengths))

    def find(query: QueryCodes, widening: int) -> NDArray[np.int64]:
        lookups, wide = LOOKUPS * widening, limit * widening
        if isinstance(source, TokenGraph):
            return source.candidates(query, everything, lookups=lookups, limit=wide)
        return source.candidates(query, everything, lookups=lookups, limit=wide, product=Product)

    return Built(name, find, size, seconds, source.widening, source)


def _goodness(built: Built) -> tuple[bool, bool, int, float]:
    assert built.source is not None
    return candidate_source.goodness(built.source)


def limit_of(rows: TokenVectors) -> int:
    """Return how many passages are scored by default."""
    return default_candidates(rows.num_tokens / len(rows.lengths))


def _size(built: InvertedFile) -> int:
    arrays = (built.centroids, built.scales, built.passages)
    return sum(array.nbytes for array in arrays) + 4 * len(built.scales)


def signs(rows: TokenVectors) -> Built:
    """Build a graph over the signs of the components, as a trial."""
    from usearch.index import Index, MetricKind, ScalarKind

    dim = rows.codec.dim
    started = time.process_time()
    built: Any = Index(
        ndim=dim, metric=MetricKind.Hamming, dtype=ScalarKind.B1, connectivity=16,
        expansion_add=64, enable_key_lookups=False, multi=True,
    )  # fmt: skip
    for number in range(len(rows.lengths)):
        first, last = rows.offsets[number], rows.offsets[number + 1]
        levels = rows.codec.levels(rows.codes[first:last])[: rows.lengths[number]]
        if len(levels):
            keys = np.full(len(levels), number, np.uint64)
            built.add(keys, np.packbits(levels > 0, axis=1), threads=1)
    seconds = time.process_time() - started

    def find(query: QueryCodes, widening: int) -> NDArray[np.int64]:
        number = min(8 * LOOKUPS // len(query.scales), rows.num_tokens)
        built.expansion_search = number
        bits = np.ascontiguousarray(np.packbits(query.codes.T > 0, axis=1))
        matches = built.search(bits, number, threads=1)
        passages = np.atleast_2d(matches.keys).astype(np.int64)
        nearness = -np.atleast_2d(matches.distances)
        gains = (nearness - nearness[:, -1:]) * query.scales[:, None]
        best = np.zeros((len(passages), len(rows.lengths)), np.float32)
        np.maximum.at(best, (np.arange(len(passages))[:, None], passages), gains)
        estimates = best.sum(axis=0)
        estimates[estimates <= 0] = -np.inf
        return np.sort(top_k(estimates, limit_of(rows)))

    return Built("usearch b1 (trial)", find, built.serialized_length, seconds)


def table(results: Mapping[str, Any]) -> str:
    """Return the table of sources."""
    return markdown(
        ("collection", "token vectors", "source", "bytes each", "build, s", "exact, ms",
         "query, ms", "recall@10", "widened", "query, ms", "recall@10", "auto"),
        [
            (
                f"{row['collection']}, {row['pruning']}", str(row["tokens"]), row["source"],
                decimals(row["bytes"], 1), decimals(row["seconds"], 1),
                decimals(row["exact_ms"], 1), decimals(row["ms"], 1), decimals(row["recall"], 3),
                {None: "", 0: "all"}.get(row["widening"], str(row["widening"])),
                decimals(row["used_ms"], 1), decimals(row["used_recall"], 3),
                "yes" if row["auto"] else "",
            )
            for row in results["rows"]
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
