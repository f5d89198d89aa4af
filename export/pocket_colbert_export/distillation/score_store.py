"""Scores of candidate lists by every teacher, on disk, made once and resumable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert_export.distillation.teachers import Teacher
from pocket_colbert_export.exporter import Step

SHARD = 200
"""Passages a file; what an interruption costs at most."""


def lists_key(queries: Sequence[str], passages: Sequence[str], lists: NDArray[np.int64]) -> str:
    """Tell candidate lists apart."""
    digest = hashlib.sha256(json.dumps([list(queries), list(passages)]).encode())
    digest.update(np.ascontiguousarray(lists).tobytes())
    return digest.hexdigest()[:12]


def score_lists(
    teacher: Teacher,
    queries: Sequence[str],
    passages: Sequence[str],
    lists: NDArray[np.int64],
    folder: Path,
    step: Step,
) -> NDArray[np.float32]:
    """Score every query's candidates, each passage only once however many lists it is in.

    Args:
        teacher: Who scores.
        queries: The queries.
        passages: The passages.
        lists: (queries, count) positions of passages.
        folder: Where scores go. A shard is in it whole or not at all, and one that is there is
            not made again.
        step: Told what is being done.

    Returns:
        (queries, count, signals) float32.
    """
    key = hashlib.sha256(f"{teacher.key} {lists_key(queries, passages, lists)}".encode())
    target = folder / f"{teacher.name}-{key.hexdigest()[:12]}"
    target.mkdir(parents=True, exist_ok=True)
    order = np.argsort(lists, axis=None, kind="stable")
    bounds = np.searchsorted(lists.ravel()[order], np.arange(len(passages) + 1))
    scores = np.empty((lists.size, len(teacher.signals)), dtype=np.float32)
    asked = False
    for start in range(0, len(passages), SHARD):
        end = min(start + SHARD, len(passages))
        cells = order[bounds[start] : bounds[end]]
        path = target / f"{start:07}.npy"
        if not path.is_file():
            if not asked:
                teacher.ask(queries)
                asked = True
            parts = [np.empty((0, len(teacher.signals)), dtype=np.float32)]
            for number in range(start, end):
                wanted = order[bounds[number] : bounds[number + 1]] // lists.shape[1]
                if len(wanted):
                    parts.append(teacher.score(passages[number], wanted))
            _save(path, np.concatenate(parts))
            step(f"{teacher.name}: {end} of {len(passages)} passages scored")
        scores[cells] = np.load(path, allow_pickle=False)
    return scores.reshape(*lists.shape, -1)


def _save(path: Path, values: NDArray[np.float32]) -> None:
    work = path.with_suffix(".writing")
    with work.open("wb") as stream:
        np.save(stream, values)
    work.replace(path)
