"""Threads, memory and disk of a process that is measured. Standard library only."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS", "LANCE_CPU_THREADS",
)  # fmt: skip
"""What the libraries here read how many threads to start from."""


def pin(threads: int, environment: Mapping[str, str]) -> None:
    """Limit threads and cores, starting over once so that every library sees it from the start."""
    wanted = dict.fromkeys(THREAD_VARIABLES, str(threads))
    wanted |= {"HF_HUB_OFFLINE": "1", **environment}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.environ.update(wanted)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def disk(folder: Path) -> tuple[int, int]:
    """Return the sizes of the files below a folder, and the bytes of the blocks they take."""
    statuses = [path.lstat() for path in folder.rglob("*") if path.is_file()]
    return sum(s.st_size for s in statuses), sum(s.st_blocks * 512 for s in statuses)


def take_peak() -> int:
    """Return the peak of resident memory since the last call in bytes, and start a new one."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = status.read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM")]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return int(line.split()[1]) * 1024
