"""The components in Haystack itself: run, pipelines to YAML and back, filters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Encoder, Index, IndexNotFoundError, InvalidInputError, Retriever
from pocket_colbert.backends import push
from tests.support.library import LIBRARY

pytest.importorskip("haystack", reason="needs the haystack extra")

from haystack import Document, Pipeline  # noqa: E402
from haystack.utils.filters import document_matches_filter  # noqa: E402

from pocket_colbert.integrations.haystack import (  # noqa: E402
    PocketColbertRanker,
    PocketColbertRetriever,
    to_where,
)

QUESTION = "What is the capital of France?"
ALLOWED = ["pocket_colbert.integrations.haystack"]


def test_documents_have_id_text_metadata_and_score(
    library: Retriever, library_folder: Path
) -> None:
    component = PocketColbertRetriever(library_folder, top_k=2)
    found = component.run(QUESTION)["documents"]
    hits = library.retrieve([QUESTION], 2)[0]
    assert [(d.id, d.content, d.score) for d in found] == [
        (h.document_id, h.text, h.score) for h in hits
    ]
    assert found[0].meta["title"] == "France" and found[0].meta["year"] == 987
    assert len(component.run(QUESTION, top_k=1)["documents"]) == 1
    opened = component.retriever
    component.warm_up()
    assert component.retriever is opened
    component.close()
    assert component.retriever is None
    assert component.run(QUESTION)["documents"] == found
    component.close()


def test_a_store_is_as_good_as_an_index(library: Retriever, tmp_path: Path) -> None:
    pytest.importorskip("qdrant_client", reason="needs the 'qdrant' extra")
    assert isinstance(library.index, Index)
    address = f"qdrant://{tmp_path / 'stores'}/library"
    push(library.index, address)
    component = PocketColbertRetriever(address, top_k=2)
    found = [document.id for document in component.run(QUESTION)["documents"]]
    assert found == [hit.document_id for hit in library.retrieve([QUESTION], 2)[0]]
    component.close()


def test_passages_are_documents_of_their_own(library_folder: Path) -> None:
    component = PocketColbertRetriever(library_folder, top_k=1, passages=2)
    first, second = component.run("who pays for the bees on the roof?")["documents"]
    assert first.meta["document_id"] == second.meta["document_id"] == "contract"
    assert "bees on the roof" in (first.content or "") and first.score > second.score
    component.close()


def test_filters_of_component_and_run(library_folder: Path) -> None:
    city = {"field": "meta.kind", "operator": "==", "value": "city"}
    old = {"field": "meta.year", "operator": "<", "value": 1000}
    for policy, expected in (("replace", {"paris"}), ("merge", {"paris"})):
        component = PocketColbertRetriever(library_folder, filters=city, filter_policy=policy)
        ids = {d.id for d in component.run("bees")["documents"]}
        assert ids == {"paris", "berlin"}
        assert {d.id for d in component.run("bees", filters=old)["documents"]} == expected
        legal = {"field": "meta.kind", "operator": "==", "value": "legal"}
        found = {d.id for d in component.run("bees", filters=legal)["documents"]}
        assert found == ({"contract"} if policy == "replace" else set())
        component.close()


@pytest.mark.parametrize("model", ["small", "folder"])
def test_pipelines_come_back_from_yaml(library_folder: Path, model: str, encoder: Encoder) -> None:
    if model == "folder":
        from pocket_colbert.model.folder import load_model_files

        model = str(load_model_files("small").graph.parent)
    pipeline = Pipeline()
    pipeline.add_component(
        "retriever",
        PocketColbertRetriever(
            library_folder, model=model, top_k=3, hybrid="weighted", filter_policy="merge",
            filters={"field": "meta.kind", "operator": "in", "value": ["city", "recipe"]},
        ),
    )  # fmt: skip
    pipeline.add_component("ranker", PocketColbertRanker(model=model, top_k=2))
    pipeline.connect("retriever.documents", "ranker.documents")
    text = pipeline.dumps()
    again = Pipeline.loads(text, allowed_modules=ALLOWED)
    assert again.dumps() == text and again.to_dict() == pipeline.to_dict()
    asked = {"retriever": {"query": "dough"}, "ranker": {"query": "dough"}}
    found = again.run(asked)["ranker"]["documents"]
    assert found[0].id == "bread" and len(found) == 2
    assert found == pipeline.run(asked)["ranker"]["documents"]
    pipeline.close()
    again.close()


def test_components_can_be_written_before_there_is_an_index(tmp_path: Path) -> None:
    component = PocketColbertRetriever(tmp_path / "none.index")
    data = component.to_dict()
    assert data["init_parameters"]["index"] == str(tmp_path / "none.index")
    assert PocketColbertRetriever.from_dict(data).to_dict() == data
    with pytest.raises(IndexNotFoundError):
        component.run("x")


def test_wrong_settings_fail_where_they_are_made(library_folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="k must be a whole number >= 1, got 0"):
        PocketColbertRetriever(library_folder, top_k=0)
    with pytest.raises(InvalidInputError, match="hybrid must be"):
        PocketColbertRetriever(library_folder, hybrid="both")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="must be id or meta.NAME, got 'content'"):
        PocketColbertRetriever(
            library_folder, filters={"field": "content", "operator": "==", "value": "x"}
        )
    with pytest.raises(InvalidInputError, match="k must be"):
        PocketColbertRanker(top_k=0)


def test_retriever_leaves_the_loop_free(
    library_folder: Path, beside_the_loop: Callable[..., Any]
) -> None:
    component = PocketColbertRetriever(library_folder, top_k=1)
    found = beside_the_loop(lambda: component.run_async(QUESTION))
    assert [d.id for d in found["documents"]] == ["paris"]
    component.close()


def test_ranker_orders_copies(encoder: Encoder) -> None:
    given = [Document(id=d.document_id, content=d.text, score=0.5) for d in LIBRARY]
    ranker = PocketColbertRanker(top_k=2)
    found = ranker.run("kneading dough", [*given, Document(id="bread", content="Later")])
    texts = [d.text or "" for d in LIBRARY]
    expected = Retriever(encoder).rerank("kneading dough", texts, 4)
    assert [d.score for d in found["documents"]] == [h.score for h in expected[:2]]
    assert found["documents"][0].id == "bread" and {d.score for d in given} == {0.5}
    everything = ranker.run("kneading dough", [*given, *given], top_k=9)["documents"]
    assert [d.id for d in everything] == [LIBRARY[int(h.document_id)].document_id for h in expected]
    assert ranker.run("x", []) == {"documents": []}


def test_documents_without_text_come_last() -> None:
    given = [
        Document(id="none", score=0.9), Document(id="blank", content=" \n", score=0.8),
        Document(id="bread", content="Knead the dough."), Document(id="bees", content="Bees."),
    ]  # fmt: skip
    ranker = PocketColbertRanker()
    found = ranker.run("kneading dough", given)["documents"]
    assert [d.id for d in found] == ["bread", "bees", "none", "blank"]
    assert found[0].score > found[1].score and found[2].score is found[3].score is None
    assert [d.id for d in ranker.run("x", given[:2], top_k=1)["documents"]] == ["none"]
    assert len(ranker.run("dough", given, top_k=3)["documents"]) == 3


def test_attributes_that_are_set_later_count(library_folder: Path) -> None:
    component = PocketColbertRetriever(library_folder)
    component.filters = {"field": "meta.kind", "operator": "==", "value": "city"}
    component.hybrid, component.top_k = "keywords", 1
    assert [d.id for d in component.run("capital Germany")["documents"]] == ["berlin"]
    component.hybrid, component.passages = "off", 1
    assert component.run("Germany")["documents"][0].id.startswith("berlin:")
    component.close()


@pytest.mark.parametrize("filters", [[], "", 0, ["x"]], ids=repr)
def test_filters_that_are_none_are_refused(library_folder: Path, filters: Any) -> None:
    with pytest.raises(InvalidInputError, match="Haystack filters must be an object"):
        PocketColbertRetriever(library_folder, filters=filters)
    component = PocketColbertRetriever(library_folder)
    with pytest.raises(InvalidInputError, match="Haystack filters must be an object"):
        component.run("x", filters=filters)


def test_ranker_leaves_the_loop_free(beside_the_loop: Callable[..., Any]) -> None:
    ranker = PocketColbertRanker()
    ranker.warm_up()
    given = [Document(content="Knead the dough.")]
    found = beside_the_loop(lambda: ranker.run_async("bread", given))
    assert [d.content for d in found["documents"]] == ["Knead the dough."]


def comparison(field: str, operator: str, value: Any) -> dict[str, Any]:
    return {"field": field, "operator": operator, "value": value}


YEAR = comparison("meta.year", ">", 1000)
CITY = comparison("meta.kind", "==", "city")


@pytest.mark.parametrize(
    "filters",
    [
        *(comparison("meta.year", operator, 987) for operator in ("==", "!=", ">", ">=")),
        *(comparison("meta.year", operator, 987) for operator in ("<", "<=")),
        comparison("meta.kind", "in", ["city", "legal"]),
        comparison("meta.kind", "not in", ["city", "legal"]),
        comparison("kind", "==", "recipe"),
        comparison("meta.author.name", "!=", "Ann"),
        comparison("meta.year", "==", None),
        comparison("meta.year", "!=", None),
        comparison("id", "==", "bread"),
        comparison("id", "in", ["bread", "paris", "unknown"]),
        {"operator": "AND", "conditions": [YEAR, CITY]},
        {"operator": "OR", "conditions": [YEAR, comparison("meta.kind", "==", "legal")]},
        {"operator": "NOT", "conditions": [YEAR, CITY]},
        {"operator": "NOT", "conditions": [{"operator": "OR", "conditions": [YEAR, CITY]}]},
    ],
    ids=str,
)  # fmt: skip
def test_filters_mean_what_they_mean_in_haystack(
    library: Retriever, filters: dict[str, Any]
) -> None:
    expected = {
        d.document_id
        for d in LIBRARY
        if document_matches_filter(filters, Document(id=d.document_id, meta=dict(d.metadata)))
    }
    hits = library.retrieve(["anything"], where=to_where(filters))[0]
    assert {hit.document_id for hit in hits} == expected


@pytest.mark.parametrize(
    "filters",
    [
        [], {}, {"operator": "XOR", "conditions": []}, {"operator": "AND"},
        {"field": "meta.a", "operator": "~", "value": 1}, {"field": "meta.a", "operator": "=="},
        {"field": 1, "operator": "==", "value": 1}, {"operator": "AND", "conditions": [1]},
        {"field": "score", "operator": ">", "value": 1}, {"operator": ["AND"], "conditions": []},
        {"field": "meta.a", "operator": ["=="], "value": 1},
        {"field": "meta.a", "operator": "==", "value": 1, "conditions": []},
        {"operator": "AND", "conditions": [], "filters": []},
    ],
    ids=str,
)  # fmt: skip
def test_other_filters_are_refused(filters: Any) -> None:
    with pytest.raises(InvalidInputError):
        to_where(filters)
