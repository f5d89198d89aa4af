"""Spread encoding over processors and machines. The only module that imports `ray`."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import warnings
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

from pocket_colbert import errors
from pocket_colbert.checks import check_whole_number
from pocket_colbert.distributed.corpus_sources import (
    NamedFile,
    PartSize,
    Survey,
    in_parts,
    read_file,
    survey_file,
)
from pocket_colbert.distributed.job import Counts, Job, Part
from pocket_colbert.distributed.open_target import target_at
from pocket_colbert.errors import (
    ClusterError,
    InvalidInputError,
    OptionalDependencyError,
    PocketColbertError,
)
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.pipeline import BATCH_TOKENS
from pocket_colbert.sections import sections_from_json, sections_to_json
from pocket_colbert.types import Document, EncodedDocument
from pocket_colbert.vectors.providers import is_gpu

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # send no usage statistics unasked

try:
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError as _error:
    raise OptionalDependencyError.of("encoding on many machines", "ray") from _error

_TASKS = 1000
"""Maximum number of tasks that many small files are spread over."""

_RAISED = re.compile(r"[\w.]+(Error|Exception|Exit|Operation)\b")
_READERS = 4
"""How many files to read at a time; reading is a thousand times faster than encoding."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How to distribute the work.

    Attributes:
        number: Number of workers, each a process with its own model; by default as many as the
            cluster's processors or GPUs allow.
        threads: Processors per worker.
        provider: See `Encoder`; with a GPU provider each worker gets one GPU.
        batch_tokens: See `Encoder`.
        address: Address of the Ray cluster's head node, "auto" for the cluster running on this
            machine, None to use this machine alone.
    """

    number: int | None = None
    threads: int = 1
    provider: str = "cpu"
    batch_tokens: int = BATCH_TOKENS
    address: str | None = None

    def __post_init__(self) -> None:
        for name in ("number", "threads"):
            check_whole_number(name, getattr(self, name), optional=name == "number")


class PartEncoder:
    """Encodes and writes parts; one runs in each worker."""

    def __init__(
        self, job_text: str, target: Mapping[str, Any], model: str, workers: Workers
    ) -> None:
        """Prepare a worker; it loads the model with its first part.

        Args:
            job_text: The job as text.
            target: Arguments of `target_at`.
            model: See `Encoder.load`; it must exist on every machine.
            workers: How the work is distributed.
        """
        self._job = Job.from_text(job_text, "the job")
        self._target = target_at(**target)
        self._model = model
        self._workers = workers
        self._encoder: Encoder | None = None

    def __call__(self, row: Mapping[str, str]) -> dict[str, str]:
        """Encode and write a part that `parts_of_file` yielded; return its name and counts."""
        if row["error"]:
            return dict(row)
        try:
            return _result(self._encode(*json.loads(row["result"])))
        except PocketColbertError as error:
            return _failure(error)

    def _encode(
        self, described: Mapping[str, Any], contents: Sequence[Mapping[str, Any]]
    ) -> tuple[str, dict[str, int]]:
        part, documents = Part(**described), [_document(values) for values in contents]
        if self._encoder is None:
            self._encoder = self._load()
        config = self._job.config
        passages = self._encoder.encode_passages(
            [document.text or "" for document in documents],
            titles=[document.title for document in documents],
            sections=[document.sections for document in documents],
            splitting=config.splitting,
            pruning=config.pruning,
        )
        encoded = list(map(EncodedDocument, documents, passages))
        counts = self._target.write_part(self._job, part, encoded)
        return part.name, asdict(counts)

    def _load(self) -> Encoder:
        config, workers = self._job.config, self._workers
        encoder = Encoder.for_index(
            config, self._model, threads=workers.threads, provider=workers.provider,
            batch_tokens=workers.batch_tokens,
        )  # fmt: skip
        fingerprint = encoder.card.fingerprint
        if fingerprint != config.model:
            raise InvalidInputError(
                f"every machine must have the same model under {self._model!r}: the job's has "
                f"fingerprint {config.model[:12]}, got {fingerprint[:12]} on one machine."
            )
        return encoder


def parts_of_file(row: Mapping[str, Any], job_text: str) -> Iterator[dict[str, str]]:
    """Read a file of a job and yield the parts that `row` asks for, with their documents."""
    job, number = Job.from_text(job_text, "the job"), row["file"]
    wanted = set(row["parts"])
    try:
        documents = in_parts(read_file(job.files[number].source, job.fields), job.size)
        for part, content in zip(job.parts_of(number), documents, strict=True):
            if part.name in wanted:
                yield _result([asdict(part), [_written(document) for document in content]])
    except PocketColbertError as error:
        yield _failure(error)


def _result(values: Any) -> dict[str, str]:
    """Pack what a worker returns into a row."""
    return {"result": json.dumps(values), "error": ""}


def _failure(error: PocketColbertError) -> dict[str, str]:
    """Pack an error into a row, since Ray would turn it into a long traceback."""
    return {"result": json.dumps([type(error).__name__, str(error)]), "error": "yes"}


@contextmanager
def cluster(workers: Workers) -> Iterator[None]:
    """Connect to Ray, or start it on this machine, for the length of a `with` block.

    Raises:
        ClusterError: Ray cannot be reached or started.
    """
    started = not ray.is_initialized()
    if started:
        _check_reachable(workers.address)
        try:
            ray.init(
                # Without "local", Ray would join any cluster already running on this machine.
                workers.address or "local",
                include_dashboard=False if workers.address is None else None,
                log_to_driver=False, logging_level=logging.ERROR,
            )  # fmt: skip
        except (RayError, OSError, RuntimeError, ValueError) as error:
            raise ClusterError(
                f"Ray cannot be reached at {workers.address or 'this machine'}: {error}"
            ) from error
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Raise ClusterError if nothing listens at the address; Ray itself would wait a long time."""
    parts = urlsplit(address if address and "://" in address else f"//{address or ''}")
    try:
        if parts.hostname and parts.port:
            socket.create_connection((parts.hostname, parts.port), timeout=10).close()
    except (OSError, ValueError) as error:
        raise ClusterError(f"Ray cannot be reached at {address}: {error}.") from error


def survey(files: Sequence[NamedFile], fields: Fields, size: PartSize) -> list[Survey]:
    """Read all files; see `survey_file`.

    Raises:
        CorpusError: See `read_file`.
        ClusterError: A worker failed for a reason of its own.
    """

    def run(row: Mapping[str, int]) -> dict[str, str]:
        try:
            seen = survey_file(files[row["id"]], fields, size)
        except PocketColbertError as error:
            return _failure(error)
        return _result([row["id"], seen.parts, b64encode(seen.digests).decode("ascii")])

    surveys: dict[int, Survey] = {}
    with _quietly():
        rows = ray.data.range(len(files), override_num_blocks=min(len(files), _TASKS)).map(run)
        for number, parts, digests in _results(rows):
            surveys[number] = Survey(tuple(parts), b64decode(digests))
    return [surveys[number] for number in range(len(files))]


def encode_parts(
    job: Job, target: Mapping[str, Any], model: str, workers: Workers, finished: Mapping[str, Any]
) -> Iterator[tuple[str, Counts]]:
    """Encode and write a job's unfinished parts, in any order.

    If a worker dies, a new one takes over its part.

    Args:
        job: The job.
        target: Arguments of `target_at`.
        model: See `PartEncoder`.
        workers: How to distribute the work.
        finished: The finished parts, by name.

    Yields:
        The name and counts of each part as it is finished.

    Raises:
        ClusterError: A worker failed for a reason of its own.
        PocketColbertError: Reading, encoding or writing raised it.
    """
    unread: list[dict[str, Any]] = [
        {"file": number, "parts": names}
        for number in range(len(job.files))
        if (names := [part.name for part in job.parts_of(number) if part.name not in finished])
    ]
    if not unread:
        return
    text, gpu = job.to_text(), is_gpu(workers.provider)
    number = workers.number or _workers_that_fit(workers.threads, gpu)
    number = min(number, sum(len(file["parts"]) for file in unread))
    with _quietly():
        rows = ray.data.from_items(unread, override_num_blocks=min(len(unread), _TASKS))
        rows = rows.flat_map(
            parts_of_file, fn_kwargs={"job_text": text}, num_cpus=0,
            compute=ray.data.TaskPoolStrategy(size=min(_READERS, len(unread))),
        )  # fmt: skip
        rows = rows.map(
            PartEncoder,
            fn_constructor_args=(text, dict(target), model, workers),
            compute=ray.data.ActorPoolStrategy(size=number),
            num_cpus=workers.threads,
            num_gpus=1 if gpu else None,
        )
        for name, counts in _results(rows):
            yield name, Counts(**counts)


def _workers_that_fit(threads: int, gpu: bool) -> int:
    resources = ray.cluster_resources()
    number = int(resources.get("GPU", 0) if gpu else resources.get("CPU", 0) // threads)
    if number < 1:
        raise ClusterError(
            f"no worker fits: each needs {'a GPU' if gpu else f'{threads} processors'}, and the "
            f"cluster has {resources.get('GPU' if gpu else 'CPU', 0):.0f}."
        )
    return number


@contextmanager
def _quietly() -> Iterator[None]:
    """Make Ray datasets print nothing and put each row in a block of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # copying reads deprecated attributes
        context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # one part per block, so any worker can take the next part
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with ray.data.DataContext.current(context):
            yield
    finally:
        logger.setLevel(level)


def _results(dataset: Any) -> Iterator[Any]:
    """Iterate over what workers return, in any order, and raise what they raise."""
    try:
        for row in dataset.iter_rows():
            values = json.loads(row["result"])
            if row["error"]:
                name, text = values
                raise getattr(errors, name)(text)
            yield values
    except RayError as error:
        # The message is a long traceback: keep the line that names the original error.
        reasons = [line for line in str(error).splitlines() if _RAISED.match(line)]
        raise ClusterError(f"a worker failed: {(reasons or [str(error)])[0]}") from error


def _written(document: Document) -> dict[str, Any]:
    return {**asdict(document), "sections": sections_to_json(document.sections)}


def _document(values: Mapping[str, Any]) -> Document:
    return Document(**{**values, "sections": sections_from_json(values["sections"])})
