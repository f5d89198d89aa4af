"""Encode a retrieval set once, for the benchmarks that compare how vectors are stored and searched.

    python -m benchmarks.harness.vectors DATA/scifact --model FOLDER --into VECTORS/scifact

The folder gets tokens.npy (total_tokens, dim) float32, offsets.npy (num_documents + 1,) int64,
token_ids.npy (total_tokens,) int32, query_tokens.npy, query_offsets.npy, and names.json with ids
and judgements. Nothing is pruned.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert import Encoder
from pocket_colbert.evaluation.beir import read_beir
from pocket_colbert.ingest.readers import text_to_encode


@dataclass(frozen=True)
class Vectors:
    """A set's token vectors, memory-mapped, with its judgements."""

    name: str
    tokens: NDArray[np.float32]
    offsets: NDArray[np.int64]
    queries: list[NDArray[np.float32]]
    document_ids: list[str]
    query_ids: list[str]
    qrels: dict[str, dict[str, int]]

    @classmethod
    def load(cls, folder: Path) -> Vectors:
        """Open a folder that `main` wrote."""
        names = json.loads((folder / "names.json").read_text())
        queries = np.load(folder / "query_tokens.npy")
        bounds = np.load(folder / "query_offsets.npy")
        return cls(
            folder.name,
            np.load(folder / "tokens.npy", mmap_mode="r"),
            np.load(folder / "offsets.npy"),
            [queries[a:b] for a, b in zip(bounds, bounds[1:], strict=False)],
            names["documents"],
            names["queries"],
            names["qrels"],
        )

    def document(self, number: int) -> NDArray[np.float32]:
        """Return the token vectors of a document."""
        return self.tokens[self.offsets[number] : self.offsets[number + 1]]

    def sample(self, count: int) -> list[int]:
        """Return the numbers of `count` queries, spread evenly."""
        every = np.linspace(0, len(self.queries) - 1, min(count, len(self.queries)))
        return [int(n) for n in every]


def main() -> None:
    """Encode and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--split", default=None)
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args()
    data = read_beir(options.dataset, options.split)
    encoder = Encoder.load(options.model) if options.model else Encoder.load()
    texts = [text_to_encode(document) for document in data.documents]
    started = time.perf_counter()
    documents = encoder.encode_document(texts)
    seconds = time.perf_counter() - started
    queries = encoder.encode_query(list(data.queries.values()))
    options.into.mkdir(parents=True, exist_ok=True)
    for prefix, arrays in (("", documents), ("query_", queries)):
        np.save(options.into / f"{prefix}tokens.npy", np.concatenate(arrays))
        offsets = np.cumsum([0, *(len(array) for array in arrays)])
        np.save(options.into / f"{prefix}offsets.npy", offsets)
    token_ids = np.concatenate(encoder.document_token_ids(texts))
    np.save(options.into / "token_ids.npy", token_ids.astype(np.int32))
    names = {
        "documents": [document.document_id for document in data.documents],
        "queries": list(data.queries),
        "qrels": data.qrels,
    }
    (options.into / "names.json").write_text(json.dumps(names))
    print(f"{options.into}: {len(texts)} documents, {len(token_ids)} tokens, {seconds:.0f} s")


if __name__ == "__main__":
    main()
