"""`where` against a plain-Python reading of what `filters.parse_filter` documents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pocket_colbert import Index, IndexConfig, InvalidInputError, Passage, SearchParameters
from pocket_colbert.storage.filters import parse_filter
from tests.support.arrays import cone_documents, unit_rows
from tests.support.brute_force import TOLERANCE, brute_force
from tests.support.plain_filters import holds
from tests.support.strategies import NASTY, filters, metadata

pytestmark = pytest.mark.slow

DIM = 8
EXACT = SearchParameters(mode="exact")
NARROW = SearchParameters(mode="approximate", lookups=1, candidates=1)
RNG = np.random.default_rng(31)
QUERY = unit_rows(RNG, 2, DIM)


def build(documents: list[dict[str, Any]], gone: set[int], parts: int) -> Index:
    """Return an index of several segments with inverted files and deleted documents."""
    index = Index(DIM, config=IndexConfig(dim=DIM, inverted_file="always"), threads=1)
    embeddings = cone_documents(RNG, [1 + n % 3 for n in range(len(documents))], DIM)
    numbers = range(len(documents))
    for part in np.array_split(np.array(numbers), parts):
        index.add(
            [f"d{n}" for n in part],
            [
                [Passage(0, 0, embeddings[n]), Passage(0, 0, -embeddings[n])]
                if n % 4 == 1
                else embeddings[n]
                for n in part
            ],
            metadata=[documents[n] for n in part],
        )
        index.commit()
    index.delete(f"d{n}" for n in gone)
    index.commit()
    return index


def check(index: Index, where: Mapping[str, Any], living: Mapping[str, dict[str, Any]]) -> None:
    """Compare searches with brute force over the documents that match."""
    everything = index.search([QUERY], len(living) + 1, parameters=EXACT)[0]
    matching = {name for name, document in living.items() if holds(where, name, document)}
    wanted = [hit for hit in everything if hit.document_id in matching]
    scores = {hit.document_id: hit.score for hit in everything}
    assert len(wanted) == len(matching) and scores.keys() == living.keys()
    for k in (1, 3, len(living) + 1):
        assert index.search([QUERY], k, parameters=EXACT, where=where)[0] == wanted[:k]
        hits = index.search([QUERY], k, parameters=NARROW, where=where)[0]
        assert len(hits) == min(k, len(matching))
        assert all(hit.document_id in matching for hit in hits)
        assert all(hit.score == scores[hit.document_id] for hit in hits)
    some = list(living)[::2]
    both = index.search([QUERY], 3, where=where, subset=some)[0]
    assert both == [hit for hit in wanted if hit.document_id in some][:3]


@settings(max_examples=60, deadline=None)
@given(
    documents=st.lists(metadata, min_size=1, max_size=14),
    gone=st.sets(st.integers(0, 13)),
    parts=st.integers(1, 4),
    wheres=st.lists(filters, min_size=1, max_size=5),
)
@example([{"a": 2**53}, {"a": 2**53 + 1}, {"a": float(2**53)}], set(), 1, [{"a": {"$gt": 2**53}}])
@example([{"a": [None, 1]}, {"a": []}, {"a": None}, {}], set(), 2, [{"a": {"$exists": False}}])
@example([{"": {"a": 1}}, {"a": 1}, {"": 1}], set(), 1, [{".a": 1}, {"a": 1}, {"": 1}])
def test_searches_return_what_matches(
    documents: list[dict[str, Any]], gone: set[int], parts: int, wheres: list[dict[str, Any]]
) -> None:
    gone = {n for n in gone if n < len(documents)}
    index = build(documents, gone, parts)
    living = {f"d{n}": item for n, item in enumerate(documents) if n not in gone}
    for hit in index.search([QUERY], len(documents), parameters=EXACT)[0]:
        best = max(brute_force(QUERY, index.passages(hit.document_id)))
        assert hit.score == pytest.approx(best, abs=TOLERANCE)
    for where in wheres:
        check(index, where, living)


def found(index: Index, where: Mapping[str, Any]) -> set[str]:
    """Return the ids of the documents that match."""
    return {hit.document_id for hit in index.search([QUERY], 1000, where=where)[0]}


def test_few_that_match_among_many(tmp_path: Path) -> None:
    """On disk, over segments with deletions: approximate search must not come back short."""
    rare = {3, 77, 78, 150, 199, 250, 299}
    documents = cone_documents(RNG, [4] * 300, DIM)
    config = IndexConfig(dim=DIM, inverted_file="always")
    with Index.create(tmp_path / "index", config, threads=2) as index:
        for start in range(0, 300, 100):
            numbers = range(start, start + 100)
            index.add(
                [f"d{n}" for n in numbers], documents[start : start + 100],
                metadata=[{"kind": "rare" if n in rare else "usual", "n": n} for n in numbers],
            )  # fmt: skip
            index.commit()
        index.delete(["d77", "d10"])
        index.commit()
        everything = index.search([QUERY], 300, parameters=EXACT)[0]
        wanted = [h for h in everything if h.metadata["kind"] == "rare"]
        assert len(wanted) == 6
        for k in range(1, 9):
            for parameters in (EXACT, NARROW, SearchParameters()):
                hits = index.search([QUERY], k, parameters=parameters, where={"kind": "rare"})[0]
                assert len(hits) == min(k, 6)
                if parameters is not NARROW:
                    assert hits == wanted[:k]
        late = index.search([QUERY], 150, parameters=NARROW, where={"n": {"$gte": 150}})[0]
        assert len(late) == 150


@pytest.mark.parametrize("text", NASTY)
def test_names_values_and_ids_are_never_sql(text: str) -> None:
    index = Index(DIM, threads=1)
    name = text or "empty"
    metadata = [{text: text}, {"other": "b"}, {text: [text, "b"]}]
    index.add([name + "!", "b", "c"], [QUERY] * 3, metadata=metadata)
    assert found(index, {text: text}) == {name + "!", "c"}
    assert found(index, {text: {"$in": [text, "zzz"]}}) == {name + "!", "c"}
    assert found(index, {text: {"$nin": [text]}}) == {"b"}
    assert found(index, {text: {"$exists": True}}) == {name + "!", "c"}
    assert found(index, {text: {"$prefix": text}}) >= {name + "!", "c"}
    assert found(index, {"$id": name + "!"}) == {name + "!"}
    assert found(index, {"$id": {"$prefix": name}}) >= {name + "!"}
    assert found(index, {"$id": {"$in": [name + "!", "nowhere"]}}) == {name + "!"}
    assert len(index) == len(found(index, {})) == 3


def test_one_true_and_texts_of_them() -> None:
    index = Index(DIM, threads=1)
    values = [1, True, 1.0, "1", "true", 0, False, "", None]
    index.add([repr(v) for v in values], [QUERY] * 9, metadata=[{"a": v} for v in values])
    for one in (1, True, 1.0):
        assert found(index, {"a": one}) == {"1", "True", "1.0"}
    assert found(index, {"a": "1"}) == {"'1'"}
    assert found(index, {"a": False}) == {"0", "False"}
    assert found(index, {"a": {"$gt": 0}}) == {"1", "True", "1.0"}
    assert found(index, {"a": {"$gt": ""}}) == {"'1'", "'true'"}
    assert found(index, {"a": {"$gte": ""}}) == {"'1'", "'true'", "''"}
    assert found(index, {"a": {"$lt": "~"}}) == {"'1'", "'true'", "''"}
    assert found(index, {"a": {"$lte": 10**300}}) == {"1", "True", "1.0", "0", "False"}
    assert found(index, {"a": {"$ne": 1}}) == {"'1'", "'true'", "0", "False", "''", "None"}
    assert found(index, {"a": {"$exists": False}}) == {"None"}
    assert found(index, {"a": {"$in": []}}) == set()
    assert len(found(index, {"a": {"$nin": []}})) == 9
    assert found(index, {"a": {"$gt": 0, "$lt": 1}}) == set()


def test_numbers_beyond_64_bits() -> None:
    index = Index(DIM, threads=1)
    values = [2**63 - 1, 2**63, 2**64, 10**400, -(10**400), 2**53, 2**53 + 1]
    index.add([str(n) for n in range(7)], [QUERY] * 7, metadata=[{"a": v} for v in values])
    assert found(index, {"a": 2**63 - 1}) == {"0"}
    assert found(index, {"a": 2**63}) == found(index, {"a": float(2**63)}) == {"1"}
    assert found(index, {"a": {"$gt": 2**63}}) == {"2", "3"}
    assert found(index, {"a": {"$lt": -1e300}}) == {"4"}
    assert found(index, {"a": 2**53 + 1}) == {"6"}
    assert found(index, {"a": {"$gt": float(2**53), "$lt": 1e17}}) == {"6"}
    assert index.get("3").metadata == {"a": 10**400}


def test_prefixes_are_no_patterns() -> None:
    index = Index(DIM, threads=1)
    values = [
        "", "%", "_", "a", "a%b", "a_b", "ab", "A", "b", "a\ud7ffx", "a\ue000", "\U0010ffff",
        "\U0010ffff\U0010ffff", "a\U0010ffff", "a\U0010ffffz", "\x00",
    ]  # fmt: skip
    index.add([f"d{v}" for v in values], [QUERY] * 16, metadata=[{"a": v} for v in values])
    index.add(["number"], [QUERY], metadata=[{"a": 5}])
    for prefix in [*values, "a\ud7ff", "zzz"]:
        wanted = {f"d{v}" for v in values if v.startswith(prefix)}
        assert found(index, {"a": {"$prefix": prefix}}) == wanted, prefix
        assert found(index, {"$id": {"$prefix": "d" + prefix}}) == wanted, prefix


def test_lists_and_objects() -> None:
    index = Index(DIM, threads=1)
    index.add(
        ["list", "objects", "literal", "none"], [QUERY] * 4,
        metadata=[
            {"tags": ["law", "tax", 3], "author": {"name": "Ann", "born": {"year": 1950}}},
            {"author": [{"name": "Bob"}, {"name": "Ann"}]},
            {"author.name": "Ann"},
            {"tags": [], "author": {}},
        ],
    )  # fmt: skip
    assert found(index, {"tags": "law"}) == found(index, {"tags": 3}) == {"list"}
    assert found(index, {"tags": {"$ne": "law"}}) == {"objects", "literal", "none"}
    assert found(index, {"author.name": "Ann"}) == {"list", "objects", "literal"}
    assert found(index, {"author.name": {"$gt": "Ann"}}) == {"objects"}
    assert found(index, {"author.born.year": {"$lt": 1960}}) == {"list"}
    assert found(index, {"tags": {"$exists": True}}) == {"list"}
    assert found(index, {"author": {"$exists": True}}) == set()  # an object is not a value


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ([], r"must be an object, got \[\]"), ("a", "must be an object"), (3, "must be an object"),
        ({"$and": {}}, r"\$and takes a list"), ({"$or": []}, r"\$or takes a list"),
        ({"$or": [3]}, "must be an object, got 3"), ({"$not": [{}]}, "must be an object"),
        ({"$nor": []}, r"got '\$nor'"), ({3: 4}, "got 3"), ({"$": 1}, r"got '\$'"),
        ({"a": {}}, "filter on 'a' is empty"), ({"a": {"$regex": "x"}}, r"'a' .* got '\$regex'"),
        ({"a": {"b": 1}}, "'a' .* got 'b'"), ({"a": {"$eq": 1, "x": 2}}, "'a' .* got 'x'"),
        ({"a": {3: 4}}, "'a' .* got 3"),
        ({"a": None}, r"\$eq of 'a' .* got None.*\$exists"), ({"a": [1]}, r"\$eq of 'a' .*\[1\]"),
        ({"a": float("nan")}, r"\$eq of 'a'.*nan"), ({"a": {"$gt": float("inf")}}, r"\$gt of 'a'"),
        ({"a": 10**400}, r"\$eq of 'a'"), ({"a": b"x"}, r"\$eq of 'a'"),
        ({"a": {"$in": "abc"}}, r"\$in of 'a' takes a list"),
        ({"a": {"$nin": 3}}, r"\$nin of 'a' takes a list"),
        ({"a": {"$in": [1, None]}}, r"\$in of 'a' .* got None"),
        ({"a": {"$in": [[1]]}}, r"\$in of 'a' .* got \[1\]"),
        ({"a": {"$exists": 1}}, r"\$exists of 'a'"), ({"a": {"$exists": None}}, r"\$exists of 'a'"),
        ({"a": {"$prefix": 3}}, r"\$prefix of 'a' must be a text"),
        ({"$id": 3}, r"\$eq of '\$id' must be a text"), ({"$id": {"$in": [True]}}, r"\$in of '\$i"),
        ({"a": "\ud800"}, r"\$eq of 'a' must be valid Unicode"),
        ({"a": {"$in": ["\ud800"]}}, r"\$in of 'a' must be valid Unicode"),
        ({"\ud800": 1}, "name must be valid Unicode"),
        ({"$id": {"$prefix": "\udfff"}}, r"\$prefix of '\$id' must be valid Unicode"),
    ],
)  # fmt: skip
def test_errors_name_the_part(where: Any, named: str) -> None:
    index = Index(DIM, threads=1)
    index.add(["a"], [QUERY], metadata=[{"a": 1}])
    for nested in (where, {"$and": [{"b": 1}, {"$not": where}]}):
        with pytest.raises(InvalidInputError, match=named):
            index.search([QUERY], where=nested)


def test_filters_have_a_size_and_a_depth() -> None:
    deep: dict[str, Any] = {"a": 1}
    for _ in range(32):
        deep = {"$not": deep}
    parse_filter(deep)
    with pytest.raises(InvalidInputError, match="deeper than 32"):
        parse_filter({"$and": [deep]})
    for _ in range(5000):
        deep = {"$not": deep}
    with pytest.raises(InvalidInputError, match="deeper than 32"):
        parse_filter(deep)
    wide = {f"f{n}": n for n in range(1000)}
    parse_filter(wide)
    with pytest.raises(InvalidInputError, match="at most 1000"):
        parse_filter({"$or": [wide, {"a": 1}]})
    empty: list[dict[str, Any]] = [{}] * 1000
    parse_filter({"$or": empty})
    for name in ("$and", "$or"):
        with pytest.raises(InvalidInputError, match="at most 1000"):
            parse_filter({name: [*empty, {}]})
    index = Index(DIM, threads=1)
    index.add(["a"], [QUERY], metadata=[wide])
    assert found(index, wide) == {"a"}
    assert found(index, {"f7": {"$in": list(range(100_000))}}) == {"a"}


def test_no_conditions_hold_for_all() -> None:
    index = build([{"a": n} for n in range(5)], {2}, 2)
    every = {"d0", "d1", "d3", "d4"}
    assert found(index, {}) == found(index, {"$and": [{}]}) == found(index, {"$or": [{}]}) == every
    assert found(index, {"$not": {}}) == set()
    assert found(index, {"$id": {"$exists": True}}) == every
    assert found(index, {"$not": {"a": 0}, "a": {"$lt": 4}}) == {"d1", "d3"}


def test_messages_are_short_whatever_is_given() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    for where in (
        deep, {"a": deep}, {"a": {"$in": deep}}, {"$or": {"a": deep}}, {"a": {"$exists": deep}},
        {"a" * 100_000: None}, {"a": {"b" * 100_000: 1}}, {"a": {"$in": [10**5000]}},
    ):  # fmt: skip
        with pytest.raises(InvalidInputError) as error:
            parse_filter(where)
        assert len(str(error.value)) < 500
