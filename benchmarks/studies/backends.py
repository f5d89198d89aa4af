"""The same index in this process, in LanceDB and in Qdrant's engine: bytes, ranking, milliseconds.

    python -m benchmarks.studies.backends INDEX QUERIES.jsonl.gz [--queries 50] [--json FILE]

INDEX is an index folder, QUERIES a BEIR file. Qdrant is its engine (qdrant-edge-py, one segment,
write-ahead log left out of its bytes) behind the REST API of `tests/support/qdrant_server.py`,
asked by the real client over a socket: no package carries the server. Rankings are compared with
MaxSim that NumPy computes in float32 over the index's token vectors: how many of its first 10 are
among the
first 10, for how many queries all ten are the same in the same order, and the largest difference
of a score. Systems run one after the other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tests.support.qdrant_server import Server
from tests.support.servers import listening

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import each_ms, seconds_of
from pocket_colbert import Backend, Encoder, Hit, Index, SearchParameters, maxsim_pairwise
from pocket_colbert.backends import open_backend, push
from pocket_colbert.ingest.readers import read_documents
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.vectors.top_k import top_k

KEY = "benchmark"
EXACT = SearchParameters(mode="exact")


def size_of(folder: Path, without: str = "wal") -> int:
    """Return the bytes of a folder's files, as they lie on the disk."""
    return sum(
        path.stat().st_blocks * 512
        for path in folder.rglob("*")
        if path.is_file() and without not in path.parts
    )


def brute_force(index: Index, queries: Sequence[Any]) -> list[list[Hit]]:
    """Rank by float32 MaxSim over the decoded token vectors."""
    best = [np.full(len(index), -np.inf, np.float32) for _ in queries]
    ids = []
    for number, (document, passages) in enumerate(index.snapshot.encoded()):
        ids.append(document.document_id)
        for scores, query in zip(best, queries, strict=True):
            scores[number] = maxsim_pairwise(query, [p.embedding for p in passages]).max()
    return [[Hit(ids[n], float(scores[n])) for n in top_k(scores, 10)] for scores in best]


def searched(store: Backend, queries: Sequence[Any]) -> tuple[list[list[Hit]], float]:
    """Search one query at a time; returns hits and the median of the milliseconds."""
    times, hits = each_ms(lambda query: store.search([query], 10, parameters=EXACT)[0], queries)
    return hits, statistics.median(times)


def compared(expected: list[list[Hit]], found: list[list[Hit]]) -> dict[str, float]:
    """Compare rankings."""
    common, same, difference = 0, 0, 0.0
    for wanted, hits in zip(expected, found, strict=True):
        scores = {hit.document_id: hit.score for hit in wanted}
        known = [hit for hit in hits if hit.document_id in scores]
        common += len(known)
        same += [hit.document_id for hit in hits] == list(scores)
        difference = max([difference, *(abs(h.score - scores[h.document_id]) for h in known)])
    return {
        "first_10_in_common": common / sum(map(len, expected)),
        "same_order": same / len(expected),
        "largest_difference": difference,
    }


@contextmanager
def qdrant(folder: Path) -> Iterator[tuple[str, Server]]:
    """Serve Qdrant's engine."""
    server = Server(folder, KEY)
    with listening(server.app()) as url:
        yield f"{url.replace('http', 'qdrant')}/papers", server


def measured(
    index: Index, address: str, datatype: str, queries: Sequence[Any], expected: list[list[Hit]]
) -> dict[str, Any]:
    """Push and search; the caller adds the bytes."""
    reports = []
    seconds = seconds_of(
        lambda: reports.append(push(index, address, datatype=datatype, api_key=KEY))
    )
    resumed = seconds_of(lambda: reports.append(push(index, address, api_key=KEY)))
    assert reports[1].written == 0 and reports[1].documents == reports[0].documents
    with open_backend(address, api_key=KEY) as store:
        found, milliseconds = searched(store, queries)
    return {
        "push_seconds": seconds, "push_again_seconds": resumed, "query_ms": milliseconds,
        **compared(expected, found),
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--queries", type=int, default=50, dest="count")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("backends", options)
    results: dict[str, Any] = {}
    with (
        Index.load(options.index, threads=len(os.sched_getaffinity(0))) as index,
        tempfile.TemporaryDirectory() as place,
    ):
        encoder = Encoder.for_index(index.config)
        texts = [item.text or "" for item in read_documents([options.queries], Fields())]
        queries = encoder.encode_query(texts[: options.count])
        info = index.info()
        expected = brute_force(index, queries)
        found, milliseconds = searched(index, queries)
        results["index"] = {
            "documents": info.documents, "passages": info.passages, "tokens": info.tokens,
            "dim": info.dim, "codes": info.codes, "queries": len(queries),
        }  # fmt: skip
        results["embedded"] = {
            "bytes": sum(info.bytes.values()), "query_ms": milliseconds,
            **compared(expected, found),
        }  # fmt: skip
        for datatype in ("float32", "float16"):
            folder = Path(place) / f"lance-{datatype}"
            name = f"LanceDB {datatype}"
            results[name] = measured(index, f"lance://{folder}/papers", datatype, queries, expected)
            results[name]["bytes"] = size_of(folder)
            folder = Path(place) / f"qdrant-{datatype}"
            name = f"Qdrant {datatype}"
            with qdrant(folder) as (address, server):
                results[name] = measured(index, address, datatype, queries, expected)
                server.shards["papers"].optimize()
                server.shards["papers"].flush()
                results[name]["bytes"] = size_of(folder)
                server.shards["papers"].close()
    for values in results.values():
        if "bytes" in values:
            values["bytes_per_document"] = values["bytes"] / info.documents
            values["bytes_per_token"] = values["bytes"] / info.tokens
    print(table(results))
    run.save(options.json, results)


def table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a row for each place that the documents lie in."""
    heads = (
        "", "MB", "bytes a token vector", "push s", "push again s", "query ms",
        "first 10 as NumPy float32", "same order",
    )  # fmt: skip
    rows = [
        (
            name, decimals(values["bytes"] / 1e6, 0), decimals(values["bytes_per_token"], 0),
            decimals(values.get("push_seconds"), 1), decimals(values.get("push_again_seconds"), 1),
            decimals(values["query_ms"], 0), decimals(values["first_10_in_common"], 3),
            decimals(values["same_order"], 2),
        )
        for name, values in results.items()
        if "bytes" in values
    ]  # fmt: skip
    return markdown(heads, rows)


if __name__ == "__main__":
    main()
