"""Several indexes are searched as one of all their documents, and become one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from pocket_colbert import (
    Document,
    DuplicateIdError,
    Encoder,
    Index,
    IndexConfig,
    IndexExistsError,
    IndexFormatError,
    InvalidInputError,
    MultiIndex,
    Retriever,
    SearchParameters,
)
from pocket_colbert.cli.commands import main
from pocket_colbert.index.integrity import check_index
from tests.support.arrays import unit_rows
from tests.support.cli import json_lines
from tests.support.collection import CONFIG, DIM, Collection
from tests.support.library import LIBRARY
from tests.support.paths import DATA


@pytest.fixture
def collections(rng: np.random.Generator) -> list[Collection]:
    return [
        Collection(rng, [f"{name}{n}" for n in range(count)])
        for name, count in (("a", 30), ("b", 17), ("c", 1))
    ]


@pytest.fixture
def folders(collections: list[Collection], tmp_path: Path) -> list[Path]:
    return [item.write(tmp_path / f"{n}.index") for n, item in enumerate(collections)]


@pytest.fixture
def joined(folders: list[Path]) -> Iterator[MultiIndex]:
    with MultiIndex.load(folders) as index:
        yield index


def test_it_ranks_as_brute_force_over_all(
    joined: MultiIndex, collections: list[Collection], rng: np.random.Generator
) -> None:
    assert len(joined) == 48 and "b3" in joined and "d0" not in joined
    assert [item.document_id for item in joined] == [n for c in collections for n in c.ids]
    queries = [unit_rows(rng, rows, DIM) for rows in (1, 4, 9, 2, 3, 5)]
    for query, hits in zip(queries, joined.search(queries, 48), strict=True):
        expected = {k: v for item in collections for k, v in item.scores(query).items()}
        assert {hit.document_id for hit in hits} == set(expected)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.document_id], abs=0.02 * len(query))


@pytest.mark.parametrize("hybrid", ["off", "rrf", "weighted", "keywords"])
def test_one_index_made_of_them_answers_the_same(
    joined: MultiIndex, tmp_path: Path, rng: np.random.Generator, hybrid: str
) -> None:
    joined.save(tmp_path / "one")
    assert not check_index(tmp_path / "one")
    options = {
        "parameters": SearchParameters(hybrid=hybrid),  # type: ignore[arg-type]
        "where": {"number": {"$lt": 12}},
        "texts": ["bees on the roof", "capital of france"],
    }
    queries = [unit_rows(rng, 4, DIM) for _ in range(2)]
    with Index.load(tmp_path / "one") as one:
        assert one.search(queries, 20, **options) == joined.search(queries, 20, **options)
        assert list(one) == list(joined)
        for name in ("a0", "b1"):
            for left, right in zip(one.passages(name), joined.passages(name), strict=True):
                assert (left.start, left.end) == (right.start, right.end)
                np.testing.assert_array_equal(left.embedding, right.embedding)


def test_words_are_as_rare_as_in_one_index_of_all(
    joined: MultiIndex, collections: list[Collection]
) -> None:
    whole = Index(DIM, config=CONFIG)
    for item in collections:
        whole.add(item.ids, item.embeddings, texts=item.texts)
    options = {"parameters": SearchParameters(hybrid="keywords"), "texts": ["bees in paris"]}
    nothing = [np.empty((0, DIM), np.float32)]
    found, expected = (item.search(nothing, 48, **options)[0] for item in (joined, whole))
    scores = {hit.document_id: hit.score for hit in expected}
    assert {hit.document_id for hit in found} == set(scores)
    for hit in found:  # only the mean length of a passage is taken index by index
        assert hit.score == pytest.approx(scores[hit.document_id], rel=0.1)
    alone = joined.indexes[2].search(nothing, 1, **options)[0]
    assert not alone or alone[0].score < scores[alone[0].document_id] / 1000


def test_what_was_made_can_be_written_to(joined: MultiIndex, tmp_path: Path) -> None:
    joined.save(tmp_path / "one")
    with Index.load(tmp_path / "one", writable=True) as one:
        assert one.info().segments == 3
        one.delete(["a1", "b1"])
        one.compact()
        assert one.info().segments == 1 and len(one) == 46
    assert not check_index(tmp_path / "one")


def test_what_is_deleted_stays_deleted(folders: list[Path], tmp_path: Path) -> None:
    with Index.load(folders[0], writable=True) as index:
        index.delete([f"a{n}" for n in range(29)])
        index.commit()
    with Index.load(folders[2], writable=True) as index:
        index.delete(["c0"])
        index.commit()
    with MultiIndex.load(folders) as joined:
        assert len(joined) == 18
        joined.save(tmp_path / "one")
    with Index.load(tmp_path / "one") as one:
        assert len(one) == 18 and "a29" in one and "a0" not in one and "c0" not in one
    assert not check_index(tmp_path / "one")


def test_an_id_in_two_indexes_is_an_error_or_the_last_one_counts(
    collections: list[Collection], folders: list[Path], tmp_path: Path, rng: np.random.Generator
) -> None:
    again = Collection(rng, ["a3", "d", "b2"])
    folders.append(again.write(tmp_path / "again.index"))
    with pytest.raises(DuplicateIdError, match="'a3'|'b2'"):
        MultiIndex.load(folders)
    with MultiIndex.load(folders, replacing=True) as joined:
        joined.save(tmp_path / "one")
        with Index.load(tmp_path / "one") as one:
            for index in (joined, one):
                assert len(index) == 49
                assert index.get("a3").text == again.texts[0]
                query = unit_rows(rng, 3, DIM)
                hits = index.search([query], 49)[0]
                assert len({hit.document_id for hit in hits}) == 49
                score = next(hit.score for hit in hits if hit.document_id == "b2")
                assert score == pytest.approx(again.scores(query)["b2"], abs=0.06)
    # A deleted document is in nobody's way.
    for folder, names in ((folders[0], ["a3"]), (folders[1], ["b2"])):
        with Index.load(folder, writable=True) as index:
            index.delete(names)
            index.commit()
    with MultiIndex.load(folders) as joined:
        assert len(joined) == 49


@pytest.mark.parametrize("kind", [str, Path])
def test_one_folder_is_no_list_of_folders(folders: list[Path], kind: type) -> None:
    with pytest.raises(InvalidInputError, match="must be a list of folders"):
        MultiIndex.load(kind(folders[0]))


def test_settings_that_differ_are_named(folders: list[Path], tmp_path: Path) -> None:
    for name, value, shown in (
        ("dim", 8, "dim"), ("codes", "int4", "int8 and int4"), ("keywords", "none", "english"),
    ):  # fmt: skip
        Index.create(tmp_path / name, replace(CONFIG, **{name: value})).close()
        with pytest.raises(InvalidInputError, match=shown):
            MultiIndex.load([folders[0], tmp_path / name])
    for number, model in enumerate(("one" * 20, "other" * 20)):
        Index.create(tmp_path / str(number), replace(CONFIG, model=model)).close()
    with MultiIndex.load([folders[0], tmp_path / "1"]) as joined:
        assert joined.config.model == "other" * 20
    with pytest.raises(InvalidInputError, match="model.*oneoneoneone and otherotherot"):
        MultiIndex.load([tmp_path / "0", folders[0], tmp_path / "1"])
    with pytest.raises(InvalidInputError, match="at least one index"):
        MultiIndex.load([])


def test_a_damaged_part_is_named_and_nothing_is_left(folders: list[Path], tmp_path: Path) -> None:
    with MultiIndex.load(folders) as joined:
        damaged = next((folders[1] / "segments").glob("*/scales.f16"))
        content = bytearray(damaged.read_bytes())
        content[3] ^= 1
        damaged.chmod(0o644)
        damaged.write_bytes(content)
        before = set(tmp_path.iterdir())
        with pytest.raises(IndexFormatError, match=r"scales\.f16 is damaged"):
            joined.save(tmp_path / "one")
        assert set(tmp_path.iterdir()) == before
        with pytest.raises(IndexExistsError):
            joined.save(folders[0])
        (tmp_path / "empty").mkdir()
    with MultiIndex.load(folders[:1]) as joined:
        joined.save(tmp_path / "empty")
        assert len(joined) == len(Index.load(tmp_path / "empty"))


def test_commits_show_after_a_refresh(folders: list[Path], rng: np.random.Generator) -> None:
    with MultiIndex.load(folders) as joined:
        with Index.load(folders[1], writable=True) as index:
            index.add(["new"], [unit_rows(rng, 2, DIM)])
            index.delete(["b0"])
            index.commit()
        assert "new" not in joined and joined.refresh() and not joined.refresh()
        assert "new" in joined and "b0" not in joined and len(joined) == 48
        with Index.load(folders[2], writable=True) as index:
            index.add(["new"], [unit_rows(rng, 2, DIM)])
            index.commit()
        for _ in range(2):  # until it is put right
            with pytest.raises(DuplicateIdError, match="'new'"):
                joined.refresh()
            assert len(joined) == 48  # as before
        with Index.load(folders[1], writable=True) as index:
            index.delete(["new"])
            index.commit()
        generation = joined.generation
        assert joined.refresh() and joined.generation > generation and len(joined) == 48


def test_an_index_in_memory_joins_one_in_a_folder(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = shutil.copytree(DATA / "index-v1", tmp_path / "1")
    with Index.load(folder) as index:
        config, count, names = index.config, len(index), [d.document_id for d in index]
    memory = Index(config.dim, config=replace(config, model=""))
    memory.add(["new"], [unit_rows(rng, 3, config.dim)])
    memory.commit()
    query = [unit_rows(rng, 3, config.dim)]
    with MultiIndex([Index.load(folder), memory]) as joined:
        assert len(joined) == count + 1
        joined.save(folder.with_suffix(".new"))
        with Index.load(folder.with_suffix(".new")) as one:
            assert [d.document_id for d in one] == [*names, "new"]
            left, right = (item.search(query, count + 1)[0] for item in (joined, one))
            scores = {hit.document_id: hit.score for hit in left}
            assert len(right) == len(left) == len(scores)
            for hit in right:
                assert hit.score == pytest.approx(scores[hit.document_id], abs=1e-6)


def test_a_retriever_reads_and_does_not_write(encoder: Encoder, tmp_path: Path) -> None:
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    for number, documents in enumerate((LIBRARY[:2], LIBRARY[2:])):
        with Index.create(tmp_path / str(number), config) as index:
            Retriever(encoder, index).add(documents)
            index.commit()
    with MultiIndex.load([tmp_path / "0", tmp_path / "1"]) as joined:
        retriever = Retriever(encoder, joined)
        for query, expected in (("Where do bees live?", "contract"), ("French capital", "paris")):
            hit = retriever.retrieve([query])[0][0]
            assert hit.document_id == expected
            assert retriever.explain(query, hit).document_id == expected
        with pytest.raises(InvalidInputError, match=r"add needs an Index.*MultiIndex"):
            retriever.add([Document("x", "y")])

    def run(*arguments: object) -> str:
        done = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    search = "search", tmp_path / "0", "Where do bees live?", "--json"
    assert json_lines(run(*search))[0]["document_id"] != "contract"
    assert json_lines(run(*search, "--also", tmp_path / "1"))[0]["document_id"] == "contract"
    made = "merge", tmp_path / "0", tmp_path / "1", "--into", tmp_path / "one"
    assert json.loads(run(*made, "--json"))["documents"] == 4
    again = CliRunner().invoke(main, ["merge", str(tmp_path / "0"), "--into", str(tmp_path / "1")])
    assert again.exit_code == 2 and "already exists" in again.output


def test_sources_follow_into_a_folder_elsewhere(tmp_path: Path, rng: np.random.Generator) -> None:
    """Two indexes beside their documents both say ../docs; what no file name is stays."""
    folders, kept = [], ["s3://bucket/x", "/abs", "wiki", "../a/../b", "..", None]
    for name in "ab":
        folders.append(tmp_path / name / "x.index")
        with Index.create(folders[-1], CONFIG) as index:
            sources = ["../docs", *(kept[:-2] if name == "a" else kept[-2:])]
            ids = [f"{name}{n}" for n in range(len(sources))]
            index.add(ids, [unit_rows(rng, 2, DIM) for _ in ids], sources=sources)
            index.commit()
    places = [tmp_path / "deep" / "er" / name for name in ("one", "saved")]
    with MultiIndex.load(folders) as joined:
        joined.save(places[0])
    with Index.load(folders[0]) as index:
        index.save(places[1])
    expected = {"a0": "../../../a/docs", "b0": "../../../b/docs", "b1": "../../../b", "b2": None}
    expected |= {f"a{n + 1}": source for n, source in enumerate(kept[:-2])}
    for place, names in zip(places, ("ab", "a"), strict=True):
        assert not check_index(place)
        with Index.load(place, verify=True) as made:
            found = {item.document_id: item.source for item in made}
            assert found == {k: v for k, v in expected.items() if k[0] in names}
    memory = Index(DIM, config=CONFIG)
    memory.add(["m"], [unit_rows(rng, 2, DIM)], sources=["../docs"])
    memory.save(tmp_path / "memory")
    with Index.load(tmp_path / "memory") as made:
        assert made.get("m").source == "../docs"
