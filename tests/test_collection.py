"""`Collection`: what people have goes in, and answers come out, over a folder that stays."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import (
    ClosedError,
    Collection,
    Document,
    DocumentNotFoundError,
    DuplicateIdError,
    Encoder,
    IndexConfig,
    IndexExistsError,
    IndexLockedError,
    InvalidInputError,
    Results,
)

ROOF = "The landlord repairs the roof."
RENT = "Rent is due on the first of each month."
BEES = "Bees may be kept in the garden."


@pytest.fixture
def notes(tmp_path: Path, encoder: Encoder) -> Iterator[Collection]:
    """A collection of three texts."""
    with Collection(tmp_path / "notes.index", model=encoder) as collection:
        collection.add([ROOF, RENT, BEES], ids=[1, 2, "bees"], metadata={"kind": "rule"})
        yield collection


def test_three_lines_and_once_more(tmp_path: Path) -> None:
    folder = tmp_path / "notes.index"
    notes = Collection(folder)
    assert notes.add([ROOF, RENT]) == 2
    assert notes.search("who mends the roof?")[0].text == ROOF
    notes.close()
    again = Collection(folder)
    assert len(again) == 2
    assert again.search("when must I pay?", k=1)[0].text == RENT
    again.close()
    with pytest.raises(ClosedError, match="closed"):
        again.search("roof")


def test_one_of_anything(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    assert collection.add(ROOF) == 1
    assert collection.add(ROOF) == 0, "the same text has the same id"
    assert collection.add([ROOF, RENT, RENT]) == 1
    assert collection.add({"id": 7, "text": BEES, "title": "Garden", "year": 2020}) == 1
    assert collection.add(Document("d", "A document of its own.")) == 1
    assert collection.get(7) == Document("7", BEES, "Garden", {"year": 2020})
    assert 7 in collection
    assert "7" in collection
    assert 8 not in collection
    assert [document.document_id for document in collection][-2:] == ["7", "d"]


def test_values_become_what_json_has(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    collection.add(
        {
            "text": ROOF,
            "id": np.int64(3),
            "when": date(2020, 5, 1),
            "at": datetime(2020, 5, 1, 12),
            "price": Decimal("1.5"),
            "count": np.int32(4),
            "share": np.float32(0.5),
            "tags": {"b", "a"},
            "pair": (1, 2),
            "vector": np.arange(2),
            "path": Path("a/b"),
            "nothing": None,
            "not_a_number": float("nan"),
            "metadata": {"inner": [date(2021, 1, 1)]},
        }
    )
    assert collection.get("3").metadata == {
        "when": "2020-05-01",
        "at": "2020-05-01T12:00:00",
        "price": 1.5,
        "count": 4,
        "share": 0.5,
        "tags": ["a", "b"],
        "pair": [1, 2],
        "vector": [0, 1],
        "path": "a/b",
        "inner": ["2021-01-01"],
    }
    assert collection.search("roof", where={"when": {"$gte": "2020-01-01"}}).ids == ["3"]


@pytest.mark.parametrize("library", ["list", "pandas", "polars", "pyarrow"])
def test_tables_of_any_library(encoder: Encoder, library: str) -> None:
    rows = {"id": [1, 2], "content": [ROOF, RENT], "title": ["Roof", None], "year": [2020, 2021]}
    if library == "list":
        table: Any = [
            dict(zip(rows, line, strict=True)) for line in zip(*rows.values(), strict=True)
        ]
    else:
        module = pytest.importorskip(library, reason=f"needs {library}")
        table = module.table(rows) if library == "pyarrow" else module.DataFrame(rows)
    collection = Collection(model=encoder)
    assert collection.add(table) == 2
    assert collection.get([1, 2]) == [
        Document("1", ROOF, "Roof", {"year": 2020}),
        Document("2", RENT, None, {"year": 2021}),
    ]
    if library != "list":
        column = table["content"]
        assert Collection(model=encoder).add(column) == 2


def test_columns_can_be_named(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    rows = [{"abstract": ROOF, "doi": "x/1", "name": "Roofs", "text": "not this"}]
    collection.add(rows, text="abstract", id="doi", title="name")
    assert collection.get("x/1") == Document("x/1", ROOF, "Roofs", {"text": "not this"})


@pytest.mark.parametrize(
    ("documents", "options", "message"),
    [
        (7, {}, "documents must be texts"),
        (b"bytes", {}, "documents must be texts"),
        ([ROOF, 7], {}, "document 1 must be a text"),
        ([{"words": ROOF}], {}, "document 0 has no text"),
        ([{"text": ROOF}], {"text": "abstract"}, "no 'abstract'"),
        ([{"text": 7}], {}, "must be a text, got 7"),
        ([ROOF, RENT], {"ids": ["a"]}, "ids must have one item"),
        ([ROOF], {"ids": ["a", "b"]}, "ids must have one item"),
        ([ROOF], {"ids": [1.5]}, "id of document 0"),
        ([ROOF], {"metadata": [7]}, "metadata of document 0 must be a dictionary"),
        ([ROOF], {"metadata": {"x": object()}}, "'x' of document 0"),
        ([{"text": ROOF, "x": b"1"}], {}, "'x' of document 0"),
    ],
)
def test_bad_input_is_named_and_nothing_is_added(
    encoder: Encoder, documents: object, options: dict[str, Any], message: str
) -> None:
    collection = Collection(model=encoder)
    with pytest.raises(InvalidInputError, match=message):
        collection.add(documents, **options)
    assert len(collection) == 0


def test_ids_that_are_there(notes: Collection) -> None:
    with pytest.raises(DuplicateIdError, match="'1' is there already; upsert"):
        notes.add(["new", "other"], ids=[5, 1])
    with pytest.raises(DuplicateIdError, match="given twice"):
        notes.add(["new", "other"], ids=[5, 5])
    assert len(notes) == 3
    assert notes.upsert("Tenants repair the roof.", ids=1) == 1
    assert len(notes) == 3
    assert notes.get(1).text == "Tenants repair the roof."


def test_an_iterator_keeps_what_came_before_it_failed(tmp_path: Path, encoder: Encoder) -> None:
    def rows() -> Iterator[str]:
        for number in range(300):
            yield f"Text number {number}."
        raise RuntimeError("the source failed")

    with Collection(tmp_path / "c", model=encoder) as collection:
        with pytest.raises(RuntimeError):
            collection.add(rows())
        assert len(collection) == 256
    with Collection(tmp_path / "c", model=encoder) as collection:
        assert len(collection) == 256


def test_deleting(notes: Collection) -> None:
    assert notes.delete([1, "none"]) == 1
    assert notes.delete(2) == 1
    for wrong in ({}, {"where": {}}, {"ids": ["a"], "where": {"kind": "rule"}}):
        with pytest.raises(InvalidInputError):
            notes.delete(**wrong)
    assert len(notes) == 1
    assert notes.delete(where={"kind": "rule"}) == 1
    assert len(notes) == 0
    with pytest.raises(DocumentNotFoundError):
        notes.get("bees")


def test_searching(notes: Collection) -> None:
    first, second = notes.search(["who mends the roof?", "honey"], k=2)
    assert (first.ids[0], second.ids[0], len(first)) == ("1", "bees", 2)
    assert notes.search("roof", where={"kind": "other"}) == []
    assert notes.search("roof", hybrid="keywords").ids == ["1"]
    assert notes.search("roof", hybrid=True).ids[0] == "1"
    for wrong in ("", " ", 7):
        with pytest.raises(InvalidInputError):
            notes.search(wrong)  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="hybrid must be"):
        notes.search("roof", hybrid="both")
    with pytest.raises(TypeError):
        notes.search("roof", filter={"kind": "rule"})


def test_results_print_themselves(notes: Collection) -> None:
    notes.add("A <b>roof</b> of straw.\x1b[31m", ids="straw", titles="Straw & co")
    found = notes.search("roof of straw", k=2)
    assert found.snippets[0].startswith("A <b>roof</b>")
    shown = repr(found)
    assert shown.splitlines()[0] == "2 hits for 'roof of straw'"
    assert "Straw & co" in shown
    assert "\x1b" not in shown
    page = found._repr_html_()
    assert "Straw &amp; co" in page
    assert "<b>roof</b>" not in page
    assert "<mark>roof</mark>" in page
    assert "No hits" in repr(Results("x"))
    assert "&lt;" in Results("<")._repr_html_()
    copied = pickle.loads(pickle.dumps(found))
    assert (copied, repr(copied), copied._repr_html_()) == (found, shown, page)
    assert copy.copy(found).ids == found.ids


def test_files_and_folders(tmp_path: Path, encoder: Encoder) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "roof.md").write_text(f"# Roof\n\n{ROOF}\n")
    (folder / "rent.txt").write_text(RENT)
    (folder / "draft.txt").write_text(BEES)
    (folder / "x.bin").write_bytes(bytes(range(256)) * 9)
    with Collection(tmp_path / "c", model=encoder) as collection:
        report = collection.add_files(folder, exclude=["draft*"])
        assert (report.added, report.deleted) == (2, 0)
        assert [Path(item.path).name for item in report.left_out if item.reason == "binary"]
        collection.add(BEES, ids="mine")
        (folder / "rent.txt").unlink()
        (folder / "roof.md").write_text("# Roof\n\nNobody mends it.\n")
        report = collection.add_files([folder], exclude="draft*")
        assert (report.added, report.changed, report.deleted) == (0, 1, 1)
        assert {document.document_id for document in collection} == {"roof.md", "mine"}
        assert sum(collection.sources.values()) == 2
    memory = Collection(model=encoder)
    assert memory.add_files(folder).added == 2


def test_other_collections_see_what_was_added(tmp_path: Path, encoder: Encoder) -> None:
    with (
        Collection(tmp_path / "c", model=encoder) as writer,
        Collection(tmp_path / "c", model=encoder) as reader,
    ):
        writer.add(ROOF, ids="a")
        assert reader.search("roof").ids == ["a"]
        with pytest.raises(IndexLockedError):
            reader.add(RENT)
        writer.close()
        reader.add(RENT, ids="b")
        assert len(reader) == 2


def test_settings_and_models(tmp_path: Path, encoder: Encoder, tiny_model: Path) -> None:
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint, codes="int8")
    Collection(tmp_path / "c", model=encoder, config=config).close()
    with Collection(tmp_path / "c") as again:
        assert again.index.config.codes == "int8"
        assert again.encoder.card.fingerprint == encoder.card.fingerprint
    with pytest.raises(InvalidInputError, match="other settings"):
        Collection(tmp_path / "c", model=encoder, config=IndexConfig(dim=encoder.dim))
    with pytest.raises(InvalidInputError):
        Collection(tmp_path / "c", model=tiny_model)
    Collection(tmp_path / "own", model=tiny_model).close()
    with pytest.raises(InvalidInputError, match="not bundled"):
        Collection(tmp_path / "own")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(IndexExistsError):
        Collection(tmp_path / "file", model=encoder)


def test_threads_and_event_loops(notes: Collection) -> None:
    async def both() -> list[Results]:
        searches = [notes.asearch("roof") for _ in range(5)]
        added = notes.aadd([f"Text {number}" for number in range(20)])
        return (await asyncio.gather(added, *searches))[1:]

    assert {found.ids[0] for found in asyncio.run(both())} == {"1"}
    with ThreadPoolExecutor(4) as pool:
        added = [pool.submit(notes.add, f"Another {number}") for number in range(8)]
        found = [pool.submit(notes.search, "roof") for _ in range(8)]
        assert sum(item.result() for item in added) == 8
        assert {item.result().ids[0] for item in found} == {"1"}
    assert len(notes) == 31
