"""Whether two versions of the code find the same hits.

    python -m benchmarks.studies.equal_hits DATA/cranfield DATA/scifact --json before.json
    python -m benchmarks.studies.equal_hits DATA/cranfield DATA/scifact --against before.json

Exact searches with every code width, over all documents, with a filter, and after deletions, on one
thread and on two. Hits are equal where ids and scores (to .002) are, whatever the order of equal
scores. With `--against`, hits that differ are printed and it ends with an error. Vectors of queries
and documents are made once and kept in `--vectors`, so that both versions search the same ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.results import Run, read_results
from benchmarks.harness.tables import markdown
from pocket_colbert import Encoder, Index, IndexConfig, SearchParameters
from pocket_colbert.config import Codes
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.ingest.readers import text_to_encode

TOLERANCE = 2e-3
"""Of scores up to 32: float32 sums in another order, and a component that rounds the other way."""
K = 10

Hits = list[tuple[str, float]]
Vectors = Sequence[NDArray[np.float32]]


def vectors_of(dataset: Path, place: Path, queries: int, documents: int) -> tuple[Vectors, Vectors]:
    """Return the token vectors of queries and documents, kept in `place` from the first time on."""
    path = place / f"{dataset.name}-{queries}-{documents}.npz"
    if not path.exists():
        data, encoder = read_beir(dataset), Encoder.load()
        asked = encoder.encode_query(list(data.queries.values())[:queries])
        texts = [text_to_encode(item) for item in data.documents[:documents]]
        parts = {"query": asked, "document": encoder.encode_document(texts)}
        np.savez(
            path,
            **{name: np.concatenate(items) for name, items in parts.items()},
            **{f"{name}_sizes": [len(item) for item in items] for name, items in parts.items()},
        )
    stored = np.load(path)
    query, document = (
        np.split(stored[name], np.cumsum(stored[f"{name}_sizes"])[:-1])
        for name in ("query", "document")
    )
    return query, document


def searches(
    queries: Vectors, documents: Vectors, codes: Codes, threads: int
) -> Iterator[tuple[str, list[Hits]]]:
    """Search in all ways; yield the name of each and the hits of each query."""
    dim = documents[0].shape[1]
    exact = SearchParameters(mode="exact")
    names = [f"d{n}" for n in range(len(documents))]
    with Index(dim, config=IndexConfig(dim=dim, codes=codes), threads=threads) as index:
        index.add(names, documents, metadata=[{"part": n % 3} for n in range(len(names))])
        for what in ("all", "filter", "deleted"):
            if what == "deleted":
                index.delete(names[::5])
            where = {"part": 1} if what == "filter" else None
            found = index.search(queries, K, parameters=exact, where=where)
            yield (
                f"{codes}, {what}, {threads} threads",
                [[(hit.document_id, hit.score) for hit in hits] for hits in found],
            )


def same(found: Hits, before: Hits) -> bool:
    """Say whether two lists of hits are equal, ties aside.

    The order of equal scores is free, and so is which documents of the last score there are.
    """
    if len(found) != len(before):
        return False
    if not found:
        return True
    cut = min(found[-1][1], before[-1][1]) + TOLERANCE
    for one, other in ((found, dict(before)), (before, dict(found))):
        for name, score in one:
            if abs(score - other.get(name, score if score <= cut else np.inf)) > TOLERANCE:
                return False
    return True


def differing(
    results: Mapping[str, Mapping[str, list[Hits]]], before: Mapping[str, Mapping[str, list[Hits]]]
) -> list[str]:
    """Return the names of queries whose hits differ.

    Raises:
        ValueError: Other things were searched before.
    """
    wrong = []
    for name, ways in results.items():
        for way, queries in ways.items():
            earlier = before.get(name, {}).get(way)
            if earlier is None or len(earlier) != len(queries):
                raise ValueError(f"{name}, {way} is not in what was measured before.")
            wrong += [
                f"{name}, {way}, query {n}: {found[:3]}, before {[*map(tuple, old)][:3]}"
                for n, (found, old) in enumerate(zip(queries, earlier, strict=True))
                if not same(found, [(name, score) for name, score in old])
            ]
    return wrong


def table(results: Mapping[str, Mapping[str, list[Hits]]]) -> str:
    """Return how many queries were searched in each way."""
    ways = list(dict.fromkeys(way for each in results.values() for way in each))
    rows = [
        (way, *(str(len(each[way])) if way in each else "" for each in results.values()))
        for way in ways
    ]
    return markdown(("queries", *results), rows)


def main() -> None:
    """Search, compare, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--queries", type=int, default=500, help="of each set at most")
    parser.add_argument("--documents", type=int, default=2000, help="of each set at most")
    parser.add_argument("--vectors", type=Path, default=Path("build/equal-hits"))
    parser.add_argument("--against", type=Path, help="what an earlier version wrote with --json")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("equal_hits", options)
    options.vectors.mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, list[Hits]]] = {}
    for dataset in options.datasets:
        vectors = vectors_of(dataset, options.vectors, options.queries, options.documents)
        results[dataset.name] = {
            way: hits
            for codes in get_args(Codes)
            for threads in (1, 2)
            for way, hits in searches(*vectors, codes, threads)
        }
    print(table(results))
    run.save(options.json, results)
    if options.against is not None:
        wrong = differing(results, read_results(options.against)["results"])
        if wrong:
            raise SystemExit("\n".join([f"{len(wrong)} differ:", *wrong[:20]]))
        print("All hits are the same as before.")


if __name__ == "__main__":
    main()
