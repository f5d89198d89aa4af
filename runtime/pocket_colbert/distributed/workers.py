"""The same work on many processors and machines. The only importer of `ray`."""

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
from pocket_colbert.types import Document, EncodedDocument
from pocket_colbert.vectors.providers import is_gpu

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent that nobody asked for

try:
    import ray
    import ray.data
    from ray.exceptions import RayError
except ImportError as error:
    raise OptionalDependencyError.of("encoding on many machines", "ray") from error

_TASKS = 1000
"""Into so many are files shared out at most, where there are many small ones."""

_RAISED = re.compile(r"[\w.]+(Error|Exception|Exit|Operation)\b")
_READERS = 4
"""Files that are read at a time; reading is a thousand times as fast as encoding."""


@dataclass(frozen=True, kw_only=True)
class Workers:
    """How the work is shared out.

    Attributes:
        number: Workers, each a process with the model; by default as many as the processors, or
            the GPUs, of the cluster allow.
        threads: Processors of a worker.
        provider: See `Encoder`; with a GPU's each worker has one GPU.
        batch_tokens: See `Encoder`.
        address: Of the Ray cluster's head, "auto" for the one that runs on this machine, None for
            this machine alone.
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
    """Encodes parts and writes them: what a worker does."""

    def __init__(
        self, job_text: str, target: Mapping[str, Any], model: str, workers: Workers
    ) -> None:
        """Get ready; the model is loaded for the first part.

        Args:
            job_text: The job.
            target: Arguments of `target_at`.
            model: See `Encoder.load`; it must be found on every machine.
            workers: How the work is shared out.
        """
        self._job = Job.from_text(job_text, "the job")
        self._target = target_at(**target)
        self._model = model
        self._workers = workers
        self._encoder: Encoder | None = None

    def __call__(self, row: Mapping[str, str]) -> dict[str, str]:
        """Encode a part, as `parts_of_file` yields it, write it, and say how much it is."""
        if row["error"]:
            return dict(row)
        try:
            return _result(self._encode(*json.loads(row["result"])))
        except PocketColbertError as error:
            return _failure(error)

    def _encode(
        self, described: Mapping[str, Any], contents: Sequence[Mapping[str, Any]]
    ) -> tuple[str, dict[str, int]]:
        part, documents = Part(**described), [Document(**values) for values in contents]
        if self._encoder is None:
            self._encoder = self._load()
        config = self._job.config
        passages = self._encoder.encode_passages(
            [document.text or "" for document in documents],
            titles=[document.title for document in documents],
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
        found = encoder.card.fingerprint
        if found != config.model:
            raise InvalidInputError(
                f"every machine must have the same model under {self._model!r}: one has "
                f"fingerprint {found[:12]}, the job {config.model[:12]}."
            )
        return encoder


def parts_of_file(row: Mapping[str, Any], job_text: str) -> Iterator[dict[str, str]]:
    """Read a file of a job and yield those of its parts that are wanted, with their documents."""
    job, number = Job.from_text(job_text, "the job"), row["file"]
    wanted = set(row["parts"])
    try:
        documents = in_parts(read_file(job.files[number].source, job.fields), job.size)
        for part, found in zip(job.parts_of(number), documents, strict=True):
            if part.name in wanted:
                yield _result([asdict(part), [asdict(document) for document in found]])
    except PocketColbertError as error:
        yield _failure(error)


def _result(values: Any) -> dict[str, str]:
    """Make a row of what a worker returns."""
    return {"result": json.dumps(values), "error": ""}


def _failure(error: PocketColbertError) -> dict[str, str]:
    """Make a row of what a worker raises; Ray would make a text of many lines of it."""
    return {"result": json.dumps([type(error).__name__, str(error)]), "error": "yes"}


@contextmanager
def cluster(workers: Workers) -> Iterator[None]:
    """Connect to Ray, or start it on this machine, for a `with` block.

    Raises:
        ClusterError: Ray cannot be reached or started.
    """
    started = not ray.is_initialized()
    if started:
        _check_reachable(workers.address)
        try:
            ray.init(
                # "local", lest it joins a cluster that happens to run on this machine.
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
    """Raise ClusterError where nobody listens, which Ray would wait for a long time."""
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
            found = survey_file(files[row["id"]], fields, size)
        except PocketColbertError as error:
            return _failure(error)
        return _result([row["id"], found.parts, b64encode(found.digests).decode("ascii")])

    surveys: dict[int, Survey] = {}
    with _quietly():
        rows = ray.data.range(len(files), override_num_blocks=min(len(files), _TASKS)).map(run)
        for number, parts, digests in _results(rows):
            surveys[number] = Survey(tuple(parts), b64decode(digests))
    return [surveys[number] for number in range(len(files))]


def encode_parts(
    job: Job, target: Mapping[str, Any], model: str, workers: Workers, finished: Mapping[str, Any]
) -> Iterator[tuple[str, Counts]]:
    """Encode and write the parts of a job that are not finished, in any order.

    A worker that dies is started again, and so is its part.

    Args:
        job: The job.
        target: Arguments of `target_at`.
        model: See `PartEncoder`.
        workers: How the work is shared out.
        finished: Names of the parts that are.

    Yields:
        The name of a part that is finished now, and how much there is of it.

    Raises:
        ClusterError: A worker failed for a reason of its own.
        PocketColbertError: What reading, encoding or writing raises.
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
            f"no worker fits: one needs {'a GPU' if gpu else f'{threads} processors'}, and the "
            f"cluster has {resources.get('GPU' if gpu else 'CPU', 0):.0f}."
        )
    return number


@contextmanager
def _quietly() -> Iterator[None]:
    """Make datasets whose blocks are single rows, and that print nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what a copy copies
        context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = 1  # a part is a block, so that any worker can take the next
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
    """Iterate over what workers return, in any order; raise what they raise."""
    try:
        for row in dataset.iter_rows():
            values = json.loads(row["result"])
            if row["error"]:
                name, text = values
                raise getattr(errors, name)(text)
            yield values
    except RayError as error:
        # Of a text of many lines, that which names what was raised first.
        reasons = [line for line in str(error).splitlines() if _RAISED.match(line)]
        raise ClusterError(f"a worker failed: {(reasons or [str(error)])[0]}") from error
