"""nDCG@10 of sentence-transformers' own vectors under exact float MaxSim: the yardstick.

Runs in an environment with sentence-transformers 6 and ir-measures, without pocket-colbert:

    python benchmarks/systems/reference_quality.py CHECKPOINT DATASET [SPLIT]
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import ir_measures
import numpy as np
from sentence_transformers import MultiVectorEncoder


def rows(path: Path) -> list[dict]:
    """Read a gzipped JSON lines file."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def main() -> None:
    """Encode, score everything, judge."""
    checkpoint, folder = Path(sys.argv[1]), Path(sys.argv[2])
    split = sys.argv[3] if len(sys.argv) > 3 else "test"
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "qrels" / f"{split}.tsv").read_text().splitlines()[1:]:
        query_id, document_id, grade = line.split("\t")
        qrels.setdefault(query_id, {})[document_id] = int(grade)
    corpus = rows(folder / "corpus.jsonl.gz")
    queries = [row for row in rows(folder / "queries.jsonl.gz") if row["_id"] in qrels]
    model = MultiVectorEncoder(str(checkpoint), device="cpu", model_kwargs={"dtype": "float32"})
    texts = [f"{row.get('title') or ''} {row['text']}".strip() for row in corpus]
    documents = model.encode_document(texts, convert_to_numpy=True)
    run = {}
    for query in queries:
        vectors = model.encode_query([query["text"]], convert_to_numpy=True)[0]
        scores = [float((vectors @ d.T).max(axis=1).sum()) for d in documents]
        best = np.argsort(-np.array(scores), kind="stable")[:100]
        run[query["_id"]] = {corpus[n]["_id"]: scores[n] for n in best}
    found = ir_measures.calc_aggregate([ir_measures.nDCG @ 10, ir_measures.R @ 100], qrels, run)
    print({str(measure): round(value, 4) for measure, value in found.items()})


if __name__ == "__main__":
    main()
