"""The interface of a search engine, and how filters become its conditions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backends.rows import NEVER, Row, name_token, text_prefix, value_token
from pocket_colbert.errors import UnsupportedError
from pocket_colbert.storage.filters import ID, Condition, Filter
from pocket_colbert.types import Document, Passage, Span

_EXACT_NUMBERS = 2**53
"""From here up, float64 cannot represent every whole number."""


@dataclass(frozen=True)
class PassageMatch:
    """A passage that matched a query: attributes of its `Row`, and its MaxSim score."""

    document_id: str
    passage: int
    passages: int
    start: int
    end: int
    position: int
    score: float


@dataclass(frozen=True)
class DocumentState:
    """What an engine holds of a document; the attributes are those of `Row`."""

    digest: str
    passages: int


@dataclass(frozen=True)
class Layout:
    """The layout of a collection or table.

    Attributes:
        dim: Width of a token vector.
        datatype: See `Record.datatype`.
        approximate: Whether the engine indexes token vectors for approximate search.
        range_fields: Numeric fields that get an index for comparisons, on engines that have one.
    """

    dim: int
    datatype: str
    approximate: bool
    range_fields: tuple[str, ...]


def passage_of(values: Mapping[str, Any], vectors: Any, dim: int) -> Passage:
    """Build a passage from its row's attributes and its token vectors (None if it has none)."""
    embedding = np.array([] if vectors is None else vectors, np.float32).reshape(-1, dim)
    return Passage(values["start"], values["end"], embedding)


class Engine(ABC):
    """One collection or table of an engine. Conditions are filters in the engine's own form.

    Call `read_record` first, and `create` next if it returned None. Every method raises
    BackendError if the engine cannot be reached or rejects the request.

    Attributes:
        name: The engine's name, for messages.
        max_elements: Upper limit (exclusive) on the vector components of one passage.
        batch_elements: Roughly how many vector components to send in one request.
    """

    name: ClassVar[str]
    max_elements: ClassVar[int]
    batch_elements: ClassVar[int]

    @abstractmethod
    def __str__(self) -> str:
        """Return the address, without any key."""

    @abstractmethod
    def read_record(self) -> str | None:
        """Return the text of the record, or None if nothing has been pushed here yet.

        Raises:
            BackendError: The collection or table belongs to something else.
        """

    @abstractmethod
    def create(self, layout: Layout, record: str) -> None:
        """Create the collection or table with its first record."""

    @abstractmethod
    def prepare(self, layout: Layout) -> None:
        """Prepare an existing collection or table for many lookups.

        Args:
            layout: As in `create`; `range_fields` that have no index get one.
        """

    @abstractmethod
    def write_record(self, text: str) -> None:
        """Replace the record, durably."""

    @abstractmethod
    def nearest(
        self, query: NDArray[np.float32], limit: int, condition: Any, exact: bool
    ) -> list[PassageMatch]:
        """Return the passages with the largest MaxSim, best first.

        Args:
            query: (query_tokens, dim) float32, at least one token.
            limit: Maximum number of passages.
            condition: Which passages to consider; None for all.
            exact: Score every passage even if there is an approximate index.
        """

    @abstractmethod
    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with these ids; ids that are not there are left out."""

    @abstractmethod
    def passages(self, document_id: str, dim: int) -> list[Passage] | None:
        """Return a document's passages in order, or None if there is no such document.

        Args:
            document_id: Id of the document.
            dim: Width of a token vector.
        """

    @abstractmethod
    def passages_at(
        self, passages: Sequence[tuple[str, Span]], dim: int
    ) -> dict[tuple[str, Span], Passage]:
        """Return the passages at these spans, without fetching the token vectors of any others.

        Args:
            passages: The id of a document and the span of one of its passages, each.
            dim: Width of a token vector.

        Returns:
            Those that are there, by id and span.
        """

    @abstractmethod
    def document_states(self, document_ids: Sequence[str]) -> dict[str, DocumentState]:
        """Return the state of the documents that are there, by id."""

    @abstractmethod
    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows durably and in this order, replacing rows with the same ids."""

    @abstractmethod
    def delete(self, row_ids: Sequence[str]) -> None:
        """Delete rows."""

    @abstractmethod
    def rows(self) -> Iterator[list[tuple[str, int]]]:
        """Iterate over document ids and passage numbers of all rows, in batches, in any order."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of rows, not counting the record."""

    @abstractmethod
    def finish(self, layout: Layout) -> None:
        """Optimize what has been written for searching."""

    @abstractmethod
    def latest(self) -> Engine:
        """Return an engine that sees the latest writes, which may be this one.

        If it is a new one, this one keeps showing what it showed before.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""

    def condition(self, where: Filter) -> Any:
        """Translate a filter into an equivalent condition.

        Raises:
            UnsupportedError: The engine has no equivalent.
        """
        if where.condition is not None:
            return self._leaf(where.condition)
        parts = [self.condition(part) for part in where.parts]
        if where.kind == "not":
            return self.none_of(parts)
        return self.any_of(parts) if where.kind == "or" else self.all_of(parts)

    def _leaf(self, condition: Condition) -> Any:
        name, operator, values = condition.field, condition.operator, condition.values
        if name == ID:
            if operator in ("$eq", "$in"):
                return self.documents_in([str(value) for value in values])
            if operator == "$exists":
                return self.all_of([])
            return self.compare_id(operator, str(values[0]))
        if operator == "$exists":
            return self.has_any([name_token(name)])
        if operator in ("$eq", "$in"):
            return self.has_any([value_token(name, value) for value in values] or [NEVER])
        if operator == "$prefix":
            return self.has_prefix(text_prefix(name, str(values[0])))
        (value,) = values
        if isinstance(value, str):
            return self.compare_text(name, operator, value)
        if _EXACT_NUMBERS <= abs(value) <= 2**64:
            raise UnsupportedError(
                f"{self.name} compares numbers as float64, which is not exact from 2**53 up, got "
                f"{operator} {value} for {name!r}. Compare smaller numbers, or use $eq or $in."
            )
        return self.compare_number(name, operator, float(value))

    @abstractmethod
    def all_of(self, parts: Sequence[Any]) -> Any:
        """Match rows that meet all conditions; no conditions match every row."""

    @abstractmethod
    def any_of(self, parts: Sequence[Any]) -> Any:
        """Match rows that meet at least one of the conditions, which must not be empty."""

    @abstractmethod
    def none_of(self, parts: Sequence[Any]) -> Any:
        """Match rows that meet none of the conditions."""

    @abstractmethod
    def documents_in(self, document_ids: Sequence[str]) -> Any:
        """Match rows of these documents; an empty list matches nothing."""

    @abstractmethod
    def has_any(self, tokens: Sequence[str]) -> Any:
        """Match rows that have at least one of these tokens, which must not be empty."""

    @abstractmethod
    def has_prefix(self, prefix: str) -> Any:
        """Match rows that have a token with this prefix."""

    @abstractmethod
    def compare_number(self, name: str, operator: str, value: float) -> Any:
        """Match rows where one of the field's numbers compares as asked."""

    @abstractmethod
    def compare_text(self, name: str, operator: str, value: str) -> Any:
        """Match rows where one of the field's texts compares as asked, by code points."""

    @abstractmethod
    def compare_id(self, operator: str, value: str) -> Any:
        """Match rows by comparing their document id; "$prefix" compares its beginning."""
