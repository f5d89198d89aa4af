"""rerankers: rerank texts through the interface it offers for many models."""

from __future__ import annotations

from rerankers import Reranker

import pocket_colbert.integrations.rerankers  # noqa: F401 - registers the model type

NOTES = {
    "a": "Bees swarm in May when the hive is full.",
    "b": "Honey keeps for years in a closed jar.",
    "c": "Feed the bees sugar syrup in autumn.",
}


def main() -> None:
    ranker = Reranker("small", model_type="pocket-colbert", verbose=0)
    ranked = ranker.rank("How long does honey keep?", list(NOTES.values()), doc_ids=list(NOTES))
    for result in ranked.top_k(2):
        print(result.doc_id, round(result.score, 2), result.text)


if __name__ == "__main__":
    main()
