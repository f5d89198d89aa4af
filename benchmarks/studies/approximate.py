"""Approximate against exact search over the same codes: recall of the first 10 and milliseconds.

pocket-colbert index DATA/scifact/corpus.jsonl.gz --into scifact.index
python -m benchmarks.studies.approximate scifact.index DATA/scifact/queries.jsonl.gz
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import each_ms
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
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("approximate", options)
    texts = [document.text or "" for document in read_documents([options.queries])]
    with Index.load(options.index) as index:
        encoder = Encoder.load(options.model) if options.model else Encoder.load()
        queries = encoder.encode_query(texts[: options.count])

        def searched(parameters: SearchParameters) -> tuple[float, list[list[Hit]]]:
            times, hits = each_ms(
                lambda query: index.search([query], 10, parameters=parameters)[0], queries
            )
            return statistics.median(times), hits

        milliseconds, exact = searched(SearchParameters(mode="exact"))
        rows: list[dict[str, Any]] = [{"setting": "exact", "ms": milliseconds, "recall": 1.0}]
        for setting in SETTINGS:
            milliseconds, hits = searched(SearchParameters(mode="approximate", **setting))
            shares = [
                len({hit.document_id for hit in a} & {hit.document_id for hit in b}) / len(a)
                for a, b in zip(exact, hits, strict=True)
                if a
            ]
            name = ", ".join(f"{key} {value:g}" for key, value in setting.items())
            rows.append({"setting": name, "ms": milliseconds, "recall": float(np.mean(shares))})
        results = {
            "queries": len(queries), "tokens": index.info().tokens, "threads": index.threads,
            "rows": rows,
        }  # fmt: skip
    print(table(results))
    run.save(options.json, results)


def table(results: Mapping[str, Any]) -> str:
    """Return the table of settings."""
    rows: Sequence[Mapping[str, Any]] = results["rows"]
    head = "{queries} queries, {tokens} token vectors, {threads} threads\n\n"
    return head.format_map(results) + markdown(
        ("setting", "ms, median", "recall@10"),
        [(row["setting"], decimals(row["ms"], 1), decimals(row["recall"], 3)) for row in rows],
    )


if __name__ == "__main__":
    main()
