"""The one form of results: what was measured, with which settings, of which code, on what.

Standard library only. A file holds one object:

    {"study": ..., "settings": {...}, "stamp": {...}, "results": ...}

`study` is a module of benchmarks.studies, `settings` are its options, `results` is what its `table`
takes. Fields of the stamp that are unknown are null.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "numpy", "onnxruntime", "tokenizers", "usearch", "numkong", "lancedb", "qdrant-edge-py",
    "qdrant-client", "ray",
)  # fmt: skip


def processor() -> str:
    """Return the name of the processor and the number of its cores."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()


def memory_bytes() -> int | None:
    """Return the machine's memory, None where the system does not say."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide the speed.

    Found in a process of its own: the peak memory of a child starts at its parent's.
    """
    script = (
        "import importlib.metadata as m, json, sys; "
        "names = {d.metadata['Name'] for d in m.distributions()} & set(sys.argv[1:]); "
        "print(json.dumps({name: m.version(name) for name in sorted(names)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *PACKAGES], capture_output=True, text=True, check=True
    )  # fmt: skip
    return {"Python": platform.python_version(), **json.loads(done.stdout)}


def commit() -> str | None:
    """Return the commit of the checkout, with a plus where files differ from it."""
    try:
        head = _git("rev-parse", "--short", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    return done.stdout.strip()


def stamp() -> dict[str, Any]:
    """Return which code runs on which machine, and how busy that is."""
    return {
        "commit": commit(),
        "date": datetime.date.today().isoformat(),
        "machine": processor(),
        "memory_bytes": memory_bytes(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "versions": versions(),
    }


@dataclass(frozen=True)
class Run:
    """One run of a study, stamped when it begins, so that its own work is not in the load."""

    study: str
    settings: dict[str, Any]
    stamp: dict[str, Any]

    @classmethod
    def begin(cls, study: str, options: argparse.Namespace) -> Run:
        """Stamp a run of a study with its options."""
        settings = {key: _plain(value) for key, value in vars(options).items() if key != "json"}
        return cls(study.rpartition(".")[2], settings, stamp())

    def save(self, path: Path | None, results: Any) -> None:
        """Write the results to a file; without a path, do nothing."""
        if path is not None:
            content = {
                "study": self.study, "settings": self.settings, "stamp": self.stamp,
                "results": results,
            }  # fmt: skip
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path | str) and Path(value).is_absolute():
        return Path(value).name  # where it lies on this machine tells nobody anything
    return str(value) if isinstance(value, Path) else value


def read_results(path: Path) -> dict[str, Any]:
    """Return what a file of results holds.

    Raises:
        ValueError: It is no file of results.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    keys = {"study", "settings", "stamp", "results"}
    if not isinstance(content, dict) or content.keys() != keys:
        raise ValueError(f"{path} must be an object with the keys {sorted(keys)}.")
    return content
