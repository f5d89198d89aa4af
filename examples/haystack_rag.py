"""Haystack: a pipeline that retrieves, reranks and builds a prompt, saved as YAML and loaded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")  # this example works offline

from haystack import Pipeline
from haystack.components.builders import PromptBuilder

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.integrations.haystack import PocketColbertRanker, PocketColbertRetriever

NOTES = [
    Document("a", "Bees swarm in May when the hive is full.", metadata={"year": 2024}),
    Document("b", "Honey keeps for years in a closed jar.", metadata={"year": 2019}),
    Document("c", "Feed the bees sugar syrup in autumn.", metadata={"year": 2021}),
]
TEMPLATE = "Answer from this:{% for note in notes %}\n{{ note.content }}{% endfor %}\n\n{{ asked }}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "notes.index"
        encoder = Encoder.load()
        config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
        with Index.create(path, config) as index:
            Retriever(encoder, index).add(NOTES)
            index.commit()

        pipeline = Pipeline()
        pipeline.add_component("retriever", PocketColbertRetriever(path, top_k=3))
        pipeline.add_component("ranker", PocketColbertRanker(top_k=2))
        pipeline.add_component("prompt", PromptBuilder(TEMPLATE, required_variables="*"))
        pipeline.connect("retriever.documents", "ranker.documents")
        pipeline.connect("ranker.documents", "prompt.notes")

        allowed = ["pocket_colbert.integrations.haystack"]
        pipeline = Pipeline.loads(pipeline.dumps(), allowed_modules=allowed)
        question = "When do bees swarm?"
        newer = {"field": "meta.year", "operator": ">=", "value": 2020}
        output = pipeline.run(
            {
                "retriever": {"query": question, "filters": newer},
                "ranker": {"query": question},
                "prompt": {"asked": question},
            }
        )
        print(output["prompt"]["prompt"])
        pipeline.close()


if __name__ == "__main__":
    main()
