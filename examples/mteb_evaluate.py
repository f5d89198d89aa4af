"""MTEB: evaluate model, index and search on your own task, or on MTEB's tasks by name.

python examples/mteb_evaluate.py                     # the task below, offline
python examples/mteb_evaluate.py SciFact NFCorpus    # downloaded from the hub
"""

from __future__ import annotations

import sys

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.task_metadata import TaskMetadata

from pocket_colbert import Encoder
from pocket_colbert.integrations.mteb import PocketColbertSearch

NOTES = {
    "swarm": "Bees swarm in May when the hive is full.",
    "honey": "Honey keeps for years in a closed jar.",
    "syrup": "Feed the bees sugar syrup in autumn.",
}
QUESTIONS = {"when": ("When do bees swarm?", "swarm"), "long": ("Does honey spoil?", "honey")}


class Bees(AbsTaskRetrieval):
    """A retrieval task over the notes above."""

    metadata = TaskMetadata(
        name="Bees", description="Questions on bees.", type="Retrieval", category="t2t",
        eval_langs=["eng-Latn"], main_score="ndcg_at_10",
        dataset={"path": "bees", "revision": "1"},
    )  # fmt: skip

    def load_data(self, **options: object) -> None:
        """Set the data, which mteb would otherwise download from the hub."""
        corpus = [{"id": key, "text": text, "title": ""} for key, text in NOTES.items()]
        queries = [{"id": key, "text": text} for key, (text, _) in QUESTIONS.items()]
        self.dataset = {
            "default": {
                "test": {
                    "corpus": Dataset.from_list(corpus),
                    "queries": Dataset.from_list(queries),
                    "relevant_docs": {key: {note: 1} for key, (_, note) in QUESTIONS.items()},
                    "top_ranked": None,
                }
            }
        }
        self.data_loaded = True


def main() -> None:
    tasks = mteb.get_tasks(tasks=sys.argv[1:]) if sys.argv[1:] else [Bees()]
    model = PocketColbertSearch(Encoder.load())
    for result in mteb.evaluate(model, tasks, cache=None, show_progress_bar=False):
        for split, scores in result.scores.items():
            for score in scores:
                print(result.task_name, split, score["hf_subset"], f"{score['ndcg_at_10']:.3f}")
    model.close()


if __name__ == "__main__":
    main()
