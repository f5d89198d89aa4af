"""What a store asks of an engine, and what filters mean to all of them."""

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
"""From here on float64 does not tell whole numbers apart, up to those of 64 bits."""


@dataclass(frozen=True)
class Found:
    """A passage that a search found; the attributes are those of `Row`, and its MaxSim."""

    document_id: str
    passage: int
    passages: int
    start: int
    end: int
    position: int
    score: float


@dataclass(frozen=True)
class Known:
    """What an engine says of a document that it has; the attributes are those of `Row`."""

    digest: str
    passages: int


@dataclass(frozen=True)
class Layout:
    """How a new collection or table is made.

    Attributes:
        dim: Width of a token vector.
        datatype: See `Record.datatype`.
        approximate: Whether the engine is to index token vectors for approximate search.
        range_fields: Fields of numbers that get an index for comparisons, where there are such.
    """

    dim: int
    datatype: str
    approximate: bool
    range_fields: tuple[str, ...]


def passage_of(values: Mapping[str, Any], vectors: Any, dim: int) -> Passage:
    """Return a passage from the attributes of its row and its token vectors, None for none."""
    embedding = np.array([] if vectors is None else vectors, np.float32).reshape(-1, dim)
    return Passage(values["start"], values["end"], embedding)


class Engine(ABC):
    """One collection or table of an engine. Conditions are what the engine takes as filters.

    `read_record` comes before everything else, `create` after it where there is nothing. Every
    method raises BackendError where the engine cannot be reached or refuses.

    Attributes:
        name: The engine's name, for messages.
        max_elements: Components of all token vectors of a passage, less than that.
        batch_elements: Components of token vectors that are sent at once, about.
    """

    name: ClassVar[str]
    max_elements: ClassVar[int]
    batch_elements: ClassVar[int]

    @abstractmethod
    def __str__(self) -> str:
        """Return the address, without any key."""

    @abstractmethod
    def read_record(self) -> str | None:
        """Return the text of the record; None where there is nothing yet.

        Raises:
            BackendError: There is something else.
        """

    @abstractmethod
    def create(self, layout: Layout, record: str) -> None:
        """Make the collection or table, with its first record."""

    @abstractmethod
    def prepare(self, layout: Layout) -> None:
        """Get ready for looking up many documents that are there already.

        Args:
            layout: As in `create`; its `range_fields` get an index where they have none.
        """

    @abstractmethod
    def write_record(self, text: str) -> None:
        """Write the record, durably, in the place of the one before."""

    @abstractmethod
    def nearest(
        self, query: NDArray[np.float32], limit: int, condition: Any, exact: bool
    ) -> list[Found]:
        """Return the passages with the largest MaxSim, best first.

        Args:
            query: (query_tokens, dim) float32, at least one token.
            limit: How many at most.
            condition: Which passages may be found; None for all.
            exact: Whether all of them are scored, also where there is an approximate index.
        """

    @abstractmethod
    def documents(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Return those of the documents that are there."""

    @abstractmethod
    def passages(self, document_id: str, dim: int) -> list[Passage] | None:
        """Return a document's passages in order, None for a document that is not there.

        Args:
            document_id: Its id.
            dim: Width of a token vector.
        """

    @abstractmethod
    def passages_at(
        self, passages: Sequence[tuple[str, Span]], dim: int
    ) -> dict[tuple[str, Span], Passage]:
        """Return those of some passages that are there; token vectors of no others are fetched.

        Args:
            passages: The id of a document and the span of one of its passages.
            dim: Width of a token vector.
        """

    @abstractmethod
    def known(self, document_ids: Sequence[str]) -> dict[str, Known]:
        """Say what is there of some documents."""

    @abstractmethod
    def upsert(self, rows: Sequence[Row]) -> None:
        """Write rows, durably and in this order, in the place of those with their ids."""

    @abstractmethod
    def delete(self, row_ids: Sequence[str]) -> None:
        """Delete rows."""

    @abstractmethod
    def rows(self) -> Iterator[list[tuple[str, int]]]:
        """Iterate over document ids and passage numbers of all rows, in batches, in any order."""

    @abstractmethod
    def count(self) -> int:
        """Return the number of rows, without the record's."""

    @abstractmethod
    def finish(self, layout: Layout) -> None:
        """Make what has been written fast to search."""

    @abstractmethod
    def latest(self) -> Engine:
        """Return an engine that shows what others have written since, this one if it does.

        If it is another one, this one shows what it did.
        """

    @abstractmethod
    def close(self) -> None:
        """Release what is open."""

    def condition(self, where: Filter) -> Any:
        """Turn a filter into a condition that means the same.

        Raises:
            UnsupportedError: The engine has no such condition.
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
                f"{self.name} compares numbers as float64, which is not exact from 2**53 on; got "
                f"{operator} {value} for {name!r}. Compare with smaller numbers, or by $eq and $in."
            )
        return self.compare_number(name, operator, float(value))

    @abstractmethod
    def all_of(self, parts: Sequence[Any]) -> Any:
        """All conditions hold; without any, everything does."""

    @abstractmethod
    def any_of(self, parts: Sequence[Any]) -> Any:
        """One of the conditions holds, of which there is at least one."""

    @abstractmethod
    def none_of(self, parts: Sequence[Any]) -> Any:
        """None of the conditions holds."""

    @abstractmethod
    def documents_in(self, document_ids: Sequence[str]) -> Any:
        """The document is one of these, of which there may be none."""

    @abstractmethod
    def has_any(self, tokens: Sequence[str]) -> Any:
        """The row has one of these tokens, of which there is at least one."""

    @abstractmethod
    def has_prefix(self, prefix: str) -> Any:
        """The row has a token that begins so."""

    @abstractmethod
    def compare_number(self, name: str, operator: str, value: float) -> Any:
        """One of a field's numbers is greater or less."""

    @abstractmethod
    def compare_text(self, name: str, operator: str, value: str) -> Any:
        """One of a field's texts is greater or less, by code points."""

    @abstractmethod
    def compare_id(self, operator: str, value: str) -> Any:
        """The document's id is greater or less, or begins so ("$prefix")."""
