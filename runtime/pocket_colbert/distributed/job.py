"""The job file: written before encoding starts, so that an interrupted run can resume."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from pocket_colbert.backends.record import DATATYPES
from pocket_colbert.config import IndexConfig
from pocket_colbert.distributed.corpus_sources import NamedFile, PartSize
from pocket_colbert.distributed.object_storage import FileInfo
from pocket_colbert.errors import BackendError, InvalidInputError
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.types import EncodedDocument

FORMAT = 1
"""Version of the job file and its parts that this release writes and reads."""

_POSITIONS = 1 << 32
"""Positions reserved for each file, and so the most documents it can have."""


@dataclass(frozen=True)
class Counts:
    """Numbers of documents, passages and token vectors."""

    documents: int
    passages: int
    tokens: int

    @classmethod
    def of(cls, encoded: Sequence[EncodedDocument]) -> Counts:
        """Count encoded documents."""
        passages = [item for _, parts in encoded for item in parts]
        return cls(len(encoded), len(passages), sum(len(item.embedding) for item in passages))

    @classmethod
    def total(cls, counts: Sequence[Counts]) -> Counts:
        """Add up several counts."""
        return cls(*(sum(getattr(c, name) for c in counts) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Part:
    """A run of documents of one file, encoded by one worker.

    Attributes:
        name: Its name; sorting parts by name puts the documents in order.
        documents: Number of documents.
        position: Position of its first document; orders documents with equal scores.
    """

    name: str
    documents: int
    position: int


@dataclass(frozen=True)
class JobFile:
    """A file and the number of documents in each of its parts."""

    source: NamedFile
    parts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """Everything the result depends on: equal jobs give equal results.

    Attributes:
        config: Model, width, pruning, splitting, and default settings of an index built from it.
        fields: Names of keys and columns.
        datatype: How components are stored, "float16" or "float32".
        size: Size limit of a part.
        files: The files to encode.
    """

    config: IndexConfig
    fields: Fields
    datatype: str
    size: PartSize
    files: tuple[JobFile, ...]

    @cached_property  # compared with every part
    def id(self) -> str:
        """The SHA-256 of the job as text."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    @property
    def documents(self) -> int:
        """Number of documents."""
        return sum(sum(file.parts) for file in self.files)

    @property
    def end(self) -> int:
        """A position past every document's."""
        return len(self.files) * _POSITIONS

    def parts_of(self, number: int) -> Iterator[Part]:
        """Iterate over the parts of a file."""
        position = number * _POSITIONS
        for part, documents in enumerate(self.files[number].parts):
            yield Part(f"{number:06d}-{part:06d}", documents, position)
            position += documents

    def parts(self) -> Iterator[Part]:
        """Iterate over all parts."""
        for number in range(len(self.files)):
            yield from self.parts_of(number)

    def to_text(self) -> str:
        """Return the job as JSON."""
        values = asdict(self) | {"config": self.config.to_json(), "format": FORMAT}
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_text(cls, text: str, location: str) -> Job:
        """Parse a job.

        Args:
            text: What `to_text` returned.
            location: Where it was read from, for messages.

        Raises:
            BackendError: The job is damaged, or of a format this release does not read.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("format")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackendError(f"{location} is damaged: it is not a job in JSON.") from error
        if version != FORMAT:
            raise BackendError(
                f"{location} has format {version!r}, this release reads {FORMAT}; encode into "
                "another folder or table, or use the release that wrote it."
            )
        try:
            return cls._from_json(values)
        except (InvalidInputError, TypeError, KeyError, ValueError, AttributeError) as error:
            raise BackendError(f"{location} is damaged: {error}.") from error

    @classmethod
    def _from_json(cls, values: Mapping[str, Any]) -> Job:
        job = cls(
            config=IndexConfig.from_json(values["config"]),
            fields=Fields(**values["fields"]),
            datatype=values["datatype"],
            size=PartSize(**values["size"]),
            files=tuple(_file(item) for item in values["files"]),
        )
        if job.datatype not in DATATYPES or set(values) != set(asdict(job)):
            raise InvalidInputError("a job has other keys or values")
        return job


def _file(values: Mapping[str, Any]) -> JobFile:
    source, parts = values["source"], tuple(values["parts"])
    if not all(isinstance(count, int) and 0 < count < _POSITIONS for count in parts):
        raise InvalidInputError("a part has an invalid number of documents")
    return JobFile(NamedFile(source["name"], FileInfo(**source["file"])), parts)
