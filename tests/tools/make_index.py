"""Make the committed index of the current format: run once for a format, never again.

python -m tests.tools.make_index
"""

from __future__ import annotations

import json

import numpy as np

from pocket_colbert import Index, IndexConfig, Passage, SearchParameters
from pocket_colbert.storage.manifest import VERSION
from tests.support.arrays import cone_documents
from tests.support.paths import DATA


def main() -> None:
    """Write tests/data/index-vN and what a query finds in it."""
    rng = np.random.default_rng(2)
    documents = cone_documents(rng, [0, *rng.integers(1, 9, size=11).tolist()], 8)
    ids = [f"d{n}" for n in range(len(documents))]
    texts = [f"Text of {i}" for i in ids]
    folder = DATA / f"index-v{VERSION}"
    config = IndexConfig(dim=8, inverted_file="always")
    with Index.create(folder, config, threads=1) as index:
        index.add(
            ids, documents, texts=texts, titles=["T"] * len(ids),
            metadata=[{"n": n} for n in range(len(ids))],
        )  # fmt: skip
        index.add(
            ["long", "gone"],
            [[Passage(0, 4, documents[1]), Passage(5, 12, documents[2])], documents[3]],
            texts=["Text in parts", "Text"],
        )
        index.commit()
        index.delete(["gone"])
        index.commit()
    (folder / "writer.lock").unlink()
    query = cone_documents(rng, [3], 8)[0]
    with Index.load(folder) as loaded:
        hits = loaded.search([query], 3, parameters=SearchParameters(mode="exact"))[0]
    found = {"query": query.tolist(), "hits": [[hit.document_id, hit.score] for hit in hits]}
    (DATA / f"index-v{VERSION}.json").write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
