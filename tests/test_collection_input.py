"""What people have - rows, columns, dates, ids of other libraries - goes into a `Collection`."""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from pocket_colbert import Collection, Document, Encoder, InvalidInputError

ROOF = "The landlord repairs the roof."
RENT = "Rent is due on the first of each month."
Row = namedtuple("Row", ["id", "text", "year"])


@dataclass
class Note:
    """A row as programs have it."""

    id: int
    text: str
    year: int


def of_sqlite(row: tuple[int, str, int]) -> sqlite3.Row:
    """Return a row as a database gives it."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    connection.execute("create table notes (id, text, year)")
    connection.execute("insert into notes values (?, ?, ?)", row)
    found = connection.execute("select * from notes").fetchone()
    connection.close()
    return found  # type: ignore[no-any-return]


def of_pandas(row: tuple[int, str, int]) -> Any:
    """Return a row as `iterrows` gives it."""
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    return pandas.DataFrame([row], columns=["id", "text", "year"]).iloc[0]


def of_pydantic(row: tuple[int, str, int]) -> Any:
    """Return a model of pydantic."""
    pydantic = pytest.importorskip("pydantic", reason="needs pydantic")
    model = pydantic.create_model("Row", id=(int, ...), text=(str, ...), year=(int, ...))
    return model(**dict(zip(["id", "text", "year"], row, strict=True)))


@pytest.mark.parametrize(
    "make",
    [lambda row: Row(*row), lambda row: Note(*row), of_sqlite, of_pandas, of_pydantic],
    ids=["namedtuple", "dataclass", "sqlite3", "pandas", "pydantic"],
)
def test_rows_with_named_fields(
    encoder: Encoder, make: Callable[[tuple[int, str, int]], Any]
) -> None:
    collection = Collection(model=encoder)
    assert collection.add(make((1, ROOF, 2020))) == 1
    assert collection.add([make((2, RENT, 2021))]) == 1
    assert list(collection) == [
        Document("1", ROOF, None, {"year": 2020}), Document("2", RENT, None, {"year": 2021}),
    ]  # fmt: skip


def test_hits_go_into_another_collection(encoder: Encoder) -> None:
    collection, other = Collection(model=encoder), Collection(model=encoder)
    collection.add([ROOF, RENT], ids=[1, 2], titles=["Roof", None], metadata={"year": 2020})
    assert other.add(collection.search("roof", k=1)) == 1
    assert list(other) == [Document("1", ROOF, "Roof", {"year": 2020})]


def test_tables_with_an_index_and_lazy_ones(encoder: Encoder) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    frame = pandas.DataFrame({"id": ["a", "b"], "text": [ROOF, RENT]})
    collection = Collection(model=encoder)
    collection.add(frame.set_index("id"))
    assert [item.document_id for item in collection] == ["a", "b"]
    by_name = pandas.Series([ROOF, RENT], index=["a", "b"])  # a column, whatever its rows' names
    assert Collection(model=encoder).add(by_name) == 2
    polars = pytest.importorskip("polars", reason="needs polars")
    lazy = Collection(model=encoder)
    assert lazy.add(polars.LazyFrame({"id": [1, 2], "text": [ROOF, RENT]})) == 2
    assert lazy.get(2).text == RENT


def test_metadata_of_a_table_and_without(encoder: Encoder) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    collection = Collection(model=encoder)
    frame = pandas.DataFrame({"year": [2020, None], "tags": [["a"], None]})
    collection.add([ROOF, RENT], ids=range(2), metadata=frame)
    assert [item.metadata for item in collection] == [{"year": 2020.0, "tags": ["a"]}, {}]
    collection.add(["One text.", "Another."], ids=["x", "y"], metadata=[None, {"z": 1}])
    assert [item.metadata for item in collection.get(["x", "y"])] == [{}, {"z": 1}]


def test_what_has_only_a_title_is_found_by_it(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    nothing = float("nan")
    collection.add(
        [{"text": nothing, "title": "Repairs of the roof"}, {"text": RENT, "title": nothing}]
    )
    found = collection.search("who mends the roof?", k=1)
    assert (found[0].text, found[0].title) == (None, "Repairs of the roof")
    assert "Repairs of the roof" in repr(found) and "Repairs" in found.to_html()
    assert found.snippets == [""]
    with pytest.raises(InvalidInputError, match="document 1 has neither a text .*dropna"):
        collection.add([{"text": ROOF}, {"text": None, "title": None}])
    with pytest.raises(InvalidInputError, match="document 1 must be a text.*leave out"):
        collection.add([ROOF, None])
    with pytest.raises(InvalidInputError, match="add_files reads"):
        collection.add(Path("notes.md"))


class Kind(Enum):
    """A kind of rule."""

    RULE = "rule"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (timedelta(hours=1), 3600.0),
        (Kind.RULE, "rule"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("2"), 2),
        (np.datetime64("2020-05-01T10:00:00.123456789"), "2020-05-01T10:00:00.123456"),
        (np.datetime64("2020-05-01"), "2020-05-01"),
        (np.array(["2020-05-01"], "datetime64[ns]"), ["2020-05-01T00:00:00"]),
        (np.timedelta64(90, "s"), 90.0),
        ([1, float("nan"), None], [1, None, None]),
        (np.array([1.5, np.nan]), [1.5, None]),
        (np.bool_(True), True),
        ({"from": date(2020, 5, 1), 7: {1}}, {"from": "2020-05-01", "7": [1]}),
    ],
    ids=str,
)
def test_values_of_metadata(encoder: Encoder, value: Any, expected: Any) -> None:
    collection = Collection(model=encoder)
    collection.add({"text": ROOF, "id": "a", "value": value})
    assert collection.get("a").metadata == {"value": expected}


@pytest.mark.parametrize(
    "nothing",
    [None, float("nan"), np.float64("nan"), np.datetime64("NaT"), Decimal("NaN")],
    ids=str,
)
def test_what_a_table_has_for_nothing_is_left_out(encoder: Encoder, nothing: Any) -> None:
    collection = Collection(model=encoder)
    collection.add({"text": ROOF, "id": nothing, "title": nothing, "value": nothing})
    (document,) = collection
    assert (document.title, document.metadata) == (None, {})
    assert collection.add(ROOF) == 0, "its id was made from its text"


def test_filters_take_the_same_values(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    days = [date(2020, 5, 1), date(2021, 5, 1)]
    rows = zip([ROOF, RENT], days, ["a", "b"], strict=True)
    collection.add([{"text": text, "day": day, "tag": tag} for text, day, tag in rows], ids=[1, 2])
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    for where in (
        {"day": {"$gte": date(2021, 1, 1)}},
        {"day": {"$gte": pandas.Timestamp("2021-01-01")}},
        {"day": {"$gt": np.datetime64("2020-12-31")}},
        {"$or": [{"day": days[1]}, {"tag": np.str_("c")}]},
        {"tag": {"$in": {"b", "c"}}},
        {"tag": {"$in": np.array(["b"])}},
    ):
        assert collection.search("anything", where=where).ids == ["2"], where
    with pytest.raises(InvalidInputError, match="'day' of where"):
        collection.search("anything", where={"day": object()})
    assert collection.delete(where={"day": {"$lt": date(2021, 1, 1)}}) == 1


def test_queries_and_numbers_of_other_libraries(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    collection.add([ROOF, RENT], ids=np.arange(2))
    for queries in (
        np.array(["who mends the roof?", "rent"]),
        (query for query in ["who mends the roof?", "rent"]),
    ):
        found = collection.search(queries, k=np.int64(1), min_relevance=np.float32(0.0))
        assert [(each.query, each.ids) for each in found] == [
            ("who mends the roof?", ["0"]), ("rent", ["1"]),
        ]  # fmt: skip
    assert repr(collection.search(np.str_("roof"), k=1)).startswith("1 hit for 'roof'")


def test_ids_of_other_libraries(encoder: Encoder) -> None:
    collection = Collection(model=encoder)
    collection.add([ROOF, RENT, "Bees.", "Dogs."], ids=[np.int64(0), 1, UUID(int=1), "d"])
    assert np.int64(0) in collection and UUID(int=1) in collection
    assert 1.5 not in collection and None not in collection
    assert collection.get(np.int64(1)).text == RENT
    assert [item.text for item in collection.get(np.arange(2))] == [ROOF, RENT]
    assert collection.delete(np.int64(0)) == 1
    assert collection.delete(collection.search("rent", k=1)) == 1
    assert collection.delete(collection.get("d")) == 1
    assert collection.delete(UUID(int=1)) == 1
    assert len(collection) == 0
    for wrong in (1.5, [1.5], [None], b"1", [""], True):
        with pytest.raises(InvalidInputError, match="an id must be"):
            collection.delete(wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="an id must be"):
            collection.get(wrong)  # type: ignore[call-overload]
