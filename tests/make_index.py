"""Make the committed index of the current format: run once for a format, never again.

python -m tests.make_index
"""

from __future__ import annotations

import json

import numpy as np

from pocket_colbert import Index, IndexConfig, SearchParameters
from pocket_colbert.manifest import VERSION
from tests.conftest import DATA, cone_documents


def main() -> None:
    """Write tests/data/index-vN and what a query finds in it."""
    rng = np.random.default_rng(2)
    documents = cone_documents(rng, [0, *rng.integers(1, 9, size=11).tolist()], 8)
    index = Index(8, config=IndexConfig(dim=8, inverted_file="always"))
    ids = [f"d{n}" for n in range(len(documents))]
    index.add(
        ids, documents, texts=[f"Text of {i}" for i in ids], titles=["T"] * len(ids),
        metadata=[{"n": n} for n in range(len(ids))],
    )  # fmt: skip
    index.save(DATA / f"index-v{VERSION}")
    query = cone_documents(rng, [3], 8)[0]
    with Index.load(DATA / f"index-v{VERSION}") as loaded:
        hits = loaded.search([query], 3, parameters=SearchParameters(mode="exact"))[0]
    found = {"query": query.tolist(), "hits": [[hit.document_id, hit.score] for hit in hits]}
    (DATA / f"index-v{VERSION}.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
