"""The record a backend keeps: how its documents were encoded, and whether all are there."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import BackendError, InvalidInputError

FORMAT = 1
"""Version of the rows and the record that this release writes and reads."""

DATATYPES = ("float32", "float16")
"""Datatypes a backend can store token vectors in."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A backend's record, stored as one row beside the passages.

    Attributes:
        config: Settings of the pushed index: model, width, codes, pruning, splitting.
        complete: Whether the last push to begin has finished.
        push: Random name of the last push; a change shows that another push interfered.
        documents: Number of documents.
        passages: Number of passages, one row each.
        tokens: Number of token vectors.
        first_position: First position of the last push; later pushes start after its positions.
        datatype: One of `DATATYPES`.
        approximate: Whether the engine has its own index over the token vectors.
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
    def from_text(cls, text: str, address: str) -> Record:
        """Parse a record.

        Args:
            text: What `to_text` returned.
            address: Where it was read from, for messages.

        Raises:
            BackendError: The record is damaged, or of a format this release does not read.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values["format"]
        except (ValueError, TypeError, KeyError) as error:
            raise BackendError(f"{address} is damaged: its record cannot be read.") from error
        if version != FORMAT:
            raise BackendError(
                f"{address} has format {version!r}, this release reads {FORMAT}; push the index "
                "to another name, or use the release that pushed it."
            )
        try:
            if set(values) != {item.name for item in fields(cls)}:
                raise InvalidInputError("missing or unknown keys")
            record = cls(**{**values, "config": IndexConfig.from_json(values["config"])})
            counts = record.documents, record.passages, record.tokens, record.first_position
            if record.datatype not in DATATYPES or not all(
                isinstance(count, int) and count >= 0 for count in counts
            ):
                raise InvalidInputError("an invalid datatype or count")
        except (InvalidInputError, TypeError, KeyError) as error:
            raise BackendError(f"{address} is damaged: its record has {error}.") from error
        return record
