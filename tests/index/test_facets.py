"""What there is to filter by is what the documents have, counted by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert import Index, IndexConfig
from pocket_colbert.index import facets as module
from pocket_colbert.index.facets import FieldValues, field_values

VECTOR = np.eye(4, dtype=np.float32)[:1]
NAMES = st.sampled_from(["a", "b", "é.x", "", "$odd", "z" * 201])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 2.0, 1e300]),
    st.sampled_from(["", "x", "y", "語", "1"]),
)  # fmt: skip
METADATA = st.dictionaries(NAMES, st.one_of(SCALARS, st.lists(SCALARS, max_size=3)), max_size=4)


def pairs(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """List what filters see of a field that is no object."""
    for each in value if isinstance(value, list) else [value]:
        if each is not None:
            yield name, each


def counted(documents: Mapping[str, Mapping[str, Any]]) -> dict[str, Counter[Any]]:
    """Count by hand: of each field the documents that have a value (true is 1)."""
    found: dict[str, Counter[Any]] = {}
    for metadata in documents.values():
        for name, value in {p for item in metadata.items() for p in pairs(*item)}:
            if not name.startswith("$") and len(name) <= 200:
                found.setdefault(name, Counter())[value] += 1
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(METADATA, max_size=12), st.sets(st.integers(0, 11)), st.integers(1, 5))
def test_counts_are_those_by_hand(rows: list[dict[str, Any]], gone: set[int], at_once: int) -> None:
    documents = {f"d{n}": row for n, row in enumerate(rows)}
    index = Index(4)
    for start in range(0, len(rows), at_once):  # several segments
        ids = list(documents)[start : start + at_once]
        index.add(ids, [VECTOR] * len(ids), metadata=[documents[name] for name in ids])
        index.commit()
    index.delete([f"d{n}" for n in gone])
    index.commit()
    expected = counted({name: row for name, row in documents.items() if name in index})
    found = field_values(index.snapshot)
    assert [field.name for field in found] == sorted(expected)
    for field in found:
        assert dict(field.values or ()) == expected[field.name]
        counts = [count for _, count in field.values or ()]
        assert counts == sorted(counts, reverse=True)


@pytest.fixture
def many(tmp_path: Path) -> Iterator[Index]:
    """An index in a folder with few kinds, a thousand years and large numbers."""
    with Index.create(tmp_path / "many.index", IndexConfig(dim=4)) as index:
        ids = [f"d{n}" for n in range(1500)]
        metadata = [
            {"kind": "ab"[n % 3 == 0], "year": n, "long": "x" * (n % 300), "big": 10**400}
            for n in range(1500)
        ]
        index.add(ids, [VECTOR] * len(ids), metadata=metadata)
        index.commit()
        yield index


def test_what_is_too_much_is_said_to_be(many: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    big, kind, long, year = field_values(many.snapshot)
    assert kind == FieldValues("kind", "a", "b", (("a", 1000), ("b", 500)))
    assert year == FieldValues("year", 0, 1499, None) and long.values is None
    assert big.values is None
    # Deleted documents do not hide those that come after them.
    many.delete([f"d{n}" for n in range(1490)])
    many.commit()
    found = {field.name: field for field in field_values(many.snapshot)}
    assert found["kind"].values == (("a", 7), ("b", 3))
    monkeypatch.setattr(module, "MAX_PASSED_OVER", 10)
    monkeypatch.setattr(module, "MAX_COUNT", 100)
    found = {field.name: field for field in field_values(many.snapshot)}
    assert found["kind"].values == (("a", 1), ("b", 1))


def test_the_work_is_bounded(many: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are, so many rows are read."""
    from pocket_colbert.storage.database import Database

    select, rows = Database.select, [0]

    def counting(*arguments: Any) -> list[tuple[Any, ...]]:
        found = select(*arguments)
        rows[0] += len(found)
        return found

    monkeypatch.setattr(Database, "select", counting)
    monkeypatch.setattr(module, "MAX_COUNT", 10)
    field_values(many.snapshot)
    assert rows[0] < 4 * (module.MAX_VALUES + 3) + 2 * module.MAX_COUNT + 10
    monkeypatch.setattr(module, "MAX_FIELDS", 2)
    assert [field.name for field in field_values(many.snapshot)] == ["big", "kind"]
