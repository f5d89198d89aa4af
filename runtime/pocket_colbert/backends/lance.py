"""A LanceDB table as a backend. The only module that imports `lancedb`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backends.address import Address
from pocket_colbert.backends.engine import DocumentState, Engine, Layout, PassageMatch, passage_of
from pocket_colbert.backends.rows import RECORD_ID, SEPARATOR, Row, row_id
from pocket_colbert.errors import BackendError, OptionalDependencyError
from pocket_colbert.sections import sections_from_json
from pocket_colbert.types import Document, Passage, Span

try:
    import lancedb
    import pyarrow as pa
    from lancedb.index import BTree, IvfPq, LabelList

    from pocket_colbert.backends.arrow_rows import cells_of, schema_of, table_of
except ImportError as _error:
    raise OptionalDependencyError.of("LanceDB", "lance") from _error

_MATCH_COLUMNS = ["document_id", "passage", "passages", "start", "end", "position"]
_SIGNS = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
_PAGE = 10_000
_INDEXED_ROWS = 10_000
"""Below this number of rows, scanning ids and tokens is as fast as using an index."""

_PROBES = 20
_REFINED = 5
_SMALL_FRAGMENTS = 100
"""How many small fragments to allow before compacting, which rewrites all of them."""

_OLD_VERSIONS = timedelta(hours=1)
"""How long old versions are kept for readers that opened the table earlier."""


class Lance(Engine):
    """A table in a folder or in object storage.

    Each row has the attributes of `Row` and a column "vector": a list of token vectors, compared
    by MaxSim over dot products. The record is a row without vectors.
    """

    name = "LanceDB"
    max_elements = 1 << 31
    batch_elements = 8_000_000  # every batch is a commit

    def __init__(self, address: Address) -> None:
        """Connect. Credentials for object storage come from its usual environment and files.

        Raises:
            BackendError: The folder or object storage cannot be reached.
        """
        self._address = address
        self._table: Any = None
        self._fresh = False
        with self._errors():
            self._database = lancedb.connect(address.location)

    def __str__(self) -> str:
        return str(self._address)

    def read_record(self) -> str | None:
        """See `Engine.read_record`."""
        if self._table is None and not self._open():
            return None
        if "record" in self._table.schema.names:
            rows = self._select(f"row = {_text(RECORD_ID)}", ["record"], 1)
            if rows and isinstance(rows[0]["record"], str):
                return str(rows[0]["record"])
        raise BackendError(
            f"{self} is a table that pocket-colbert did not create; choose another name."
        )

    def create(self, layout: Layout, record: str) -> None:
        """See `Engine.create`."""
        schema = schema_of(layout.dim, layout.datatype)
        rows = table_of([{"row": RECORD_ID, "record": record}], schema)
        with self._errors():
            self._table = self._database.create_table(self._address.name, rows, schema)
        self._fresh = True

    def prepare(self, layout: Layout) -> None:
        """See `Engine.prepare`."""
        self._fresh = False
        self._index_columns()

    def write_record(self, text: str) -> None:
        """See `Engine.write_record`."""
        self._merge([{"row": RECORD_ID, "record": text}])

    def nearest(
        self, query: NDArray[np.float32], limit: int, condition: Any, exact: bool
    ) -> list[PassageMatch]:
        """See `Engine.nearest`."""
        with self._errors():
            request = self._table.search(query, vector_column_name="vector")
            request = request.limit(limit).select([*_MATCH_COLUMNS, "_distance"])
            if condition is not None:
                request = request.where(condition, prefilter=True)
            if exact:
                request = request.distance_type("dot").bypass_vector_index()
            else:  # LanceDB indexes multivectors by cosine only
                request = request.distance_type("cosine").nprobes(_PROBES).refine_factor(_REFINED)
            rows = request.to_arrow().to_pylist()
        # LanceDB's distance is one minus the dot product, summed over the query's tokens.
        return [
            PassageMatch(
                **{name: row[name] for name in _MATCH_COLUMNS}, score=len(query) - row["_distance"]
            )
            for row in rows
        ]

    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """See `Engine.documents`."""
        names = ["document_id", "text", "title", "metadata", "source", "sections"]
        return {
            row["document_id"]: Document(
                row["document_id"], row["text"], row["title"], json.loads(row["metadata"]),
                row["source"], sections_from_json(json.loads(row["sections"])),
            )
            for row in self._first_rows(document_ids, names)
        }  # fmt: skip

    def passages(self, document_id: str, dim: int) -> list[Passage] | None:
        """See `Engine.passages`."""
        names = ["passage", "start", "end", "vector"]
        where = f"document_id = {_text(document_id)}"
        rows = sorted(self._select(where, names, None), key=lambda row: row["passage"])
        if not rows and not self.document_states([document_id]):
            return None
        return [passage_of(row, row["vector"], dim) for row in rows]

    def passages_at(
        self, passages: Sequence[tuple[str, Span]], dim: int
    ) -> dict[tuple[str, Span], Passage]:
        """See `Engine.passages_at`."""
        if not passages:
            return {}
        names = ["document_id", "start", "end", "vector"]
        where = " OR ".join(
            f"(document_id = {_text(document_id)} AND start = {start} AND `end` = {end})"
            for document_id, (start, end) in dict.fromkeys(passages)
        )
        return {
            (row["document_id"], (row["start"], row["end"])): passage_of(row, row["vector"], dim)
            for row in self._select(where, names, None)
        }

    def document_states(self, document_ids: Sequence[str]) -> dict[str, DocumentState]:
        """See `Engine.document_states`."""
        if self._fresh:
            return {}  # the first push to an empty table writes each document once
        return {
            row["document_id"]: DocumentState(row["digest"], row["passages"])
            for row in self._first_rows(document_ids, ["document_id", "digest", "passages"])
        }

    def upsert(self, rows: Sequence[Row]) -> None:
        """See `Engine.upsert`."""
        values = [cells_of(row) for row in rows]
        if not self._fresh:
            self._merge(values)
            return
        with self._errors():  # nothing to replace
            self._table.add(table_of(values, self._table.schema))

    def delete(self, row_ids: Sequence[str]) -> None:
        """See `Engine.delete`."""
        with self._errors():
            self._table.delete(f"row IN ({', '.join(map(_text, row_ids))})")

    def rows(self) -> Iterator[list[tuple[str, int]]]:
        """See `Engine.rows`."""
        with self._errors():
            request = self._table.search().where("document_id IS NOT NULL")
            batches = iter(request.select(["document_id", "passage"]).to_batches(_PAGE))
        while True:
            with self._errors():
                batch = next(batches, None)
            if batch is None:
                return
            yield [(row["document_id"], row["passage"]) for row in batch.to_pylist()]

    def count(self) -> int:
        """See `Engine.count`."""
        with self._errors():
            return int(self._table.count_rows()) - 1

    def finish(self, layout: Layout) -> None:
        """See `Engine.finish`."""
        first, self._fresh = self._fresh, False
        self._index_columns()
        with self._errors():
            indexed = {column for index in self._table.list_indices() for column in index.columns}
            if layout.approximate and "vector" not in indexed:
                parts = layout.dim // 8 if layout.dim % 8 == 0 else None
                self._table.create_index(
                    "vector", config=IvfPq(distance_type="cosine", num_sub_vectors=parts)
                )
            if self._table.stats()["fragment_stats"]["num_small_fragments"] > _SMALL_FRAGMENTS:
                # Until the first push is complete, no reader can need an older version.
                old = timedelta(milliseconds=1) if first else _OLD_VERSIONS
                self._table.optimize(cleanup_older_than=old)

    def latest(self) -> Lance:
        """See `Engine.latest`."""
        latest = copy(self)
        latest._table = None  # `read_record` opens the latest version
        return latest

    def close(self) -> None:
        """Drop the table; LanceDB releases its own resources."""
        self._table = None

    def all_of(self, parts: Sequence[Any]) -> Any:
        """See `Engine.all_of`."""
        return f"({' AND '.join(parts)})" if parts else "true"

    def any_of(self, parts: Sequence[Any]) -> Any:
        """See `Engine.any_of`."""
        return f"({' OR '.join(parts)})"

    def none_of(self, parts: Sequence[Any]) -> Any:
        """See `Engine.none_of`."""
        return f"(NOT {self.any_of(parts)})"

    def documents_in(self, document_ids: Sequence[str]) -> Any:
        """See `Engine.documents_in`."""
        return f"document_id IN ({', '.join(map(_text, document_ids or ['']))})"

    def has_any(self, tokens: Sequence[str]) -> Any:
        """See `Engine.has_any`."""
        if len(tokens) == 1:
            return f"array_has(values, {_text(tokens[0])})"
        return f"array_has_any(values, [{', '.join(map(_text, tokens))}])"

    def has_prefix(self, prefix: str) -> Any:
        """See `Engine.has_prefix`."""
        joined = f"{_text(SEPARATOR)} || array_to_string(values, {_text(SEPARATOR)})"
        return f"contains({joined}, {_text(SEPARATOR + prefix)})"

    def compare_number(self, name: str, operator: str, value: float) -> Any:
        """See `Engine.compare_number`."""
        return _compared("number", name, operator, f"CAST({_text(repr(value))} AS DOUBLE)")

    def compare_text(self, name: str, operator: str, value: str) -> Any:
        """See `Engine.compare_text`."""
        return _compared("text", name, operator, _text(value))

    def compare_id(self, operator: str, value: str) -> Any:
        """See `Engine.compare_id`."""
        if operator == "$prefix":
            return f"starts_with(document_id, {_text(value)})"
        return f"document_id {_SIGNS[operator]} {_text(value)}"

    def _open(self) -> bool:
        with self._errors():
            try:
                self._table = self._database.open_table(self._address.name)
            except (ValueError, FileNotFoundError) as error:
                if "not found" not in str(error):
                    raise
                return False
        return True

    def _index_columns(self) -> None:
        with self._errors():
            if self._table.count_rows() < _INDEXED_ROWS:
                return
            indexed = {column for index in self._table.list_indices() for column in index.columns}
            for column, kind in (("row", BTree), ("document_id", BTree), ("values", LabelList)):
                if column not in indexed:
                    self._table.create_index(column, config=kind())

    def _first_rows(self, document_ids: Sequence[str], names: list[str]) -> list[dict[str, Any]]:
        if not document_ids:
            return []
        ids = [row_id(item, 0) for item in document_ids]
        return self._select(f"row IN ({', '.join(map(_text, ids))})", names, len(ids))

    def _select(self, where: str, names: list[str], limit: int | None) -> list[dict[str, Any]]:
        with self._errors():
            request = self._table.search().where(where).select(names).limit(limit)
            return list(request.to_arrow().to_pylist())

    def _merge(self, rows: Sequence[dict[str, Any]]) -> None:
        with self._errors():
            merge = self._table.merge_insert("row").when_matched_update_all()
            merge.when_not_matched_insert_all().execute(table_of(rows, self._table.schema))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn LanceDB's exceptions into a BackendError that names the table."""
        try:
            yield
        except (RuntimeError, ValueError, OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise BackendError(f"{self} cannot be used: {reason}.") from error


def _compared(kind: str, name: str, operator: str, value: str) -> str:
    """Compare a field's largest or smallest value; false if the field has no such value."""
    column = f"{kind}_maxs" if operator.startswith("$g") else f"{kind}_mins"
    position = f"CAST(array_position({kind}_names, {_text(name)}) AS BIGINT)"
    return f"coalesce({column}[{position}] {_SIGNS[operator]} {value}, false)"


def _text(value: str) -> str:
    """Quote a text for SQL, where a quote is the only special character inside quotes."""
    return "'" + value.replace("'", "''") + "'"
