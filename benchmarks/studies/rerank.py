"""Reranking against its floor: encoding, plus one pass over the candidates' codes.

    python -m benchmarks.studies.rerank DATA/scifact

100 documents a query, the default model, 2 threads. From texts the floor is encoding query and
documents; from ids it is encoding the query and scoring the stored codes. Medians over 20 queries.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pocket_colbert import Encoder, Index, Retriever, maxsim_pairwise
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.ingest.readers import text_to_encode

CANDIDATES = 100
QUERIES = 20


def milliseconds(work: Callable[[int], object], count: int = QUERIES) -> float:
    """Return the median time of work(0), work(1), ... after one to warm up."""
    work(0)
    times = []
    for n in range(count):
        started = time.perf_counter()
        work(n)
        times.append(1000 * (time.perf_counter() - started))
    return float(np.median(times))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    options = parser.parse_args()
    data = read_beir(options.dataset)
    texts = {item.document_id: text_to_encode(item) for item in data.documents[:2000]}
    queries = list(data.queries.values())[:QUERIES]
    encoder = Encoder.load(threads=2)
    with Index(encoder.dim, threads=2) as index:
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
            return segment.rows.score(codes, positions[n], index._threads(), 2)

        query_ms = milliseconds(lambda n: encoder.encode_query([queries[n]]))
        codes_ms = milliseconds(score)
        texts_ms = milliseconds(lambda n: encoder.encode_document(list(some[n].values())), 5)
        floats_ms = milliseconds(lambda n: maxsim_pairwise(vectors[n], documents[n]))
        from_ids = milliseconds(lambda n: retriever.rerank_ids(queries[n], names[n]))
        from_texts = milliseconds(lambda n: retriever.rerank(queries[n], some[n]), 5)
    print("| rerank 100 | ms | floor ms | ratio |\n|---|---|---|---|")
    for name, found, floor in (
        ("from ids", from_ids, query_ms + codes_ms),
        ("from texts", from_texts, query_ms + texts_ms + floats_ms),
    ):
        print(f"| {name} | {found:.1f} | {floor:.1f} | {found / floor:.2f} |")


if __name__ == "__main__":
    main()
