"""What is to be done, written down before it begins, so that it can go on where it was."""

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
from pocket_colbert.distributed.object_storage import FoundFile
from pocket_colbert.errors import BackendError, InvalidInputError
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.types import EncodedDocument

FORMAT = 1
"""Version of the job and of its parts that this release writes and reads."""

_POSITIONS = 1 << 32
"""Documents that a file may have."""


@dataclass(frozen=True)
class Counts:
    """How much there is of documents, their passages and their token vectors."""

    documents: int
    passages: int
    tokens: int

    @classmethod
    def of(cls, encoded: Sequence[EncodedDocument]) -> Counts:
        """Count."""
        passages = [item for _, parts in encoded for item in parts]
        return cls(len(encoded), len(passages), sum(len(item.embedding) for item in passages))

    @classmethod
    def total(cls, counts: Sequence[Counts]) -> Counts:
        """Add up."""
        return cls(*(sum(getattr(c, name) for c in counts) for name in cls.__dataclass_fields__))


@dataclass(frozen=True)
class Part:
    """Some documents of one file, which one worker encodes.

    Attributes:
        name: Parts in the order of their names are in the order of the documents.
        documents: How many there are.
        position: Of the first; orders documents that score the same.
    """

    name: str
    documents: int
    position: int


@dataclass(frozen=True)
class JobFile:
    """A file and the number of documents of each of its parts."""

    source: NamedFile
    parts: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that decides what comes out; two jobs that are equal make the same.

    Attributes:
        config: Model, width, pruning and splitting, and settings of an index made of it.
        fields: Names of keys and columns.
        datatype: Of the components that are written, "float16" or "float32".
        size: Of parts.
        files: The files.
    """

    config: IndexConfig
    fields: Fields
    datatype: str
    size: PartSize
    files: tuple[JobFile, ...]

    @cached_property  # every part is checked against it
    def id(self) -> str:
        """The sha256 of all of it."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    @property
    def documents(self) -> int:
        """How many there are."""
        return sum(sum(file.parts) for file in self.files)

    @property
    def end(self) -> int:
        """The position behind the last document's."""
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
    def from_text(cls, text: str, place: str) -> Job:
        """Read a job.

        Args:
            text: What `to_text` returned.
            place: Where it was found, for the message.

        Raises:
            BackendError: It is damaged, or of a format that this release does not know.
        """
        try:
            values: dict[str, Any] = json.loads(text)
            version = values.pop("format")
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise BackendError(f"{place} is damaged: it is no JSON of a job.") from error
        if version != FORMAT:
            raise BackendError(
                f"{place} is of format {version!r}, this release reads {FORMAT}; encode again to "
                "another place, or use the release that wrote it."
            )
        try:
            return cls._from_json(values)
        except (InvalidInputError, TypeError, KeyError, ValueError, AttributeError) as error:
            raise BackendError(f"{place} is damaged: {error}.") from error

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
            raise InvalidInputError("it has other keys or values than a job")
        return job


def _file(values: Mapping[str, Any]) -> JobFile:
    source, parts = values["source"], tuple(values["parts"])
    if not all(isinstance(count, int) and 0 < count < _POSITIONS for count in parts):
        raise InvalidInputError("its parts have no number of documents")
    return JobFile(NamedFile(source["name"], FoundFile(**source["file"])), parts)
