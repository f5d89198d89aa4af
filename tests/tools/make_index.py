"""Make the golden index of the current format: run once for a format, never again.

python -m tests.tools.make_index

Every later release must read tests/data/index-vN as tests/data/index-vN.json says.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from pocket_colbert import (
    Document,
    EncodedDocument,
    Hit,
    Index,
    IndexConfig,
    Passage,
    SearchParameters,
    Section,
)
from pocket_colbert.storage.manifest import VERSION
from tests.support.arrays import cone_documents
from tests.support.paths import DATA

DIM = 8


def main() -> None:
    """Write tests/data/index-vN, and what is in it and what queries return."""
    rng = np.random.default_rng(2)
    documents = cone_documents(rng, [0, *rng.integers(1, 9, size=11).tolist()], DIM)
    ids = [f"d{n}" for n in range(len(documents))]
    folder = DATA / f"index-v{VERSION}"
    config = IndexConfig(dim=DIM, inverted_file="always", model="0" * 64)
    with Index.create(folder, config, threads=1) as index:
        index.add(
            ids, documents, texts=[f"Text of {i}" for i in ids], titles=["T"] * len(ids),
            metadata=[{"n": n, "tags": ["a", {"b": n / 2}]} for n in range(len(ids))],
            sources=["../docs"] * len(ids),
        )  # fmt: skip
        index.commit()
        index.add(
            ["long", "bare", "gone"],
            [[Passage(0, 4, documents[1]), Passage(5, 13, documents[2], 0.2)], *documents[3:5]],
            texts=["Text in parts", None, "Text"],
        )
        text = "Preface. Rules. More rules."
        sections = (Section(9, ("Rules",)), Section(16, ("Rules", "More rules")))
        parts = [Passage(0, 8, documents[6]), Passage(9, 27, documents[7])]
        document = Document("parted", text, "T", sections=sections)
        whole = Document("spaceless", "東京都にある Straße")
        index.add_documents(
            [
                EncodedDocument(whole, [Passage(0, 13, documents[8], 0.2)]),
                EncodedDocument(document, parts),
            ]
        )
        index.commit()
        index.delete(["gone", "d5"])
        index.commit()
    (folder / "writer.lock").unlink(missing_ok=True)
    query = cone_documents(rng, [3], DIM)[0]
    with Index.load(folder) as loaded:
        expected = {
            "query": query.tolist(),
            "documents": [asdict(document) for document in loaded],
            "passages": {
                document.document_id: [
                    [part.start, part.end, part.embedding.tolist(), part.readable]
                    for part in loaded.passages(document.document_id)
                ]
                for document in loaded
            },
            "searches": [
                {
                    **search,
                    "hits": [
                        [hit.document_id, hit.score] for hit in search_with(loaded, query, search)
                    ],
                }
                for search in SEARCHES
            ],
        }
    (DATA / f"index-v{VERSION}.json").write_text(json.dumps(expected, indent=1) + "\n")


SEARCHES: list[dict[str, Any]] = [
    {"parameters": {"mode": "exact"}, "where": None},
    {"parameters": {"mode": "approximate"}, "where": None},
    {"parameters": {"hybrid": "keywords"}, "where": None},
    {
        "parameters": {"hybrid": "keywords", "word_starts": True},
        "where": None,
        "text": "京都 STRASSEN",
    },
    {"parameters": {"hybrid": "rrf"}, "where": {"n": {"$gt": 6}, "tags.b": {"$lt": 5}}},
]


def search_with(index: Index, query: np.ndarray, search: dict[str, Any]) -> list[Hit]:
    """Return what one of `SEARCHES` finds."""
    parameters = SearchParameters(**search["parameters"])
    return index.search(
        [query],
        4,
        parameters=parameters,
        where=search["where"],
        texts=[search.get("text", "parts of d7")],
    )[0]


if __name__ == "__main__":
    main()
