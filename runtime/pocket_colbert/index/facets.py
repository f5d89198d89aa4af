"""What there is to filter by: the fields of an index's metadata and their frequent values.

The work is bounded whatever the index holds: so many fields, so many values of each, and so many
documents of each value are looked at, each by a look-up in an index of the database.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pocket_colbert.index.snapshot import Snapshot
from pocket_colbert.storage.segment import Segment
from pocket_colbert.types import Value

MAX_FIELDS = 30
MAX_VALUES = 30
MAX_COUNT = 1000
MAX_PASSED_OVER = 20_000
_LONGEST = 200
"""Characters of a name or value; longer ones are nothing to choose from."""


@dataclass(frozen=True)
class FieldValues:
    """A field of the metadata.

    Attributes:
        name: Its name, as filters name it.
        least: Its least value; numbers are less than texts.
        greatest: Its greatest value. Both may be a deleted document's until it is compacted away.
        values: Its values, each with the number of documents that have it, `MAX_COUNT` standing
            for that many or more; the most frequent first. None when there are more than
            `MAX_VALUES`. Where more than `MAX_PASSED_OVER` documents are deleted and not compacted
            away, the number may be too small, but is never 0.
    """

    name: str
    least: Value
    greatest: Value
    values: tuple[tuple[Value, int], ...] | None


def field_values(snapshot: Snapshot) -> list[FieldValues]:
    """Return the first `MAX_FIELDS` fields by name.

    Args:
        snapshot: The index as it was after a commit.

    Returns:
        The fields that filters can name.
    """
    names: set[str] = set()
    for segment in snapshot.segments:
        names.update(segment.documents.fields(MAX_FIELDS))
    # "$" begins an operator.
    usable = [name for name in sorted(names) if name[:1] != "$" and len(name) <= _LONGEST]
    fields = (_field(snapshot.segments, name) for name in usable[:MAX_FIELDS])
    return [field for field in fields if field is not None]


def _field(segments: Sequence[Segment], name: str) -> FieldValues | None:
    stores = [segment.documents for segment in segments]
    values = [store.values(name, MAX_VALUES + 1) for store in stores]
    last = [store.greatest(name) for store in stores]
    ends = [value for some in values for value in some[:1]]
    ends += [value for value in last if value is not None]
    least, greatest = min(ends, key=_order), max(ends, key=_order)
    every = {value for some in values for value in some}
    if len(every) > MAX_VALUES or any(_is_no_choice(value) for value in every):
        return FieldValues(name, least, greatest, None)
    counts = {value: _count(segments, name, value) for value in every}
    kept = [(value, count) for value, count in counts.items() if count]
    if not kept:  # all its documents are deleted
        return None
    kept.sort(key=lambda item: (-item[1], _order(item[0])))
    return FieldValues(name, least, greatest, tuple(kept))


def _count(segments: Sequence[Segment], name: str, value: Value) -> int:
    count = 0
    for segment in segments:
        # One more for each deleted document, so that these do not hide what comes after them.
        deleted = min(segment.num_documents - len(segment), MAX_PASSED_OVER)
        most = MAX_COUNT - count + deleted
        positions = segment.documents.with_value(name, value, most)
        count += int(segment.alive[positions].sum())
        if count >= MAX_COUNT:
            return MAX_COUNT
        if len(positions) == most:
            count = max(count, 1)
    return count


def _is_no_choice(value: Value) -> bool:
    """Say whether a value is a text too long, or a number too large for JSON."""
    return len(value) > _LONGEST if isinstance(value, str) else not math.isfinite(value)


def _order(value: Value) -> tuple[bool, Value]:
    return isinstance(value, str), value
