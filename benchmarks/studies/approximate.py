"""Approximate against exact search over the same codes: recall of the first 10 and milliseconds.

pocket-colbert index DATA/scifact/corpus.jsonl.gz --into scifact.index
python -m benchmarks.studies.approximate scifact.index DATA/scifact/queries.jsonl.gz
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from pocket_colbert import Encoder, Hit, Index, SearchParameters
from pocket_colbert.ingest.readers import read_documents

SETTINGS = [
    {"lookups": lookups, "candidates": candidates}
    for lookups in (256, 512, 1024)
    for candidates in (256, 512, 1024)
] + [
    {"query_tokens": 16}, {"query_tokens": 8}, {"query_tolerance": 0.05}, {"query_tolerance": 0.1},
]  # fmt: skip


def main() -> None:
    """Search with every setting and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    texts = [document.text or "" for document in read_documents([options.queries])]
    with Index.load(options.index) as index:
        encoder = Encoder.load(options.model) if options.model else Encoder.load()
        queries = encoder.encode_query(texts[: options.count])

        def run(parameters: SearchParameters) -> tuple[float, list[list[Hit]]]:
            times, hits = [], []
            for query in queries:
                started = time.perf_counter()
                hits += index.search([query], 10, parameters=parameters)
                times.append(1000 * (time.perf_counter() - started))
            return float(np.median(times)), hits

        milliseconds, exact = run(SearchParameters(mode="exact"))
        print(
            f"{len(queries)} queries, {index.info().tokens} token vectors, {index.threads} threads"
        )
        print("| setting | ms, median | recall@10 |\n|---|---|---|")
        print(f"| exact | {milliseconds:.1f} | 1 |")
        for setting in SETTINGS:
            milliseconds, found = run(SearchParameters(mode="approximate", **setting))
            shares = [
                len({hit.document_id for hit in a} & {hit.document_id for hit in b}) / len(a)
                for a, b in zip(exact, found, strict=True)
                if a
            ]
            name = ", ".join(f"{key} {value:g}" for key, value in setting.items())
            print(f"| {name} | {milliseconds:.1f} | {np.mean(shares):.3f} |")


if __name__ == "__main__":
    main()
