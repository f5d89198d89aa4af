"""What a store says of itself: how its documents were encoded, and whether all are there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import BackendError, InvalidInputError

FORMAT = 1
"""Version of the rows and of this record that this release writes and reads."""

DATATYPES = ("float32", "float16")
"""How a store may hold the components of token vectors."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record, which is one row of the store.

    Attributes:
        config: The settings of the index that was pushed: model, width, codes, pruning, splitting.
        complete: Whether a push has come to its end since one began.
        push: Name of the last push, by which one finds out that another came in between.
        documents: Number of documents.
        passages: Number of passages, each of which is a row.
        tokens: Number of token vectors.
        first_position: Positions of the last push begin here; later ones begin behind them.
        datatype: One of `DATATYPES`.
        approximate: Whether the engine has an index of its own over the token vectors.
        format: See `FORMAT`.
    """

    config: IndexConfig
    complete: bool
    push: str
    documents: int
    passages: int
    tokens: int
    first_position: int
    datatype: str
    approximate: bool
    format: int = FORMAT

    def to_text(self) -> str:
        """Return the record as JSON."""
        return json.dumps(asdict(self) | {"config": self.config.to_json()})

    @classmethod
    def from_text(cls, text: str, place: str) -> Record:
        """Read a record.

        Args:
            text: What `to_text` returned.
            place: Where it was found, for the message.

        Raises:
            BackendError: It is damaged, or of a format that this release does not know.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise BackendError(f"{place} is damaged: its record cannot be read.") from error
        if version != FORMAT:
            raise BackendError(
                f"{place} is of format {version!r}, this release reads {FORMAT}; push the index "
                "again to another name, or use the release that pushed it."
            )
        try:
            if set(values) != {item.name for item in fields(cls)}:
                raise InvalidInputError("other keys")
            found = cls(**{**values, "config": IndexConfig.from_json(values["config"])})
            counts = found.documents, found.passages, found.tokens, found.first_position
            if found.datatype not in DATATYPES or not all(
                isinstance(count, int) and count >= 0 for count in counts
            ):
                raise InvalidInputError("other values")
        except (InvalidInputError, TypeError, KeyError) as error:
            raise BackendError(f"{place} is damaged: its record has {error}.") from error
        return found
