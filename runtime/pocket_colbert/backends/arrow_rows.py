"""Convert rows to Arrow tables. Imports `pyarrow`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pocket_colbert.backends.rows import Row, metadata_text, sections_text

_COPIED = ("document_id", "passage", "passages", "start", "end", "position", "digest")


def vectors_type(dim: int, datatype: str) -> Any:
    """Return the type of a list of token vectors; `datatype` is "float32" or "float16"."""
    component = pa.float32() if datatype == "float32" else pa.float16()
    return pa.list_(pa.list_(component, dim))


def schema_of(dim: int, datatype: str) -> Any:
    """Return a table's columns: the attributes of `Row`, the record, and the token vectors."""
    texts, numbers = pa.list_(pa.string()), pa.list_(pa.float64())
    return pa.schema(
        {
            "row": pa.string(), "document_id": pa.string(), "passage": pa.int32(),
            "passages": pa.int32(), "start": pa.int64(), "end": pa.int64(),
            "position": pa.int64(), "digest": pa.string(), "values": texts,
            "number_names": texts, "number_mins": numbers, "number_maxs": numbers,
            "text_names": texts, "text_mins": texts, "text_maxs": texts,
            "title": pa.string(), "text": pa.string(), "metadata": pa.string(),
            "source": pa.string(),
            "sections": pa.string(), "record": pa.string(), "vector": vectors_type(dim, datatype),
        }
    )  # fmt: skip


def cells_of(row: Row) -> dict[str, Any]:
    """Return a row's cells, keyed by the column names of `schema_of`."""
    cells: dict[str, Any] = {name: getattr(row, name) for name in _COPIED}
    cells |= {"row": row.row_id, "values": list(row.tokens)}
    for kind, bounds in (("number", row.numbers), ("text", row.texts)):
        cells[f"{kind}_names"] = list(bounds)
        cells[f"{kind}_mins"] = [low for low, _ in bounds.values()]
        cells[f"{kind}_maxs"] = [high for _, high in bounds.values()]
    if row.document is not None:
        document = row.document
        cells |= {"text": document.text, "title": document.title, "source": document.source}
        cells |= {"metadata": metadata_text(document), "sections": sections_text(document)}
    cells["vector"] = row.embedding if len(row.embedding) else None
    return cells


def table_of(rows: Sequence[dict[str, Any]], schema: Any) -> Any:
    """Build a table from rows of cells; missing cells become null."""
    columns = [
        vectors_of([row.get("vector") for row in rows], item.type)
        if item.name == "vector"
        else pa.array([row.get(item.name) for row in rows], item.type)
        for item in schema
    ]
    return pa.table(columns, schema=schema)


def vectors_of(embeddings: Sequence[NDArray[np.float32] | None], kind: Any) -> Any:
    """Build a column of token vectors without going through Python lists.

    Args:
        embeddings: (num_tokens, dim) float32 arrays; None and empty arrays become null.
        kind: The column's `vectors_type`.
    """
    dim, component = kind.value_type.list_size, kind.value_type.value_type.to_pandas_dtype()
    lengths = np.array([0 if item is None else len(item) for item in embeddings], np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    present = [item for item in embeddings if item is not None]
    flat = np.concatenate([np.empty((0, dim), np.float32), *present]).astype(component)
    rows = pa.FixedSizeListArray.from_arrays(flat.reshape(-1), dim)
    missing = pa.array(lengths == 0)
    return pa.ListArray.from_arrays(pa.array(starts), rows, type=kind, mask=missing)
