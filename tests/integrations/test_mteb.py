"""The search in MTEB itself, on tasks whose data is in this file: nothing is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import (
    ClosedError,
    Encoder,
    IndexConfig,
    InvalidInputError,
    Retriever,
    SearchParameters,
)
from pocket_colbert.evaluation.metrics import to_run
from tests.support.library import LIBRARY

pytest.importorskip("mteb", reason="needs the mteb extra")
pytest.importorskip("ir_measures", reason="needs the eval extra")
pytestmark = pytest.mark.filterwarnings("ignore")

import mteb  # noqa: E402
from datasets import Dataset  # noqa: E402
from mteb.abstasks.retrieval import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.models import SearchProtocol  # noqa: E402

from pocket_colbert.evaluation.metrics import compute_metrics, ndcg_per_query  # noqa: E402
from pocket_colbert.integrations.mteb import PocketColbertSearch  # noqa: E402

WORDS = "bees honey hive syrup dough yeast flour oven river bridge castle museum".split()
CORPUS = {
    # The contract, twice, is longer than the model's window.
    **{d.document_id: {"text": 2 * (d.text or ""), "title": d.title or ""} for d in LIBRARY},
    **{
        f"{a}-{b}": {"text": f"A note on {a} and how it goes with {b}.", "title": a.title()}
        for a in WORDS for b in WORDS if a < b
    },
}  # fmt: skip
QUERIES = {
    "q1": "What is the capital of France?",
    "q2": "who keeps bees on the roof?",
    "q3": "flour and yeast in the oven",
    "q4": "a museum in a castle by the river",
}
QRELS = {
    "q1": {"paris": 2, "berlin": 1},
    "q2": {"contract": 1, "bees-roof": 1},
    "q3": {"flour-yeast": 2, "flour-oven": 1, "oven-yeast": 1, "bread": 1},
    "q4": {"castle-museum": 2, "museum-river": 1, "bridge-castle": 1},
}


class Toy(AbsTaskRetrieval):
    """The corpus above."""

    metadata = TaskMetadata(
        name="PocketToyRetrieval", description="Made for a test.", type="Retrieval",
        category="t2t", eval_langs=["eng-Latn"], main_score="ndcg_at_10",
        dataset={"path": "none", "revision": "1"},
    )  # fmt: skip
    top_ranked: dict[str, list[str]] | None = None

    def load_data(self, **options: Any) -> None:
        queries = [{"id": key, "text": text} for key, text in QUERIES.items()]
        split = {
            "corpus": Dataset.from_list([{"id": key, **row} for key, row in CORPUS.items()]),
            "queries": Dataset.from_list(queries),
            "relevant_docs": QRELS,
            "top_ranked": self.top_ranked,
        }
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


class ToyReranking(Toy):
    """The same documents, of which each query may have a few."""

    metadata = Toy.metadata.model_copy(update={"name": "PocketToyReranking", "type": "Reranking"})
    top_ranked = {
        query: sorted({*judged, "berlin", "bread"} & set(CORPUS)) for query, judged in QRELS.items()
    }


@pytest.fixture
def make(encoder: Encoder) -> Iterator[Callable[..., PocketColbertSearch]]:
    """Makes models, and closes them."""
    made: list[PocketColbertSearch] = []

    def model(**settings: Any) -> PocketColbertSearch:
        made.append(PocketColbertSearch(encoder, **settings))
        return made[-1]

    yield model
    for item in made:
        item.close()


def scores_of(model: PocketColbertSearch, task: AbsTaskRetrieval, **options: Any) -> dict[str, Any]:
    """Evaluate a model on one task; return the scores of its only split."""
    result = mteb.evaluate(model, task, cache=None, show_progress_bar=False, **options)
    (score,) = result[0].scores["test"]
    return dict(score)


def retriever_of(model: PocketColbertSearch) -> Retriever:
    return model._retriever


def test_evaluate_gives_what_a_user_gets(make: Callable[..., PocketColbertSearch]) -> None:
    """MTEB's nDCG@10 and recall are ir-measures' on the run that a retriever of users gives."""
    model = make()
    assert isinstance(model, SearchProtocol)
    scores = scores_of(model, Toy())
    index = retriever_of(model).index
    assert index is not None and {document.document_id for document in index} == set(CORPUS)
    assert index.config.codes == IndexConfig(dim=model.encoder.dim).codes
    assert len(index.passages("contract")) > 1, "long documents are split as users' are"
    hits = retriever_of(model).retrieve(list(QUERIES.values()), 1000)
    run = to_run(QUERIES, hits)
    measured = compute_metrics(QRELS, run)
    assert scores["ndcg_at_10"] == pytest.approx(measured["nDCG@10"], abs=1e-5)
    assert scores["recall_at_100"] == pytest.approx(measured["Recall@100"], abs=1e-5)
    assert scores["mrr_at_10"] == pytest.approx(measured["MRR@10"], abs=1e-5)
    assert 0.5 < scores["ndcg_at_10"] < 1, "a task that all or none solve would show nothing"


def test_reranking_scores_the_documents_it_is_given(
    make: Callable[..., PocketColbertSearch], tmp_path: Path
) -> None:
    model = make()
    scores = scores_of(model, ToyReranking(), prediction_folder=tmp_path)
    retriever = retriever_of(model)
    run = {
        query: {
            hit.document_id: hit.score
            for hit in retriever.rerank_ids(QUERIES[query], ToyReranking.top_ranked[query])
        }
        for query in QUERIES
    }
    (written,) = tmp_path.rglob("*.json")
    assert json.loads(written.read_text())["default"]["test"] == run
    wanted = sum(ndcg_per_query(QRELS, run)) / len(QRELS)
    assert scores["ndcg_at_10"] == pytest.approx(wanted, abs=1e-5)


def test_settings_are_used_and_tell_results_apart(
    make: Callable[..., PocketColbertSearch], encoder: Encoder
) -> None:
    plain = make()
    words = make(parameters=SearchParameters(hybrid="keywords"))
    small = make(config=IndexConfig(dim=encoder.dim, codes="int1"))
    assert scores_of(words, Toy())["ndcg_at_10"] != scores_of(plain, Toy())["ndcg_at_10"]
    scores_of(small, Toy())
    index = retriever_of(small).index
    assert index is not None and index.config.codes == "int1"
    names = {model.mteb_model_meta.model_name_with_experiment for model in (plain, words, small)}
    assert len(names) == 3
    meta = plain.mteb_model_meta
    assert (meta.embed_dim, meta.license, meta.model_type) == (
        encoder.dim, "apache-2.0", ["late-interaction"],
    )  # fmt: skip
    assert meta.revision == encoder.card.fingerprint[:12]
    assert meta.similarity_fn_name == "MaxSim" and meta.name == "pocket-colbert/small"


def test_instructions_follow_the_query(make: Callable[..., PocketColbertSearch]) -> None:
    model = make()
    options: dict[str, Any] = {
        "task_metadata": None, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {},
        "num_proc": None,
    }  # fmt: skip
    rows = [{"id": key, **row} for key, row in CORPUS.items()]
    model.index(rows, **options)
    rows = [{"id": "q", "text": "river", "instruction": "Find bridges."}]
    found = model.search(rows, top_k=3, **options)
    (hits,) = retriever_of(model).retrieve(["river Find bridges."], 3)
    assert found == {"q": {hit.document_id: hit.score for hit in hits}}
    for wrong in ({"id": "q", "text": ["a", "b"]}, {"id": "q", "image": b""}):
        with pytest.raises(InvalidInputError, match="query 'q' must be a text"):
            model.search([wrong], top_k=3, **options)
    with pytest.raises(InvalidInputError, match="document 'd' must have a text"):
        model.index([{"id": "d", "image": b""}], **options)
    # The corpus before is gone, and so is everything after close.
    with pytest.raises(InvalidInputError):
        model.search([{"id": "q", "text": "paris"}], top_k=3, **options)
    folder = Path(model._folder)
    assert folder.is_dir()
    model.close()
    assert not folder.exists()
    with pytest.raises(ClosedError, match="is closed"):
        model.index(rows, **options)


def test_wrong_settings_fail_where_they_are_made(encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="config must be for 96 dimensions"):
        PocketColbertSearch(encoder, config=IndexConfig(dim=48))
    with pytest.raises(InvalidInputError, match="owner/name"):
        PocketColbertSearch(encoder, name="small")
