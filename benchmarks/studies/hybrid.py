"""Keywords beside MaxSim, and filters: quality of fusions on retrieval sets, recall under filters.

    python -m benchmarks.studies.hybrid DATA/scifact DATA/cranfield DATA/cisi DATA/squad-dev \
        --json benchmarks/results/hybrid.json

Every set is encoded with the bundled model and indexed as `Retriever.add` does it, then searched,
exactly, by MaxSim, by BM25, and by both, fused by rank and by weight. depth is how many documents
each brings into a fusion; the last two columns are means over the sets.

Filters are measured on the first set: each document gets a number at random, and `where` asks for
those below a bound. Recall is against float32 MaxSim by brute force over the stored vectors of the
documents that match, and all come back means that k, or all that match, did.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness.results import Run
from benchmarks.harness.tables import decimals, markdown
from benchmarks.harness.timing import each_ms
from pocket_colbert import Document, Encoder, Hit, Index, IndexConfig, Retriever, SearchParameters
from pocket_colbert.config import DEFAULT_CODES
from pocket_colbert.evaluation.beir import BeirFolder, read_beir
from pocket_colbert.evaluation.metrics import compute_metrics, to_run
from pocket_colbert.vectors.maxsim_float import maxsim_ragged
from pocket_colbert.vectors.top_k import top_k

K = 100
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5)
DEPTHS = (100,)
SHARES = (1.0, 0.5, 0.1, 0.01, 0.002, 0.001)


def settings() -> dict[str, SearchParameters]:
    """Return the ways to search by their names."""
    found = {
        "MaxSim": SearchParameters(mode="exact"),
        "BM25": SearchParameters(mode="exact", hybrid="keywords"),
    }
    for depth in DEPTHS:
        name = f"depth {depth}"
        found[f"rrf, {name}"] = SearchParameters(mode="exact", hybrid="rrf", depth=depth)
        for weight in WEIGHTS:
            found[f"weighted {weight}, {name}"] = SearchParameters(
                mode="exact", hybrid="weighted", keyword_weight=weight, depth=depth
            )
    return found


def indexed(encoder: Encoder, data: BeirFolder, folder: Path) -> Index:
    """Encode and index a set; each document also gets a random number."""
    order = np.random.default_rng(0).permutation(len(data.documents))
    config = IndexConfig(dim=encoder.dim, codes=DEFAULT_CODES)
    index = Index.create(folder, config, threads=encoder.threads)
    Retriever(encoder, index).add([
        Document(item.document_id, item.text, item.title, {"number": int(number)})
        for item, number in zip(data.documents, order, strict=True)
    ])  # fmt: skip
    index.commit()
    return index


def fusions(
    index: Index, data: BeirFolder, chosen: Sequence[str], queries: Sequence[NDArray[np.float32]]
) -> dict[str, dict[str, float]]:
    """Return the measures of each way to search."""
    qrels = {query_id: data.qrels[query_id] for query_id in chosen}
    texts = [data.queries[query_id] for query_id in chosen]
    found = {}
    for name, parameters in settings().items():
        hits = index.search(queries, K, parameters=parameters, texts=texts)
        found[name] = compute_metrics(qrels, to_run(chosen, hits))
    return found


def filters(
    index: Index, queries: Sequence[NDArray[np.float32]], k: int = 10
) -> list[dict[str, float]]:
    """Search under filters; returns a row for each."""
    documents = list(index)
    parts = [index.passages(item.document_id) for item in documents]
    numbers = np.array([item.metadata["number"] for item in documents])
    rows = []
    for share in SHARES:
        bound = round(share * len(documents))
        matching = np.flatnonzero(numbers < bound)
        each = [part.embedding for n in matching for part in parts[n]]
        owners = np.concatenate([np.full(len(parts[n]), n) for n in matching])
        tokens, offsets = np.concatenate(each), np.cumsum([0, *map(len, each)])
        where = {"number": {"$lt": bound}}
        row: dict[str, float] = {"share": share, "matching": len(matching)}
        for mode in ("auto", "exact"):
            parameters = SearchParameters(mode=mode)
            recalls, complete = [], []

            def search(
                query: NDArray[np.float32],
                parameters: SearchParameters = parameters,
                where: dict[str, Any] = where,
            ) -> list[Hit]:
                return index.search([query], k, parameters=parameters, where=where)[0]

            times, answers = each_ms(search, queries)
            for query, hits in zip(queries, answers, strict=True):
                scores = np.full(len(documents), -np.inf, np.float32)
                np.maximum.at(scores, owners, maxsim_ragged(query, tokens, offsets))
                best = top_k(scores, min(k, len(matching)))
                wanted = {documents[n].document_id for n in best}
                recalls.append(len(wanted & {hit.document_id for hit in hits}) / len(wanted))
                right = all(hit.metadata["number"] < bound for hit in hits)
                complete.append(right and len(hits) == len(wanted))
            row |= {
                f"{mode} ms": float(np.median(times)),
                f"{mode} recall": float(np.mean(recalls)),
                f"{mode} all come back": float(np.mean(complete)),
            }
        rows.append(row)
    return rows


def main() -> None:
    """Encode, search, judge; print tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--queries", type=int, default=1000, help="At most so many a set.")
    parser.add_argument("--filter-queries", type=int, default=100)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    run = Run.begin("hybrid", options)
    encoder = Encoder.load()
    results: dict[str, dict[str, dict[str, float]]] = {}
    rows: list[dict[str, Any]] = []
    for folder in options.datasets:
        data = read_beir(folder)
        ids = list(data.queries)
        every = np.linspace(0, len(ids) - 1, min(options.queries, len(ids)))
        chosen = [ids[int(n)] for n in every]
        queries = encoder.encode_query([data.queries[query_id] for query_id in chosen])
        with (
            tempfile.TemporaryDirectory() as place,
            indexed(encoder, data, Path(place) / "index") as index,
        ):
            if folder == options.datasets[0]:
                rows = filters(index, queries[: options.filter_queries])
            results[folder.name] = fusions(index, data, chosen, queries)
    everything = {"fusions": results, "filters": rows}
    print(table(everything))
    run.save(options.json, everything)


def table(results: Mapping[str, Any]) -> str:
    """Return the tables of fusions and of filters."""
    fusions: Mapping[str, Mapping[str, Mapping[str, float]]] = results["fusions"]
    measures = ("nDCG@10", "Recall@100")
    heads = [f"{name}: {measure}" for name in fusions for measure in measures]
    rows = []
    for setting in next(iter(fusions.values())):
        values = np.array(
            [[found[setting][measure] for measure in measures] for found in fusions.values()]
        )
        cells = [f"{value:.4f}" for value in (*values.ravel(), *values.mean(axis=0))]
        rows.append((setting, *cells))
    first = markdown(("ranked by", *heads, "mean nDCG@10", "mean Recall@100"), rows)
    heads = ["matching", "documents", "auto ms", "recall@10", "all come back", "exact ms",
             "recall@10", "all come back"]  # fmt: skip
    rows = [
        (
            f"{row['share']:.1%}", str(row["matching"]),
            *(
                decimals(row[f"{mode} {name}"], digits)
                for mode in ("auto", "exact")
                for name, digits in (("ms", 1), ("recall", 3), ("all come back", 3))
            ),
        )
        for row in results["filters"]
    ]  # fmt: skip
    return first + "\n\n" + markdown(heads, rows)


if __name__ == "__main__":
    main()
