"""The one file of an index folder that changes: which segments there are, and their checksums.

DIR/manifest.json           this file, replaced in one step by every commit
DIR/segments/NAME/          written once, never changed; numbers are little-endian
    codes.u8                token vectors as `Codec` writes them, document after document
    scales.f16              their scales
    lengths.i32             number of token vectors of each document
    codec.json              what the codes were written with
    documents.sqlite        ids, titles, texts, metadata
    centroids.u8            these four, or none, are the inverted file for approximate search
    centroid_scales.f32
    list_lengths.i32
    lists.bin               uint16 or uint32

Format 1 (read, no longer written) had codes.i8, offsets.i64, scales.f32 with one scale a document,
and perhaps graph.usearch in their place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import IndexFormatError, IndexNotFoundError, InvalidInputError

FORMAT = "pocket-colbert-index"
VERSION = 2
MANIFEST_FILE = "manifest.json"
SEGMENTS_FOLDER = "segments"
CODES_FILE = "codes.u8"
INVERTED_FILES = ("centroids.u8", "centroid_scales.f32", "list_lengths.i32", "lists.bin")

_FILES = {CODES_FILE, "scales.f16", "lengths.i32", "codec.json", "documents.sqlite"}
_FILES_VERSION_1 = {"codes.i8", "offsets.i64", "scales.f32", "documents.sqlite"}
_ALLOWED = (
    _FILES,
    _FILES | set(INVERTED_FILES),
    _FILES_VERSION_1,
    _FILES_VERSION_1 | {"graph.usearch"},
)

_NAME = re.compile(r"[0-9]{6}-[0-9a-f]{8}")
_MANIFEST_LIMIT = 64 << 20
_MAX_COUNT = 1 << 48


@dataclass(frozen=True)
class FileEntry:
    """Size and sha256 of a file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SegmentEntry:
    """What the manifest says of a segment.

    Attributes:
        name: Its folder under `segments`.
        num_documents: Documents in it.
        num_tokens: Token vectors in it.
        files: Its files by name.
    """

    name: str
    num_documents: int
    num_tokens: int
    files: Mapping[str, FileEntry]


@dataclass(frozen=True)
class Manifest:
    """The state of an index after a commit.

    Attributes:
        generation: Counts commits.
        config: The index's settings.
        segments: Its segments, oldest first; documents are ordered by them.
    """

    generation: int
    config: IndexConfig
    segments: tuple[SegmentEntry, ...] = ()

    def save(self, folder: Path) -> None:
        """Make this the state of the index at `folder`, in one step."""
        body = {
            "format": FORMAT,
            "version": VERSION,
            "generation": self.generation,
            "config": self.config.to_json(),
            "segments": [
                {
                    "name": segment.name,
                    "num_documents": segment.num_documents,
                    "num_tokens": segment.num_tokens,
                    "files": {
                        name: {"bytes": entry.bytes, "sha256": entry.sha256}
                        for name, entry in segment.files.items()
                    },
                }
                for segment in self.segments
            ],
        }
        content = json.dumps(body | {"checksum": _checksum(body)}, indent=1) + "\n"
        temporary = folder / (MANIFEST_FILE + ".new")
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, folder / MANIFEST_FILE)
        sync_folder(folder)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read and check the manifest of the index at `folder`.

        Raises:
            IndexNotFoundError: There is none.
            IndexFormatError: It is damaged, of another version, or says what cannot be.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise IndexNotFoundError(
                f"no index at {folder}: it has no {MANIFEST_FILE}. "
                "Make one with: pocket-colbert index PATH --into DIR."
            )
        if path.stat().st_size > _MANIFEST_LIMIT:
            raise IndexFormatError(f"{path} is larger than {_MANIFEST_LIMIT} bytes.")
        try:
            content = json.loads(path.read_bytes().decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise IndexFormatError(f"{path} is damaged: not JSON ({error}).") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise IndexFormatError(f"{path} is not the manifest of a pocket-colbert index.")
        version = content.get("version")
        if version not in (1, VERSION) or isinstance(version, bool):
            raise IndexFormatError(
                f"{path} has version {version!r}, this release reads 1 to {VERSION}; "
                "update pocket-colbert."
            )
        read_config = IndexConfig.from_json if version == 2 else IndexConfig.from_json_version_1
        if content.pop("checksum", None) != _checksum(content):
            raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
        try:
            return cls(
                generation=_count(content["generation"]),
                config=read_config(content["config"]),
                segments=tuple(_segment(item) for item in content["segments"]),
            )
        except (KeyError, TypeError, AttributeError, InvalidInputError) as error:
            raise IndexFormatError(f"{path} is not a valid manifest: {error!r}.") from error


def _segment(item: Mapping[str, Any]) -> SegmentEntry:
    if not isinstance(item["name"], str) or not _NAME.fullmatch(item["name"]):
        raise InvalidInputError(f"segment name {item['name']!r} is not allowed.")
    files = {
        name: FileEntry(_count(entry["bytes"]), str(entry["sha256"]))
        for name, entry in item["files"].items()
    }
    if set(files) not in _ALLOWED:
        raise InvalidInputError(f"segment {item['name']} lists the files {sorted(files)}.")
    return SegmentEntry(
        item["name"], _count(item["num_documents"]), _count(item["num_tokens"]), files
    )


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_COUNT:
        raise InvalidInputError(f"expected a count, got {value!r}.")
    return value


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where the system can (Windows cannot, nor need it)."""
    if os.name == "nt":
        return
    with contextlib.suppress(OSError):  # some network file systems refuse
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def hash_file(path: Path) -> FileEntry:
    """Return size and sha256 of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(size, digest.hexdigest())
