"""Reranking against its floor: encoding, plus one pass over the candidates' codes.

    python -m benchmarks.studies.rerank DATA/scifact

100 documents a query, the default model, 2 threads. From texts the floor is encoding query and
documents; from ids it is encoding the query and scoring the stored codes. Medians over 20 queries.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import each_ms
from pocket_colbert import Encoder, Index, Retriever, maxsim_pairwise
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.ingest.readers import text_to_encode

CANDIDATES = 100
QUERIES = 20


def milliseconds(work: Callable[[int], object], count: int = QUERIES) -> float:
    """Return the median time of work(0), work(1), ... after one to warm up."""
    times, _ = each_ms(work, range(count))
    return statistics.median(times)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    run = Run.begin("rerank", options)
    data = read_beir(options.dataset)
    texts = {item.document_id: text_to_encode(item) for item in data.documents[:2000]}
    queries = list(data.queries.values())[:QUERIES]
    encoder = Encoder.load(threads=2)
    with Index(encoder.dim, threads=2) as index, ThreadPoolExecutor(2) as executor:
        index.add(list(texts), encoder.encode_document(list(texts.values())))
        retriever = Retriever(encoder, index)
        retriever.retrieve(queries[:1])
        names = [list(texts)[n * 90 : n * 90 + CANDIDATES] for n in range(QUERIES)]
        some = [{name: texts[name] for name in names[n]} for n in range(QUERIES)]
        vectors = encoder.encode_query(queries)
        documents = [encoder.encode_document(list(item.values())) for item in some]
        segment = index._snapshot.segments[0]
        positions = [np.arange(n * 90, n * 90 + CANDIDATES) for n in range(QUERIES)]

        def score(n: int) -> object:
            codes = segment.rows.codec.encode_query(vectors[n])
            return segment.rows.score(codes, positions[n], executor, 2)

        query_ms = milliseconds(lambda n: encoder.encode_query([queries[n]]))
        codes_ms = milliseconds(score)
        texts_ms = milliseconds(lambda n: encoder.encode_document(list(some[n].values())), 5)
        floats_ms = milliseconds(lambda n: maxsim_pairwise(vectors[n], documents[n]))
        from_ids = milliseconds(lambda n: retriever.rerank_ids(queries[n], names[n]))
        from_texts = milliseconds(lambda n: retriever.rerank(queries[n], some[n]), 5)
    results = {
        "from ids": {"ms": from_ids, "floor_ms": query_ms + codes_ms},
        "from texts": {"ms": from_texts, "floor_ms": query_ms + texts_ms + floats_ms},
    }
    print(table(results))
    run.save(options.json, results)


def table(results: Mapping[str, Mapping[str, float]]) -> str:
    """Return times beside their floors."""
    rows = [
        (
            name, decimals(row["ms"], 1), decimals(row["floor_ms"], 1),
            decimals(row["ms"] / row["floor_ms"], 2),
        )
        for name, row in results.items()
    ]  # fmt: skip
    return markdown(("rerank 100", "ms", "floor ms", "ratio"), rows)


if __name__ == "__main__":
    main()
