"""Hypothesis strategies for metadata and for filters over it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NASTY = [
    "'", '"', "x' OR '1'='1", "'; DROP TABLE fields; --", "?", "%", "_", "a%", "a_", "a", "ab",
    "ab\x00", "", "1", "true", "null", "\ud7ff", "\ue000", "\U0010ffff", "a\U0010ffff", "é",
]  # fmt: skip
NUMBERS = [
    0, 1, -1, 2, 0.5, 1.0, -0.0, True, False, 2**53, 2**53 + 1, float(2**53), 2**63 - 1, 2**63,
    -(2**63), -(2**63) - 1, 10**30, 1e30, 10**300, 1.5e300, 5e-324,
]  # fmt: skip
NAMES = ["a", "b", "c", "$", "a.b", "", ".", *NASTY[:4]]

texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
numbers = (
    st.sampled_from(NUMBERS) | st.integers(-3, 3) | st.floats(allow_nan=False, allow_infinity=False)
)
scalars = numbers | texts
names = st.sampled_from([*"aaabbb", *NAMES])
values = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
metadata = st.dictionaries(names, values, max_size=3)

fields = st.sampled_from([*"aaabbb", *(n for n in NAMES if n != "$"), "a.a", "b.a", ".a", "zz"])
ids = st.sampled_from(["d0", "d1", "d11", "d", ""])


def operators_on(operands: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return an object of one operator or two."""
    one = st.one_of(
        st.tuples(st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]), operands),
        st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(operands, max_size=3)),
        st.tuples(st.just("$exists"), st.booleans()),
        st.tuples(st.just("$prefix"), texts),
    )
    return st.lists(one, min_size=1, max_size=2).map(dict)


leaves = st.one_of(
    st.dictionaries(fields, scalars | operators_on(scalars), max_size=2),
    st.fixed_dictionaries({"$id": ids | operators_on(ids)}),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"$and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$or": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"$not": inner}),
        st.tuples(inner, inner).map(lambda pair: {"$not": pair[0], **pair[1]}),
    ),
    max_leaves=5,
)
