"""Where an encoding job writes its parts, and how it reads their state back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, TypeVar

from pocket_colbert.distributed.job import Counts, Job, Part
from pocket_colbert.distributed.object_storage import Location
from pocket_colbert.types import EncodedDocument

JOB = "job.json"
PARTS = "parts"
_READERS = 16
_Read = TypeVar("_Read")


class Target(ABC):
    """The destination of one job.

    A part is there completely or not at all, and writing it again changes nothing, so a crash at
    any point neither loses nor duplicates documents.

    Attributes:
        folder: Holds the job file and, in the subfolder `PARTS`, one file per finished part.
        suffix: Suffix of the files in that subfolder; a part's name is the rest.
    """

    suffix: ClassVar[str]

    def __init__(self, folder: Location) -> None:
        self.folder = folder

    @abstractmethod
    def __str__(self) -> str:
        """Return the address."""

    def read_job(self) -> Job | None:
        """Return the job that was started here, or None.

        Raises:
            BackendError: The folder cannot be used, or the job file is damaged.
        """
        file = self.folder / JOB
        if file.kind() is None:
            return None
        return Job.from_text(file.read().decode(errors="replace"), str(file))

    def write_job(self, job: Job) -> None:
        """Write the job file."""
        (self.folder / JOB).write(job.to_text().encode())

    @abstractmethod
    def check_free(self) -> None:
        """Raise BackendError if something else is already there."""

    @abstractmethod
    def write_part(self, job: Job, part: Part, encoded: Sequence[EncodedDocument]) -> Counts:
        """Write a part atomically, replacing any earlier version of it."""

    @abstractmethod
    def counts_of(self, job: Job, name: str) -> Counts:
        """Return the counts of a finished part.

        Raises:
            BackendError: The part is damaged or belongs to another job.
        """

    def finished(self, job: Job) -> dict[str, Counts]:
        """Return the counts of all finished parts by name; see `counts_of`."""
        files = (self.folder / PARTS).sizes()
        names = [part.name for part in job.parts() if part.name + self.suffix in files]
        return self.of_each(names, partial(self.counts_of, job))

    def of_each(self, names: Sequence[str], read: Callable[[str], _Read]) -> dict[str, _Read]:
        """Read something of each part in parallel, since object storage is slow to answer."""
        with ThreadPoolExecutor(_READERS) as executor:
            return dict(zip(names, executor.map(read, names), strict=True))

    def part_file(self, name: str) -> Location:
        """Return the file of a part."""
        return self.folder / PARTS / (name + self.suffix)

    @abstractmethod
    def completed(self, job: Job) -> Counts | None:
        """Return the total counts once `complete` has finished, None before."""

    @abstractmethod
    def complete(self, job: Job, counts: Mapping[str, Counts]) -> None:
        """Combine all parts once they are finished; calling it again changes nothing."""
