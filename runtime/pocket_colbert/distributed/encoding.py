"""Encode a corpus of any size with Ray: start, resume, finish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from pocket_colbert.backends.record import DATATYPES
from pocket_colbert.checks import check_choice
from pocket_colbert.config import IndexConfig, Pruning, Splitting
from pocket_colbert.distributed.corpus_sources import PartSize, Survey, find_files, read_file
from pocket_colbert.distributed.job import Counts, Job, JobFile
from pocket_colbert.distributed.open_target import absolute_address, target_at
from pocket_colbert.distributed.target import Target
from pocket_colbert.distributed.workers import Workers, cluster, encode_parts, survey
from pocket_colbert.errors import BackendError, CorpusError, InvalidInputError
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import DEFAULT_MODEL

PART = PartSize(documents=1000, characters=2_000_000)
"""Roughly half a million token vectors or 100 MB: what a worker holds, and can lose."""


@dataclass(frozen=True)
class EncodingReport:
    """What a call of `encode_corpus` did.

    Attributes:
        encoded: Documents that this call encoded.
        documents: Documents of the encoded corpus, earlier calls included.
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

    Everything is read once before any encoding, so that a malformed line or a repeated id is
    reported right away. Files are then split into parts, always the same ones; a worker encodes a
    part and writes it in one step. If a worker, a machine or this process dies, nothing is lost or
    duplicated: call again with the same arguments, and finished parts are kept. A text has the
    same vectors however many workers there are.

    Args:
        paths: Files or folders, as paths or as addresses such as s3://bucket/corpus.
        into: A folder for Parquet files, as a path or an address, which `EncodedCorpus` reads; or
            a LanceDB address such as lance+s3://bucket/papers, where `open_backend` finds the
            table once encoding is complete.
        model: See `Encoder.load`; workers must find it under the same name.
        dim: See `Encoder`.
        pruning: Which token vectors to keep.
        splitting: How to split long documents into passages.
        fields: Names of keys and columns.
        datatype: How components are stored, "float16" or "float32".
        approximate: Whether to index the token vectors of a LanceDB table.
        part_size: Size limit of a part.
        workers: How to distribute the work.
        progress: Called with the number of documents finished so far and the total.

    Returns:
        What was encoded and what there is now.

    Raises:
        CorpusError: A file cannot be read or does not fit `fields`, or two documents have the
            same id.
        InvalidInputError: An argument breaks its rule, or differs from the call being resumed.
        ModelError: The model does not exist here or on a machine of the cluster.
        BackendError: `into` cannot be used, or holds something else.
        ClusterError: Ray cannot be reached, or a worker failed for a reason of its own.
        OptionalDependencyError: The extra "ray", or for LanceDB "ray-lance", is not installed.
    """
    check_choice("datatype", datatype, DATATYPES)
    workers = workers or Workers()
    encoder = Encoder.load(model, threads=1, dim=dim)
    encoder.encode_passages(["x"], splitting=splitting, pruning=pruning)  # fail early if it cannot
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
    target_arguments: dict[str, Any] = {
        "into": absolute_address(str(into)), "approximate": approximate,
    }  # fmt: skip
    with cluster(workers):  # start Ray before importing Lance, whose threads must not be forked
        target = target_at(**target_arguments)
        started = target.read_job()
        if started is None:
            target.check_free()
            surveyed = _surveyed(asked, survey(files, asked.fields, asked.size))
            started = target.read_job()  # another process may have started meanwhile
            if started is None:
                target.write_job(surveyed)
                started = surveyed
        job: Job = started
        _check_same(job, asked, target)
        total = target.completed(job)
        if total is not None:
            progress(total.documents, total.documents)
            return _report(0, total)
        finished = target.finished(job)
        before = done = Counts.total(list(finished.values())).documents
        progress(done, job.documents)
        for name, counts in encode_parts(job, target_arguments, model_name, workers, finished):
            finished[name] = counts
            done += counts.documents
            progress(done, job.documents)
    for part in job.parts():
        if part.name not in finished or finished[part.name].documents != part.documents:
            raise BackendError(
                f"part {part.name} of {target} is incomplete; delete it and try again."
            )
    if target.read_job() != job:
        raise BackendError(
            f"another job has started at {target} meanwhile; encode into another folder or table."
        )
    target.complete(job, finished)
    return _report(done - before, Counts.total(list(finished.values())))


def _report(encoded: int, counts: Counts) -> EncodingReport:
    return EncodingReport(encoded, counts.documents, counts.passages, counts.tokens)


def _surveyed(asked: Job, surveys: Sequence[Survey]) -> Job:
    """Return the job with its parts; CorpusError if ids repeat or there are no documents."""
    _check_ids(asked, surveys)
    files = zip(asked.files, surveys, strict=True)
    job = replace(asked, files=tuple(replace(file, parts=seen.parts) for file, seen in files))
    if not job.documents:
        names = ", ".join(file.source.name for file in job.files[:3])
        raise CorpusError(f"there are no documents in {names}.")
    return job


def _check_same(started: Job, asked: Job, target: Target) -> None:
    settings = {
        "files": ([file.source for file in started.files], [file.source for file in asked.files]),
        "model": (started.config.model, asked.config.model),
        "settings": (started.config.to_json(), asked.config.to_json()),
        "fields": (started.fields, asked.fields),
        "datatype": (started.datatype, asked.datatype),
        "part size": (started.size, asked.size),
    }
    for name, (before, now) in settings.items():
        if before != now:
            raise InvalidInputError(
                f"{target} was started with other {name}: {_difference(before, now)}; "
                "encode into another folder or table, or delete this one."
            )


def _difference(before: object, now: object) -> str:
    """Describe the first difference between two lists or two JSON objects."""
    if isinstance(before, dict) and isinstance(now, dict):
        name = next(key for key in before if before[key] != now[key])
        return f"{name}: {_difference(before[name], now[name])}"
    if isinstance(before, list) and isinstance(now, list):
        pairs = zip_longest(before, now)
        before, now = next(pair for pair in pairs if pair[0] != pair[1])
    return f"it was {before}, now it is {now}"


def _check_ids(job: Job, surveys: Sequence[Survey]) -> None:
    """Raise CorpusError if two documents have the same id."""
    digests = np.frombuffer(b"".join(item.digests for item in surveys), "S16")
    order = np.argsort(digests, kind="stable")
    same = np.flatnonzero(digests[order[1:]] == digests[order[:-1]])
    if not len(same):
        return
    ends = np.cumsum([sum(item.parts) for item in surveys])
    positions, name = [], ""
    for position in order[same[0] : same[0] + 2].tolist():
        number = int(np.searchsorted(ends, position, side="right"))
        first = int(ends[number - 1]) if number else 0
        source = job.files[number].source
        name = next(islice(read_file(source, job.fields), position - first, None)).document_id
        positions.append(f"{source.name} (document {position - first + 1})")
    raise CorpusError(
        f"document ids must differ, got {name!r} twice, in {' and '.join(positions)}."
    )
