"""Where parts are written, and what is known of them afterwards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from pocket_colbert.bulk.job import Counts, Encoded, Job, Part
from pocket_colbert.bulk.places import Place

JOB = "job.json"
PARTS = "parts"


class Target(ABC):
    """A place for what one job makes.

    Each part is there wholly or not at all, and writing it again changes nothing: whatever dies
    in between, nothing is lost or doubled.

    Attributes:
        folder: Where the job is written down and, in its folder `PARTS`, what is finished.
    """

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    @abstractmethod
    def __str__(self) -> str:
        """Return the address."""

    def read_job(self) -> Job | None:
        """Return the job that was begun here; None if none was.

        Raises:
            StoreError: The place cannot be used, or its job is damaged.
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
        """Raise StoreError where something else is."""

    @abstractmethod
    def write_part(self, job: Job, part: Part, encoded: Sequence[Encoded]) -> Counts:
        """Write a part, in one step and in place of what may be there of it."""

    @abstractmethod
    def finished(self, job: Job) -> dict[str, Counts]:
        """Return what is there of the parts that are finished, by name.

        Raises:
            StoreError: A part is damaged or belongs to another job.
        """

    @abstractmethod
    def completed(self, job: Job) -> Counts | None:
        """Return how much there is once `complete` has come to its end, None before."""

    @abstractmethod
    def complete(self, job: Job, counts: Mapping[str, Counts]) -> None:
        """Make one whole of all parts, once all are there; again changes nothing."""
