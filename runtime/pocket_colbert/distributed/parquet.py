"""Write encoded documents to a folder of Parquet files, one per part, and read them back."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backends.arrow_rows import vectors_of, vectors_type
from pocket_colbert.backends.rows import metadata_text
from pocket_colbert.checks import checked_document
from pocket_colbert.config import IndexConfig
from pocket_colbert.distributed.arrow import pa, pq
from pocket_colbert.distributed.corpus_sources import digest_of_id
from pocket_colbert.distributed.job import FORMAT, Counts, Job, Part
from pocket_colbert.distributed.object_storage import Location
from pocket_colbert.distributed.target import PARTS, Target
from pocket_colbert.errors import BackendError, BackendNotFoundError
from pocket_colbert.metadata import checked_json
from pocket_colbert.sections import sections_from_json, sections_to_json
from pocket_colbert.types import Document, EncodedDocument, Passage

COMPLETE = "complete.json"
_KEY = b"pocket_colbert"
_ROWS = 64
"""Documents per row group, and so how many are in memory while a part is read."""


class ParquetTarget(Target):
    """A folder of Parquet files."""

    suffix = ".parquet"

    def __init__(self, uri: str | Path) -> None:
        """Name the folder, local or in object storage; it may not exist yet."""
        super().__init__(Location(uri))

    def __str__(self) -> str:
        return str(self.folder)

    def check_free(self) -> None:
        """See `Target.check_free`."""
        kind = self.folder.kind()
        if kind == "file" or (kind == "folder" and next(self.folder.all_files(), None)):
            raise BackendError(
                f"{self.folder} already exists and is not empty; choose another folder."
            )

    def write_part(self, job: Job, part: Part, encoded: Sequence[EncodedDocument]) -> Counts:
        """See `Target.write_part`."""
        counts = Counts.of(encoded)
        described = {"format": FORMAT, "job": job.id, "part": part.name, **asdict(counts)}
        schema = _schema(job).with_metadata({_KEY: json.dumps(described).encode()})
        content = io.BytesIO()
        # A dictionary shrinks columns that repeat, such as `source`; vectors do not repeat.
        dictionary = [item.name for item in schema if item.type == pa.string()]
        with pq.ParquetWriter(
            content, schema, compression="zstd", use_dictionary=dictionary, write_page_checksum=True
        ) as writer:
            for first in range(0, len(encoded), _ROWS):
                writer.write_table(_table(encoded[first : first + _ROWS], schema))
        self.part_file(part.name).write(content.getvalue())
        return counts

    def counts_of(self, job: Job, name: str) -> Counts:
        """See `Target.counts_of`."""
        file = self.part_file(name)
        with _opened(file) as opened:
            return _described(opened, job, name, file)

    def completed(self, job: Job) -> Counts | None:
        """See `Target.completed`."""
        parts = self.read_parts(job)
        return None if parts is None else Counts.total([counts for counts, _ in parts.values()])

    def complete(self, job: Job, counts: Mapping[str, Counts]) -> None:
        """See `Target.complete`."""
        sizes = (self.folder / PARTS).sizes()
        parts = {name: [*asdict(item).values(), sizes[name + self.suffix]]
                 for name, item in counts.items()}  # fmt: skip
        text = json.dumps({"format": FORMAT, "job": job.id, "parts": parts})
        (self.folder / COMPLETE).write(text.encode())

    def read_parts(self, job: Job) -> dict[str, tuple[Counts, int]] | None:
        """Return the counts of each part and its file's size, or None before `complete`.

        Raises:
            BackendError: The list of parts is damaged, or a file is missing or has another size.
        """
        file, expected = self.folder / COMPLETE, {part.name for part in job.parts()}
        if file.kind() is None:
            return None
        try:
            values = json.loads(file.read())
            parts = {
                name: (Counts(*map(int, item[:3])), int(item[3]))
                for name, item in sorted(values["parts"].items())
            }
            if values["job"] != job.id or set(parts) != expected:
                raise ValueError("it belongs to another job")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise _damaged(file, error) from error
        sizes = (self.folder / PARTS).sizes()
        for name, (_, size) in parts.items():
            actual = sizes.get(name + self.suffix)
            if actual != size:
                raise BackendError(
                    f"{self.part_file(name)} must have {size} bytes, got {actual or 'no file'}; "
                    f"delete it and {file.name}, and call `encode-corpus` again."
                )
        return parts


class EncodedCorpus:
    """Reads what `encode_corpus` wrote to a folder, documents in their original order.

    Attributes:
        config: Default settings of an index built from it.
        counts: Numbers of documents, passages and token vectors.
    """

    def __init__(self, uri: str | Path) -> None:
        """Open a corpus; token vectors are read on demand.

        Args:
            uri: The folder, as a path or an address in object storage.

        Raises:
            BackendNotFoundError: There is no encoded corpus at that address.
            BackendError: The corpus is incomplete or damaged, or cannot be reached.
        """
        self._target = ParquetTarget(uri)
        folder, job = self._target.folder, self._target.read_job()
        if job is None:
            raise BackendNotFoundError(f"there is no encoded corpus at {folder}.")
        self._job = job
        parts = self._target.read_parts(job)
        if parts is None:
            raise BackendError(
                f"{folder} is incomplete: encoding is under way or was interrupted; call "
                "`encode-corpus` again to resume."
            )
        self._parts = parts
        self.config: IndexConfig = job.config
        self.counts: Counts = Counts.total([counts for counts, _ in self._parts.values()])
        self._digests: tuple[NDArray[np.bytes_], NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        """Return the number of documents."""
        return self.counts.documents

    def __repr__(self) -> str:
        return f"<EncodedCorpus {self._target}: {len(self)} documents>"

    @property
    def snapshot(self) -> EncodedCorpus:
        """The corpus itself, since it never changes."""
        return self

    def encoded(self) -> Iterator[EncodedDocument]:
        """Iterate over the documents and their passages, a few in memory at a time.

        Raises:
            BackendError: A file is damaged or cannot be reached.
        """
        for name in self._parts:
            file, seen = self._target.part_file(name), []
            for batch in self._batches(name, None):
                try:
                    documents = _documents(batch, self.config.dim)
                except (ValueError, TypeError, KeyError, RecursionError) as error:
                    raise _damaged(file, error) from error
                seen.append(Counts.of(documents))
                yield from documents
            if Counts.total(seen) != self._parts[name][0]:
                raise _damaged(file, "it does not hold as many documents as it says")

    def largest_passage(self) -> tuple[str, int]:
        """Return the id of a document with the most token vectors in a passage, and how many.

        This reads the corpus once.
        """
        sizes = (
            (document.document_id, len(passage.embedding))
            for document, passages in self.encoded() for passage in passages
        )  # fmt: skip
        return max(sizes, key=lambda item: item[1], default=("", 0))

    def passage_counts(self, document_ids: Sequence[str]) -> dict[str, int]:
        """Return the number of passages of each of these documents that is here, by id.

        The first call loads 20 bytes per document, which stay in memory.
        """
        if self._digests is None:
            digests, counts = [np.empty(0, "S16")], [np.empty(0, np.int32)]
            for name in self._parts:
                for batch in self._batches(name, ["document_id", "passages"]):
                    ids = batch.column("document_id").to_pylist()
                    digests.append(np.array([digest_of_id(item) for item in ids], "S16"))
                    counts.append(batch.column("passages").value_lengths().to_numpy())
            joined = np.concatenate(digests)
            order = np.argsort(joined)
            self._digests = joined[order], np.concatenate(counts).astype(np.int32)[order]
        known, numbers = self._digests
        wanted = np.array([digest_of_id(item) for item in document_ids], "S16")
        positions = np.searchsorted(known, wanted)
        return {
            item: int(numbers[position])
            for item, position, digest in zip(document_ids, positions.tolist(), wanted, strict=True)
            if position < len(known) and known[position] == digest
        }

    def _batches(self, name: str, columns: list[str] | None) -> Iterator[Any]:
        location = self._target.part_file(name)
        with _opened(location) as file:
            _described(file, self._job, name, location)
            batches = file.iter_batches(batch_size=_ROWS, columns=columns)
            while True:
                try:
                    batch = next(batches, None)
                    if batch is None:
                        return
                    batch.validate(full=True)
                except (OSError, pa.ArrowException) as error:
                    raise _damaged(location, error) from error
                yield batch


@contextmanager
def _opened(location: Location) -> Iterator[Any]:
    """Open a Parquet file; raise BackendError if it is not one."""
    with location.open() as stream:
        try:
            file = pq.ParquetFile(stream, page_checksum_verification=True)
        except (OSError, pa.ArrowException) as error:
            raise _damaged(location, error) from error
        yield file


def _damaged(location: Location, error: object) -> BackendError:
    return BackendError(
        f"{location} is damaged: {error}. Delete it and call `encode-corpus` again."
    )


def _schema(job: Job) -> Any:
    text, number = pa.string(), pa.int64()
    passage = pa.struct(
        {"start": number, "end": number, "tokens": pa.int32(), "readable": pa.float32()}
    )
    return pa.schema(
        {
            "document_id": text, "title": text, "text": text, "metadata": text, "source": text,
            "sections": text, "passages": pa.list_(passage),
            "vectors": vectors_type(job.config.dim, job.datatype),
        }
    )  # fmt: skip


def _table(encoded: Sequence[EncodedDocument], schema: Any) -> Any:
    documents = [document for document, _ in encoded]
    columns: dict[str, list[Any]] = {
        name: [getattr(document, name) for document in documents]
        for name in ("document_id", "title", "text", "source")
    }
    columns["metadata"] = [metadata_text(document) for document in documents]
    columns["sections"] = [
        json.dumps(sections_to_json(document.sections), ensure_ascii=False)
        for document in documents
    ]
    columns["passages"] = [
        [
            {"start": p.start, "end": p.end, "tokens": len(p.embedding), "readable": p.readable}
            for p in passages
        ]
        for _, passages in encoded
    ]
    vectors = [np.concatenate([p.embedding for p in passages]) for _, passages in encoded]
    arrays = [
        vectors_of(vectors, item.type)
        if item.name == "vectors"
        else pa.array(columns[item.name], item.type)
        for item in schema
    ]
    return pa.table(arrays, schema=schema)


def _described(file: Any, job: Job, name: str, location: Location) -> Counts:
    """Return the counts in a part's metadata; BackendError if it is not the expected part."""
    try:
        values = json.loads((file.schema_arrow.metadata or {})[_KEY])
        counts = Counts(values["documents"], values["passages"], values["tokens"])
        if (values["format"], values["job"], values["part"]) != (FORMAT, job.id, name):
            raise ValueError("it belongs to another job")
        if not file.schema_arrow.equals(_schema(job)):
            raise ValueError("it has other columns")
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(location, error) from error
    return counts


def _documents(batch: Any, dim: int) -> list[EncodedDocument]:
    rows = batch.select(
        ["document_id", "title", "text", "metadata", "source", "sections", "passages"]
    )
    column = batch.column("vectors")
    starts = column.offsets.to_numpy()
    flat = column.values
    if flat.null_count or flat.values.null_count:
        raise ValueError("components are missing")
    vectors = flat.flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    encoded = []
    for number, row in enumerate(rows.to_pylist()):
        embedding = vectors[starts[number] : starts[number + 1]].astype(np.float32)
        if not np.isfinite(embedding).all():
            raise ValueError(f"{row['document_id']!r} has a component that is not finite")
        if not row["document_id"]:
            raise ValueError("a document has no id")
        metadata = checked_json(row.pop("metadata"))
        parts = row.pop("passages")
        sections = sections_from_json(checked_json(row.pop("sections")))
        document = checked_document(Document(metadata=metadata, sections=sections, **row))
        encoded.append(EncodedDocument(document, _passages(document, parts, embedding)))
    return encoded


def _passages(
    document: Document, parts: Sequence[Mapping[str, Any]], embedding: NDArray[np.float32]
) -> list[Passage]:
    passages, first = [], 0
    for item in parts:
        start, end, tokens = item["start"], item["end"], item["tokens"]
        if not (0 <= start <= end <= len(document.text or "") and tokens >= 0):
            raise ValueError(f"{document.document_id!r} has a passage outside its text")
        if not 0 <= item["readable"] <= 1:
            raise ValueError(f"{document.document_id!r} has a passage readable to no share")
        embedded = embedding[first : first + tokens]
        passages.append(Passage(start, end, embedded, item["readable"]))
        first += tokens
    if first != len(embedding) or not passages:
        raise ValueError(
            f"{document.document_id!r} has {len(embedding)} token vectors, its passages {first}"
        )
    return passages
