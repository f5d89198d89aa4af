"""Write encoded documents into a LanceDB table whose fragments come from many workers.

A fragment belongs to no table until it is committed. Each worker writes fragments and, next to the
table, a note that lists them; one commit at the end makes a table of the listed fragments. A
fragment whose worker died before writing the note never becomes part of the table. LanceDB's
cleanup deletes it, but only after seven days, because until then another process could still
commit it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from pocket_colbert.backends.address import Address, parse_address
from pocket_colbert.backends.arrow_rows import cells_of, schema_of, table_of
from pocket_colbert.backends.engine import Layout
from pocket_colbert.backends.lance import Lance
from pocket_colbert.backends.record import Record
from pocket_colbert.backends.rows import RECORD_ID, digest_of, rows_of_document
from pocket_colbert.distributed.job import FORMAT, Counts, Job, Part
from pocket_colbert.distributed.object_storage import Location
from pocket_colbert.distributed.target import PARTS, Target
from pocket_colbert.errors import BackendError, OptionalDependencyError
from pocket_colbert.types import EncodedDocument

try:
    import lance
    from lance.fragment import FragmentMetadata, write_fragments
except ImportError as _error:
    raise OptionalDependencyError.of("encoding into LanceDB", "ray-lance") from _error


class LanceTarget(Target):
    """A table, and next to it a folder with the job and the notes, which are deleted at the end."""

    suffix = ".json"

    def __init__(self, address: str, *, approximate: bool = False) -> None:
        """Name the table, which may not exist yet.

        Args:
            address: See `backends.address`.
            approximate: Whether to index the table's token vectors.

        Raises:
            InvalidInputError: The address is malformed.
        """
        self._address: Address = parse_address(address)
        self._approximate = approximate
        super().__init__(Location(self._address.location) / f"{self._address.name}.encoding")
        self._table = f"{self._address.location.rstrip('/')}/{self._address.name}.lance"

    def __str__(self) -> str:
        return str(self._address)

    def check_free(self) -> None:
        """See `Target.check_free`."""
        if Lance(self._address).read_record() is not None:
            raise BackendError(f"there is already a table at {self}; choose another name.")

    def write_part(self, job: Job, part: Part, encoded: Sequence[EncodedDocument]) -> Counts:
        """See `Target.write_part`."""
        cells = [
            cells_of(row)
            for number, (document, passages) in enumerate(encoded)
            for row in rows_of_document(
                document, passages, digest_of(document, passages), part.position + number
            )
        ]
        counts = Counts.of(encoded)
        note = {
            "format": FORMAT,
            "job": job.id,
            **asdict(counts),
            "fragments": self._write(job, cells),
        }
        self.part_file(part.name).write(json.dumps(note).encode())
        return counts

    def counts_of(self, job: Job, name: str) -> Counts:
        """See `Target.counts_of`."""
        note = self._note(job, name)
        return Counts(note["documents"], note["passages"], note["tokens"])

    def completed(self, job: Job) -> Counts | None:
        """See `Target.completed`."""
        record = self._record()
        if record is None:
            return None
        if record.push != job.id:
            raise BackendError(f"something else has written to {self}; encode into another table.")
        return Counts(record.documents, record.passages, record.tokens) if record.complete else None

    def complete(self, job: Job, counts: Mapping[str, Counts]) -> None:
        """See `Target.complete`."""
        total = Counts.total(list(counts.values()))
        record = Record(
            config=job.config, complete=False, push=job.id, documents=total.documents,
            passages=total.passages, tokens=total.tokens, first_position=job.end,
            datatype=job.datatype, approximate=self._approximate,
        )  # fmt: skip
        if self._record() is None:
            notes = self.of_each(list(counts), partial(self._note, job)).values()
            cells = [{"row": RECORD_ID, "record": record.to_text()}]
            fragments = [f for note in notes for f in note["fragments"]] + self._write(job, cells)
            self._commit(job, fragments)
        engine = Lance(self._address)
        engine.read_record()
        engine.finish(Layout(job.config.dim, job.datatype, self._approximate, ()))
        engine.write_record(replace(record, complete=True).to_text())
        (self.folder / PARTS).delete()

    def _record(self) -> Record | None:
        text = Lance(self._address).read_record()
        return None if text is None else Record.from_text(text, str(self))

    def _write(self, job: Job, cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Write fragments without committing them; return their descriptions."""
        schema = schema_of(job.config.dim, job.datatype)
        with self._errors():
            written = write_fragments(
                table_of(cells, schema), self._table, schema=schema, mode="create"
            )
            return [fragment.to_json() for fragment in written]

    def _commit(self, job: Job, fragments: Sequence[dict[str, Any]]) -> None:
        with self._errors():
            operation = lance.LanceOperation.Overwrite(
                schema_of(job.config.dim, job.datatype),
                [FragmentMetadata.from_json(json.dumps(item)) for item in fragments],
            )
            lance.LanceDataset.commit(self._table, operation)

    def _note(self, job: Job, name: str) -> dict[str, Any]:
        file = self.part_file(name)
        try:
            note: dict[str, Any] = json.loads(file.read())
            numbers = [note[key] for key in ("documents", "passages", "tokens")]
            if (note["format"], note["job"]) != (FORMAT, job.id) or not all(
                isinstance(number, int) for number in numbers
            ):
                raise ValueError("it belongs to another job")
            note["fragments"][0]
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise BackendError(
                f"{file} is damaged: {error}. Delete it and call `encode-corpus` again."
            ) from error
        return note

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn Lance's exceptions into a BackendError that names the table."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise BackendError(f"{self} cannot be used: {reason}.") from error
