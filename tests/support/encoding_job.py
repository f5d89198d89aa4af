"""A small job of `encode-corpus`, done without Ray and without a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pocket_colbert import IndexConfig
from pocket_colbert.distributed.corpus_sources import NamedFile, PartSize
from pocket_colbert.distributed.job import Counts, Job, JobFile
from pocket_colbert.distributed.object_storage import FileInfo
from pocket_colbert.distributed.parquet import ParquetTarget
from pocket_colbert.ingest.rows import Fields
from pocket_colbert.types import Document, EncodedDocument, Passage
from tests.support.arrays import unit_rows

DIM = 8
VECTORS = unit_rows(np.random.default_rng(1), 3, DIM)
ENCODED = [
    EncodedDocument(Document(f"d{n}", "bees", None), [Passage(0, 4, VECTORS)]) for n in range(3)
]
JOB = Job(
    config=IndexConfig(dim=DIM), fields=Fields(), datatype="float32", size=PartSize(10, 1000),
    files=(JobFile(NamedFile("x.jsonl", FileInfo("/x.jsonl", 3, 5)), (3, 3)),),
)  # fmt: skip


def do_a_job(folder: Path) -> None:
    """Start the job or take it up, write its parts, and finish it."""
    target = ParquetTarget(folder)
    if target.read_job() is None:
        target.write_job(JOB)
    finished = target.finished(JOB)
    for part in JOB.parts():
        if part.name not in finished:
            target.write_part(JOB, part, ENCODED)
    counts = dict.fromkeys((part.name for part in JOB.parts()), Counts.of(ENCODED))
    target.complete(JOB, counts)
