"""The documents of an index by where they are from, or by what their metadata say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from pocket_colbert.index.index import Index


def counts_by_source(index: Index) -> dict[str, int]:
    """Return the number of documents from each source, in the order of their names.

    Those without a source are counted under "".
    """
    counts: Counter[str] = Counter()
    for segment in index.snapshot.segments:
        known = 0
        for source in segment.documents.sources():
            count = int(segment.alive[segment.documents.from_source(source)].sum())
            counts[source] += count
            known += count
        counts[""] += len(segment.alive) - known
    return {source: count for source, count in sorted(counts.items()) if count}


def ids_from(index: Index, source: str) -> list[str]:
    """Return the ids of the documents from a source, as `Document.source` has it."""
    ids = []
    for segment in index.snapshot.segments:
        positions = segment.documents.from_source(source)
        alive = positions[segment.alive[positions]]
        ids += [item.document_id for item in segment.documents.get(alive.tolist()).values()]
    return ids


def ids_where(index: Index, where: Mapping[str, Any]) -> list[str]:
    """Return the ids of the documents that match a filter.

    Raises:
        InvalidInputError: `where` is no filter.
    """
    ids = []
    for segment, allowed in zip(
        index.snapshot.segments, index.snapshot.allowed(where, None), strict=True
    ):
        positions = np.flatnonzero(allowed[np.arange(allowed.size)]).tolist()
        ids += [item.document_id for item in segment.documents.get(positions).values()]
    return ids
