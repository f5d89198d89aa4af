"""Finding the clause: characters of answers among those of the passages that come back.

    python -m benchmarks.studies.legal DATA/legalbench-rag --json benchmarks/results/legal.json

Long contracts are split, encoded with the bundled model, and searched with all queries. Measured
are, as in LegalBench-RAG (Pipitone & Alami 2024, arXiv 2408.10343), the share of the characters of
the answers that the first k passages of the whole corpus hold (recall), and the share of these
passages' characters that are of an answer (precision), means over queries; where passages overlap,
a character counts once. As passages differ in length, recall is also given for the first 1000,
4000 and 16 000 characters, the last passage being cut.

"passages" ranks every passage of every document, each being indexed as a document of its own.
"documents" is what `Index.search` returns for documents: the best, and of each its best three
passages. Documents' recall (doc R) is always that of the index of documents.

"truncated" encodes the first window of each document and nothing else. "named" gives each passage
its document's file name as title. All search is exact, over int4 codes.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Encoder, Index, IndexConfig, SearchParameters
from pocket_colbert.config import Splitting
from pocket_colbert.errors import TruncationWarning
from pocket_colbert.ingest.json_lines import read_json_lines
from pocket_colbert.ingest.readers import read_documents
from pocket_colbert.types import Passage

KS = (1, 2, 4, 8, 16, 32, 64)
BUDGETS = (1000, 4000, 16_000)
DOCUMENTS = 22
"""With three passages each they bring more than the largest k."""

RANKINGS = {
    "MaxSim": SearchParameters(mode="exact"),
    "BM25": SearchParameters(mode="exact", hybrid="keywords"),
    "rrf": SearchParameters(mode="exact", hybrid="rrf"),
    "weighted": SearchParameters(mode="exact", hybrid="weighted"),
}
Part = tuple[int, int, int]
"""Number of a document, first character, and the one after the last."""


@dataclass(frozen=True)
class Contracts:
    """Documents and queries with the parts of documents that answer them."""

    ids: Sequence[str]
    texts: Sequence[str]
    queries: Sequence[str]
    answers: Sequence[Sequence[Part]]

    @classmethod
    def read(cls, folder: Path) -> Contracts:
        """Read corpus.jsonl.gz and queries.jsonl.gz."""
        documents = list(read_documents([folder / "corpus.jsonl.gz"]))
        numbers = {document.document_id: n for n, document in enumerate(documents)}
        rows = [row for _, row in read_json_lines(folder / "queries.jsonl.gz")]
        return cls(
            list(numbers),
            [document.text or "" for document in documents],
            [row["text"] for row in rows],
            [
                [(numbers[answer["document_id"]], *answer["span"]) for answer in row["answers"]]
                for row in rows
            ],
        )

    def names(self) -> list[str]:
        """Return the documents' file names as words."""
        return [Path(name).stem.replace("_", " ").replace("-", " ") for name in self.ids]


def truncated(encoder: Encoder, texts: Sequence[str]) -> list[list[Passage]]:
    """Return the one passage of each document that the model's window holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TruncationWarning)
        embeddings = encoder.encode_document(texts)
    ends = [int(encoder.document_token_spans(text).max()) for text in texts]
    return [[Passage(0, end, item)] for end, item in zip(ends, embeddings, strict=True)]


def indexes(
    data: Contracts, passages: Sequence[Sequence[Passage]], titles: Sequence[str] | None
) -> tuple[Index, Index, list[Part]]:
    """Index documents, and passages as documents; returns the parts that the latter are."""
    dim = passages[0][0].embedding.shape[1]
    config = IndexConfig(dim=dim, inverted_file="never")
    documents, single = Index(dim, config=config), Index(dim, config=config)
    documents.add([*map(str, range(len(data.ids)))], passages, texts=data.texts, titles=titles)
    each = [(n, item) for n, items in enumerate(passages) for item in items]
    single.add(
        [str(n) for n in range(len(each))],
        [item.embedding for _, item in each],
        texts=[data.texts[n][item.start : item.end] for n, item in each],
        titles=[titles[n] for n, _ in each] if titles else None,
    )
    return documents, single, [(n, item.start, item.end) for n, item in each]


def gains(
    parts: Sequence[Part], answers: Sequence[Part], data: Contracts
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the characters, and those of answers, in the first 1, 2, ... parts, each once."""
    seen = {n: np.zeros(len(data.texts[n]), bool) for n, *_ in parts}
    wanted = {n: np.zeros(len(data.texts[n]), bool) for n, *_ in (*parts, *answers)}
    for n, start, end in answers:
        wanted[n][start:end] = True
    new = np.zeros((2, len(parts)), np.int64)
    for place, (n, start, end) in enumerate(parts):
        fresh = ~seen[n][start:end]
        seen[n][start:end] = True
        new[:, place] = fresh.sum(), (fresh & wanted[n][start:end]).sum()
    held, right = new.cumsum(axis=1)
    return held, right


def within(parts: Sequence[Part], budget: int) -> list[Part]:
    """Return as many parts as have `budget` characters, the last one cut."""
    found: list[Part] = []
    for document, start, end in parts:
        end = min(end, start + budget)
        if end > start:
            found.append((document, start, end))
        budget -= end - start
    return found


def judge(ranked: Sequence[Sequence[Part]], data: Contracts) -> dict[str, float]:
    """Return the means of recall and precision at each k, and of recall in each budget."""
    found: dict[str, list[float]] = {}
    for parts, answers in zip(ranked, data.answers, strict=True):
        total = gains(answers, answers, data)[1][-1]
        held, right = gains(parts, answers, data)
        for k in KS:
            last = min(k, len(parts)) - 1
            recall, precision = (right[last] / total, right[last] / held[last]) if parts else (0, 0)
            found.setdefault(f"recall@{k}", []).append(recall)
            found.setdefault(f"precision@{k}", []).append(precision)
        for budget in BUDGETS:
            cut = within(parts, budget)
            recall = gains(cut, answers, data)[1][-1] / total if cut else 0
            found.setdefault(f"recall in {budget} characters", []).append(recall)
    return {name: float(np.mean(values)) for name, values in found.items()}


def measure(
    data: Contracts,
    queries: Sequence[NDArray[np.float32]],
    passages: Sequence[Sequence[Passage]],
    titles: Sequence[str] | None,
    rankings: Sequence[str],
    setting: str,
) -> list[dict[str, Any]]:
    """Search one splitting in all ways asked for."""
    documents, single, parts = indexes(data, passages, titles)
    rows = []
    for name in rankings:
        parameters = RANKINGS[name]
        hits = single.search(queries, KS[-1], parameters=parameters, texts=data.queries)
        by_document = documents.search(
            queries, DOCUMENTS, parameters=parameters, texts=data.queries
        )
        ordered = [[int(hit.document_id) for hit in found] for found in by_document]
        pairs = [
            (found, {n for n, *_ in answers})
            for found, answers in zip(ordered, data.answers, strict=True)
        ]
        about = {
            "setting": setting, "ranked by": name, "passages": len(parts),
            "characters a passage": float(np.mean([end - start for _, start, end in parts])),
        } | {
            f"document recall@{k}": float(np.mean([len(set(a[:k]) & b) / len(b) for a, b in pairs]))
            for k in (1, 10)
        }  # fmt: skip
        ranked = {
            "passages": [[parts[int(hit.document_id)] for hit in found] for found in hits],
            "documents": [
                [
                    (int(hit.document_id), part.start, part.end)
                    for hit in found
                    for part in hit.passages
                ]
                for found in by_document
            ],
        }
        for unit, found in ranked.items():
            if unit == "passages" or (name == "MaxSim" and setting != "truncated"):
                rows.append({"unit": unit, **about, **judge(found, data)})
                print(line(rows[-1]), flush=True)
    return rows


def line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    cells = [
        row["setting"], row["ranked by"], row["unit"], row["passages"],
        f"{row['characters a passage']:.0f}",
        *(f"{row[f'recall@{k}']:.3f} / {row[f'precision@{k}']:.3f}" for k in KS),
        *(f"{row[f'recall in {budget} characters']:.3f}" for budget in BUDGETS),
        *(f"{row[f'document recall@{k}']:.3f}" for k in (1, 10)),
    ]  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Encode each splitting once; print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--max-tokens", type=int, nargs="+", default=[64, 96, 128, 192, 300])
    parser.add_argument("--overlaps", type=int, nargs="+", default=[0, 16, 32])
    parser.add_argument("--queries", type=int, default=None, help="So many, spread evenly.")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    data = Contracts.read(options.dataset)
    if options.queries:
        step = max(len(data.queries) // options.queries, 1)
        data = Contracts(data.ids, data.texts, data.queries[::step], data.answers[::step])
    encoder = Encoder.load()
    queries = encoder.encode_query(data.queries)
    names = data.names()
    print(
        "| splitting | ranked by | unit | passages | characters | "
        + " | ".join(f"R / P @{k}" for k in KS)
        + " | "
        + " | ".join(f"R in {budget}" for budget in BUDGETS)
        + " | doc R@1 | doc R@10 |\n"
        + "|---" * (7 + len(KS) + len(BUDGETS))
        + "|",
        flush=True,
    )
    rows = measure(data, queries, truncated(encoder, data.texts), None, ["MaxSim"], "truncated")
    for max_tokens in options.max_tokens:
        for overlap in options.overlaps:
            last = overlap == options.overlaps[-1]
            splitting = Splitting(max_tokens=max_tokens, overlap=overlap)
            for titles in (None, names) if last else (None,):
                started = time.perf_counter()
                passages = encoder.encode_passages(data.texts, titles=titles, splitting=splitting)
                seconds = time.perf_counter() - started
                setting = f"{max_tokens}, overlap {overlap}" + (", named" if titles else "")
                rankings = [*RANKINGS] if last else ["MaxSim"]
                found = measure(data, queries, passages, titles, rankings, setting)
                rows += [row | {"encoding_seconds": seconds} for row in found]
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
