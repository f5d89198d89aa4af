"""The files of a site's index: compressed, and named by what is in them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DATA_FOLDER = "data"
DIGEST_BYTES = 16
"""Of a sha256, so many bytes tell a part; nobody makes another file that has them."""


@dataclass(eq=False)
class Packer:
    """Writes files that never change to a site.

    Attributes:
        folder: The site.
        names: What was written, or was there already.
        written: Bytes of the files that were new.
        total: Bytes of all.
    """

    folder: Path
    names: set[str] = field(default_factory=set)
    written: int = 0
    total: int = 0

    def put(self, kind: str, content: bytes) -> dict[str, Any]:
        """Write a file, and return what a reader needs to fetch and check it.

        Args:
            kind: What its name starts with.
            content: What it holds.
        """
        packed = gzip.compress(content, 9, mtime=0)
        compressed = len(packed) < 0.95 * len(content)
        stored = packed if compressed else content
        digest = hashlib.sha256(stored).hexdigest()
        name = f"{DATA_FOLDER}/{kind}-{digest[:16]}.bin"
        self._write(name, stored)
        return {
            "path": name, "bytes": len(stored), "size": len(content), "gzip": compressed,
            "sha256": digest,
        }  # fmt: skip

    def put_parts(self, kind: str, firsts: Sequence[int], parts: Sequence[bytes]) -> dict[str, Any]:
        """Write the parts of something, each of which is fetched alone.

        Args:
            kind: What their names start with.
            firsts: The number of the first item of each part.
            parts: What they hold.
        """
        entries = [self.put(kind, part) for part in parts]
        return {
            "kind": kind,
            "firsts": list(firsts),
            "bytes": [entry["bytes"] for entry in entries],
            "sizes": [entry["size"] for entry in entries],
            "gzip": [int(entry["gzip"]) for entry in entries],
            "digests": "".join(entry["sha256"][: 2 * DIGEST_BYTES] for entry in entries),
        }

    def put_json(self, kind: str, value: Any) -> dict[str, Any]:
        """Write JSON."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return self.put(kind, text.encode("utf-8"))

    @staticmethod
    def digest(content: bytes) -> str:
        """Return what names a file by what is in it."""
        return hashlib.sha256(content).hexdigest()[:16]

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        if name not in self.names:
            self.total += len(content)
        self.names.add(name)
        if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
            return
        self.written += len(content)
        replace_file(path, content)

    def remove_others(self) -> None:
        """Delete what an earlier index left, once nothing names it any more."""
        for path in (self.folder / DATA_FOLDER).glob("*-*.bin"):
            if f"{DATA_FOLDER}/{path.name}" not in self.names:
                path.unlink()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    new.write_bytes(content)
    os.replace(new, path)
