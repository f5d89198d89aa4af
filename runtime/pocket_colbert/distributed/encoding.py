"""Encode a corpus of any size with Ray: begin, go on, finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pocket_colbert.backends.record import DATATYPES
from pocket_colbert.config import IndexConfig, Pruning, Splitting
from pocket_colbert.distributed.corpus_sources import PartSize, Survey, find_files, read_file
from pocket_colbert.distributed.job import Counts, Job, JobFile
from pocket_colbert.distributed.open_target import from_anywhere, target_at
from pocket_colbert.distributed.target import Target
from pocket_colbert.distributed.workers import Workers, cluster, encode_parts, survey
from pocket_colbert.errors import BackendError, CorpusError, InvalidInputError
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import DEFAULT_MODEL

PART = PartSize(documents=1000, characters=2_000_000)
"""Some half a million token vectors, 100 MB: what one worker has in memory, and may lose."""


@dataclass(frozen=True)
class EncodingReport:
    """What has been done.

    Attributes:
        encoded: Documents that were encoded this time.
        documents: Documents that are there now.
        passages: Their passages.
        tokens: Their token vectors.
    """

    encoded: int
    documents: int
    passages: int
    tokens: int


def encode_corpus(
    paths: Sequence[str | Path],
    into: str | Path,
    *,
    model: str | Path = DEFAULT_MODEL,
    dim: int | None = None,
    pruning: Pruning | None = None,
    splitting: Splitting | None = None,
    fields: Fields | None = None,
    datatype: str = "float16",
    approximate: bool = False,
    part_size: PartSize = PART,
    workers: Workers | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> EncodingReport:
    """Encode JSON lines and Parquet files on all machines of a Ray cluster.

    All is read once before anything is encoded, so that a line that is wrong and an id that comes
    twice are told at once. Then files are cut into parts, always the same ones; a worker encodes a
    part and writes it in one step. Whatever is killed, worker, machine or this process, nothing is
    lost or doubled: call it again with the same arguments, and parts that are finished stay.
    Texts have the same vectors however many workers there are.

    Args:
        paths: Files or folders of them: paths, or addresses such as s3://bucket/corpus.
        into: A folder for Parquet files, path or address, to be read by `EncodedCorpus`; or an
            address of LanceDB, such as lance+s3://bucket/papers, at which `open_store` finds a
            table once all are there.
        model: See `Encoder.load`; workers must find it under the same name.
        dim: See `Encoder`.
        pruning: Which token vectors are kept.
        splitting: How long documents become passages.
        fields: Names of keys and columns.
        datatype: How components are stored, "float16" or "float32".
        approximate: Whether a table gets an index over token vectors.
        part_size: When a part is full.
        workers: How the work is shared out.
        progress: Called with the number of documents that are finished, and of all.

    Returns:
        What has been done.

    Raises:
        CorpusError: A file cannot be read or is not as `fields` says, or two documents have the
            same id.
        InvalidInputError: An argument breaks its rule, or differs from what it was when this was
            begun.
        ModelError: There is no such model, here or on a machine of the cluster.
        BackendError: `into` cannot be used, or something else is there.
        ClusterError: Ray cannot be reached, or a worker failed for a reason of its own.
        OptionalDependencyError: The extra "ray", or for LanceDB "ray-lance", is not installed.
    """
    if datatype not in DATATYPES:
        raise InvalidInputError(f"datatype must be one of {DATATYPES}, got {datatype!r}.")
    workers = workers or Workers()
    encoder = Encoder.load(model, threads=1, dim=dim)
    encoder.encode_passages(["x"], splitting=splitting, pruning=pruning)  # or say why not
    files = find_files([str(path) for path in paths])
    asked = Job(
        config=IndexConfig(
            dim=encoder.dim, pruning=pruning or Pruning(), splitting=splitting or Splitting(),
            model=encoder.card.fingerprint,
        ),
        fields=fields or Fields(), datatype=datatype, size=part_size,
        files=tuple(JobFile(file, ()) for file in files),
    )  # fmt: skip
    model_name = str(Path(model).absolute() if Path(model).is_dir() else model)
    place: dict[str, Any] = {"into": from_anywhere(str(into)), "approximate": approximate}
    with cluster(workers):  # Lance is imported after it: what it brings must not be forked
        target = target_at(**place)
        begun = target.read_job()
        if begun is None:
            target.check_free()
            surveyed = _surveyed(asked, survey(files, asked.fields, asked.size))
            begun = target.read_job()  # another may have begun meanwhile
            if begun is None:
                target.write_job(surveyed)
                begun = surveyed
        job: Job = begun
        _check_same(job, asked, target)
        total = target.completed(job)
        if total is not None:
            progress(total.documents, total.documents)
            return _report(0, total)
        finished = target.finished(job)
        before = done = Counts.total(list(finished.values())).documents
        progress(done, job.documents)
        for name, counts in encode_parts(job, place, model_name, workers, finished):
            finished[name] = counts
            done += counts.documents
            progress(done, job.documents)
    for part in job.parts():
        if part.name not in finished or finished[part.name].documents != part.documents:
            raise BackendError(
                f"part {part.name} of {target} is not whole; delete it and try again."
            )
    if target.read_job() != job:
        raise BackendError(f"another job has begun at {target} meanwhile; encode to another place.")
    target.complete(job, finished)
    return _report(done - before, Counts.total(list(finished.values())))


def _report(encoded: int, counts: Counts) -> EncodingReport:
    return EncodingReport(encoded, counts.documents, counts.passages, counts.tokens)


def _surveyed(asked: Job, surveys: Sequence[Survey]) -> Job:
    """Return the job with its parts, once it is known that it can be done."""
    _check_ids(asked, surveys)
    files = zip(asked.files, surveys, strict=True)
    job = replace(asked, files=tuple(replace(file, parts=found.parts) for file, found in files))
    if not job.documents:
        names = ", ".join(file.source.name for file in job.files[:3])
        raise CorpusError(f"there are no documents in {names}.")
    return job


def _check_same(begun: Job, asked: Job, target: Target) -> None:
    what = {
        "files": ([file.source for file in begun.files], [file.source for file in asked.files]),
        "model": (begun.config.model, asked.config.model),
        "settings": (begun.config.to_json(), asked.config.to_json()),
        "fields": (begun.fields, asked.fields),
        "datatype": (begun.datatype, asked.datatype),
        "part size": (begun.size, asked.size),
    }
    for name, (before, now) in what.items():
        if before != now:
            raise InvalidInputError(
                f"{target} was begun with another choice of {name}: {_difference(before, now)}; "
                "encode to another place, or delete what is there."
            )


def _difference(before: object, now: object) -> str:
    """Say where two lists, or two JSON objects, differ first."""
    if isinstance(before, dict) and isinstance(now, dict):
        name = next(key for key in before if before[key] != now[key])
        return f"{name}: {_difference(before[name], now[name])}"
    if isinstance(before, list) and isinstance(now, list):
        pairs = zip_longest(before, now)
        before, now = next(pair for pair in pairs if pair[0] != pair[1])
    return f"it was {before}, now it is {now}"


def _check_ids(job: Job, surveys: Sequence[Survey]) -> None:
    """Raise CorpusError when two documents have the same id."""
    digests = np.frombuffer(b"".join(found.digests for found in surveys), "S16")
    order = np.argsort(digests, kind="stable")
    same = np.flatnonzero(digests[order[1:]] == digests[order[:-1]])
    if not len(same):
        return
    ends = np.cumsum([sum(found.parts) for found in surveys])
    places, name = [], ""
    for position in order[same[0] : same[0] + 2].tolist():
        number = int(np.searchsorted(ends, position, side="right"))
        first = int(ends[number - 1]) if number else 0
        source = job.files[number].source
        found = next(islice(read_file(source, job.fields), position - first, None))
        name = found.document_id
        places.append(f"{source.name} (document {position - first + 1})")
    raise CorpusError(f"document ids must differ, got {name!r} twice, in {' and '.join(places)}.")
