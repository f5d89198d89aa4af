"""The arithmetic of the capacity page, and the collections that it is measured on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import Passage
from tests.support.arrays import documents_of

ROOT = Path(__file__).parents[2]
fitting = pytest.importorskip("benchmarks.harness.capacity_fit", reason="needs benchmarks/")
synthetic = pytest.importorskip("benchmarks.harness.synthetic", reason="needs benchmarks/")
worker = pytest.importorskip("benchmarks.harness.capacity_worker", reason="needs benchmarks/")


@pytest.mark.parametrize("fixed", [0.5, 120.0, 3e8])
@pytest.mark.parametrize("each", [1e-6, 2.0, 20_000.0])
def test_a_line_separates_what_no_document_costs_from_what_each_does(
    fixed: float, each: float
) -> None:
    sizes = [1000, 2000, 4000]
    line = fitting.fit(sizes, [fixed + each * size for size in sizes])
    assert line.fixed == pytest.approx(fixed, rel=1e-6, abs=1e-6 * each * 4000)
    assert line.per_million == pytest.approx(1e6 * each, rel=1e-4, abs=1e-6 * fixed * 1e3)
    assert line.residual < 1e-9
    assert line.largest == 4000


def test_the_residual_is_the_largest_share_by_which_the_line_misses_a_measurement() -> None:
    sizes, values = [1000, 2000, 4000], [10.0, 30.0, 40.0]
    line = fitting.fit(sizes, values)
    misses = [
        abs(line.fixed + line.per_document * size - value) / value
        for size, value in zip(sizes, values, strict=True)
    ]
    assert line.residual == pytest.approx(max(misses))
    assert line.residual > 0.1


@pytest.mark.parametrize(
    ("sizes", "values"),
    [([1000], [1.0]), ([1000, 1000], [1.0, 2.0]), ([1000, 2000], [0.0, 1.0]), ([1, 2], [1.0])],
)
def test_no_line_is_drawn_where_there_is_none(sizes: list[int], values: list[float]) -> None:
    with pytest.raises(ValueError, match="got"):
        fitting.fit(sizes, values)


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (20, "20"), (0.01234, "0.0123"), (12.345, "12.3"), (1234567.8, "1 234 568"),
     (-0.5, "-0.500"), (1.2345e-7, "1.2e-07"), (float("inf"), "any")],
)  # fmt: skip
def test_numbers_have_three_digits_or_all_before_the_point(value: float, written: str) -> None:
    assert fitting.short(value) == written


def results_of(each_ms: float = 1e-3) -> dict[str, object]:
    """Results in which a document of the default path takes 900 bytes on disk and `each_ms`."""
    points = [
        {"documents": n, "disk_bytes": 900.0 * n, "private_bytes": 5e7 + 100.0 * n,
         "build_seconds": 1e-3 * n, "ms_one": 10 + 2 * each_ms * n, "ms_all": 5 + each_ms * n,
         "queries": 5}
        for n in (1000, 2000, 4000)
    ]  # fmt: skip
    return {
        "cores": 2, "collection": {
            "dim": 100, "passages_per_document": 2.0, "tokens_per_passage": 50.0},
        "encoding": {"documents_per_second_one_core": 100.0},
        "paths": [{"name": fitting.DEFAULT_PATH, "points": points}],
    }  # fmt: skip


def test_a_billion_passages_are_computed_from_what_a_document_adds_alone() -> None:
    """500 million documents: 450 GB on disk, 500 s of 2 cores a query."""
    (row,) = fitting.billion(results_of()).splitlines()[2:]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:5] == ["0.450", "2", "1 000", "7.81"]
    text = fitting.worked(results_of())
    for part in ("500 million", "1 000 core-seconds", "57.9 core-days", "10 TB", "157"):
        assert part in text, part


@pytest.mark.parametrize(
    ("each_ms", "wanted"), [(1.0, "9.9e-04 (time)"), (1e-9, "7.11 (memory)"), (0, "7.11 (memory)")]
)
def test_a_machine_holds_what_both_memory_and_time_allow(each_ms: float, wanted: str) -> None:
    (row,) = fitting.holding(results_of(each_ms)).splitlines()[2:]
    assert row.split("|")[2].strip() == wanted


def test_pages_take_the_tables_between_marks_and_nothing_else_changes() -> None:
    page = "before\n<!-- capacity: billion -->\nold\n<!-- /capacity -->\nafter\n"
    once = fitting.with_blocks(page, results_of())
    assert "old" not in once and "1 billion passages" in once
    assert once.startswith("before\n<!-- capacity: billion -->\n")
    assert once.endswith("\n<!-- /capacity -->\nafter\n")
    assert fitting.with_blocks(once, results_of()) == once
    with pytest.raises(KeyError, match="trillion"):
        fitting.with_blocks(page.replace("billion", "trillion"), results_of())


@pytest.mark.parametrize("page", ["docs/capacity.md", "benchmarks/README.md"])
def test_the_tables_of_the_pages_are_those_of_the_results(page: str) -> None:
    path = ROOT / "benchmarks" / "results" / "capacity.json"
    results = json.loads(path.read_text())["results"]
    text = (ROOT / page).read_text(encoding="utf-8")
    assert "<!-- capacity: " in text
    assert fitting.with_blocks(text, results) == text


def small_documents(rng: np.random.Generator, lengths: list[tuple[int, int]]) -> list[object]:
    """Real documents of two passages each, whose texts are their numbers."""
    pairs = [documents_of(rng, list(pair), 8) for pair in lengths]
    return [
        synthetic.Real(f"text {n}", None, [Passage(0, 3, a), Passage(3, 6, b)])
        for n, (a, b) in enumerate(pairs)
    ]


def test_a_collection_is_the_real_documents_and_then_some_that_resemble_them(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    real = small_documents(rng, [(5, 3), (9, 1)])
    synthetic.write_collection(tmp_path / "collection", real, 300)
    (first,) = synthetic.read_collection(tmp_path / "collection", 0, 2)
    for found, document in zip(first.passages, real, strict=True):
        for item, wanted in zip(found, document.passages, strict=True):
            np.testing.assert_allclose(item.embedding, wanted.embedding, atol=1e-3)
            assert (item.start, item.end) == (wanted.start, wanted.end)
    whole = list(synthetic.read_collection(tmp_path / "collection", 0, 300))
    assert [name for batch in whole for name in batch.ids] == [f"document-{n}" for n in range(300)]
    lengths = {text.text: [len(p.embedding) for p in text.passages] for text in real}
    moved = 0
    for batch in whole:
        for text, found in zip(batch.texts, batch.passages, strict=True):
            assert [len(item.embedding) for item in found] == lengths[text]
            for item in found:
                norms = np.linalg.norm(item.embedding, axis=1)
                np.testing.assert_allclose(norms, 1, atol=2e-3)
            model = real[int(text.split()[1])].passages[0].embedding
            moved += not np.allclose(found[0].embedding, model, atol=1e-3)
    assert moved == 298
    (later,) = synthetic.read_collection(tmp_path / "collection", 257, 300)
    flat = [item for batch in whole for item in batch.passages]
    for found, wanted in zip(later.passages, flat[257:], strict=True):
        for item, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(item.embedding, other.embedding)


def test_joined_parts_and_an_index_that_grew_in_steps_find_the_same(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    real = small_documents(rng, [(5, 3), (9, 2), (4, 4)])
    synthetic.write_collection(tmp_path / "collection", real, 60)
    np.savez(tmp_path / "queries.npz", *documents_of(rng, [4, 6, 5], 8))
    order = worker.Order(
        "build", "index", str(tmp_path / "index"), str(tmp_path / "collection"), 0, 20, 1,
        str(tmp_path / "queries.npz"), 60.0,
    )  # fmt: skip
    joined = replace(order, family="joined", place=str(tmp_path / "joined"), part=20)
    for step in (order, replace(order, first=20, last=60), joined):
        assert worker.build(step)["build_seconds"] > 0
    worker.build(replace(joined, first=20, last=60))
    found = [worker.search(replace(item, last=60)) for item in (order, joined)]
    names = {f"document-{n}" for n in range(60)}
    for answer in found:
        assert answer["ms"] > 0 and len(answer["hits"]) == 3
        assert all(len(hits) == 10 and set(hits) <= names for hits in answer["hits"])
    # Their codes are fitted to different documents, so near ties may change places.
    for one, other in zip(found[0]["hits"], found[1]["hits"], strict=True):
        assert len(set(one) & set(other)) >= 8
    fewer = worker.search(replace(joined, last=20))["hits"]
    assert {name for hits in fewer for name in hits} <= {f"document-{n}" for n in range(20)}
