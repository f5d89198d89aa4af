"""Where parts are written, and what is known of them afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, TypeVar

from pocket_colbert.distributed.job import Counts, Job, Part
from pocket_colbert.distributed.object_storage import Place
from pocket_colbert.types import EncodedDocument

JOB = "job.json"
PARTS = "parts"
_READERS = 16
_Read = TypeVar("_Read")


class Target(ABC):
    """A place for what one job makes.

    Each part is there wholly or not at all, and writing it again changes nothing: whatever dies
    in between, nothing is lost or doubled.

    Attributes:
        folder: Where the job is written down and, in its folder `PARTS`, what is finished.
        suffix: Of the files in that folder, whose names begin with those of parts.
    """

    suffix: ClassVar[str]

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    @abstractmethod
    def __str__(self) -> str:
        """Return the address."""

    def read_job(self) -> Job | None:
        """Return the job that was begun here; None if none was.

        Raises:
            BackendError: The place cannot be used, or its job is damaged.
        """
        file = self.folder / JOB
        if file.kind() is None:
            return None
        return Job.from_text(file.read().decode(errors="replace"), str(file))

    def write_job(self, job: Job) -> None:
        """Write the job down."""
        (self.folder / JOB).write(job.to_text().encode())

    @abstractmethod
    def check_free(self) -> None:
        """Raise BackendError where something else is."""

    @abstractmethod
    def write_part(self, job: Job, part: Part, encoded: Sequence[EncodedDocument]) -> Counts:
        """Write a part, in one step and in place of what may be there of it."""

    @abstractmethod
    def counts_of(self, job: Job, name: str) -> Counts:
        """Return how much there is of a part that is finished.

        Raises:
            BackendError: It is damaged or belongs to another job.
        """

    def finished(self, job: Job) -> dict[str, Counts]:
        """Return how much there is of the parts that are finished, by name; see `counts_of`."""
        there = (self.folder / PARTS).sizes()
        names = [part.name for part in job.parts() if part.name + self.suffix in there]
        return self.of_each(names, partial(self.counts_of, job))

    def of_each(self, names: Sequence[str], read: Callable[[str], _Read]) -> dict[str, _Read]:
        """Read something of parts, many at a time: in object storage each takes a while."""
        with ThreadPoolExecutor(_READERS) as executor:
            return dict(zip(names, executor.map(read, names), strict=True))

    def part_file(self, name: str) -> Place:
        """Return the file of a part."""
        return self.folder / PARTS / (name + self.suffix)

    @abstractmethod
    def completed(self, job: Job) -> Counts | None:
        """Return how much there is once `complete` has come to its end, None before."""

    @abstractmethod
    def complete(self, job: Job, counts: Mapping[str, Counts]) -> None:
        """Make one whole of all parts, once all are there; again changes nothing."""
