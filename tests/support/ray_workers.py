"""The processes that Ray runs for an encoding job."""

from __future__ import annotations

from pathlib import Path


def workers_of_ray() -> list[int]:
    """Process ids of those that encode, which Ray names so."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "cmdline").read_bytes()
            except OSError:  # it has ended
                continue
            if b"MapWorker" in name and b"PartEncoder" in name:
                found.append(int(entry.name))
    return found
