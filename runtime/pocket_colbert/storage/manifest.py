"""The one file of an index folder that changes: which segments there are, and their checksums.

DIR/manifest.json           this file, replaced in one step by every commit
DIR/writer.lock writer.json held by the writer, if there is one, and who that is
DIR/replacement/            an index that will replace this one, while it is made
DIR/deleted/NAME-COMMIT.bits    one bit a document of segment NAME, set for those deleted
DIR/segments/NAME/          written once, never changed; numbers are little-endian
    codes.u8                token vectors as `Codec` writes them, passage after passage
    scales.f16              their scales
    lengths.i32             number of token vectors of each passage
    passages.i32            number of passages of each document, where any has several
    codec.json              what the codes were written with
    documents.sqlite        ids, titles, texts, metadata, spans of passages, keywords
    centroids.u8            these four, or none, are the inverted file for approximate search
    centroid_scales.f32
    list_lengths.i32
    lists.bin               uint16 or uint32
    graph.usearch           in their place, where approximate search looks into a graph

docs/format.md has every byte of it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pocket_colbert.checks import is_number
from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import IndexFormatError, IndexNotFoundError, InvalidInputError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import FileEntry, replace_file

FORMAT = "pocket-colbert-index"
VERSION = 1
MANIFEST_FILE = "manifest.json"
NEW_MANIFEST_FILE = "manifest.json.new"
"""Where a manifest is written before it is renamed."""
SEGMENTS_FOLDER = "segments"
DELETED_FOLDER = "deleted"
CODES_FILE = "codes.u8"
DOCUMENTS_FILE = "documents.sqlite"
PASSAGES_FILE = "passages.i32"
INVERTED_FILES = ("centroids.u8", "centroid_scales.f32", "list_lengths.i32", "lists.bin")
GRAPH_FILE = "graph.usearch"

_FILES = {CODES_FILE, "scales.f16", "lengths.i32", "codec.json", DOCUMENTS_FILE}
_ALLOWED = tuple(
    _FILES | passages | source
    for passages in (set(), {PASSAGES_FILE})
    for source in (set(), set(INVERTED_FILES), {GRAPH_FILE})
)

SEGMENT_FILES = tuple(sorted(_FILES | {PASSAGES_FILE, GRAPH_FILE} | set(INVERTED_FILES)))
"""Every file that a segment may have."""

SEGMENT_NAME = re.compile(r"[0-9]{6,15}-[0-9a-f]{8}")
DELETED_NAME = re.compile(SEGMENT_NAME.pattern + r"-[0-9]{6,15}\.bits")
_MANIFEST_LIMIT = 64 << 20
_MAX_COUNT = 1 << 48
MOST_WIDENING = 64
"""A manifest from elsewhere must not make a search take more memory than that."""


@dataclass(frozen=True)
class DeletedEntry:
    """Which documents of a segment are deleted.

    Attributes:
        count: How many.
        generation: The commit that wrote the file.
        file: The file's size and sha256.
    """

    count: int
    generation: int
    file: FileEntry


@dataclass(frozen=True)
class RecallEntry:
    """How well an inverted file or a graph finds what exact search does, measured as it was made.

    Attributes:
        recall: Share of the best passages of sampled queries that were found, 0 to 1.
        widening: How many times more is looked up and scored to find that many; 0 where even
            that is not enough, and all is scored.
    """

    recall: float
    widening: int


@dataclass(frozen=True)
class SegmentEntry:
    """What the manifest says of a segment.

    Attributes:
        name: Its folder under `segments`.
        num_documents: Documents in it, deleted ones included.
        num_passages: Passages in it.
        num_tokens: Token vectors in it.
        files: Its files by name.
        deleted: Which of the documents are deleted, None for none.
        approximate: How good its inverted file or graph is, None when it has none or it is not
            known.
    """

    name: str
    num_documents: int
    num_passages: int
    num_tokens: int
    files: Mapping[str, FileEntry]
    deleted: DeletedEntry | None = None
    approximate: RecallEntry | None = None

    def folder(self, index_folder: Contained) -> Contained:
        """Return where its files are."""
        return index_folder / SEGMENTS_FOLDER / self.name

    def paths(self, index_folder: Contained) -> Iterator[tuple[Contained, FileEntry]]:
        """Iterate over its files with what they must be."""
        return ((self.folder(index_folder) / name, file) for name, file in self.files.items())

    def deleted_file(self, index_folder: Contained) -> Contained | None:
        """Return where its deleted documents are marked, None when there are none."""
        if self.deleted is None:
            return None
        return index_folder / DELETED_FOLDER / f"{self.name}-{self.deleted.generation:06d}.bits"


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

    def save(self, folder: Contained) -> None:
        """Make this the state of the index at `folder`, in one step."""
        body = {
            "format": FORMAT,
            "version": VERSION,
            "generation": self.generation,
            "config": self.config.to_json(),
            "segments": [asdict(segment) for segment in self.segments],
        }
        content = json.dumps(body | {"checksum": _checksum(body)}, indent=1) + "\n"
        through = folder / NEW_MANIFEST_FILE
        replace_file(folder / MANIFEST_FILE, content.encode("utf-8"), through)

    @classmethod
    def load(cls, folder: str | Path | Contained) -> Manifest:
        """Read and check the manifest of the index at `folder`.

        Raises:
            IndexNotFoundError: There is none.
            IndexFormatError: It is damaged, of another version, or says what cannot be.
        """
        path = Contained.of(folder) / MANIFEST_FILE
        try:
            data = path.read_bytes(_MANIFEST_LIMIT)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise IndexNotFoundError(
                f"no index at {folder}: it has no {MANIFEST_FILE}. "
                "Make one with: pocket-colbert index PATH --into DIR."
            ) from error
        try:
            content = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise IndexFormatError(f"{path} is damaged: not JSON ({error}).") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise IndexFormatError(f"{path} is not the manifest of a pocket-colbert index.")
        version = content.get("version")
        if isinstance(version, bool) or version != VERSION:
            raise IndexFormatError(
                f"{path} must be of format version {VERSION}, the one this release reads, got "
                f"{version!r:.40}; build the index again: "
                "pocket-colbert index PATH --into DIR --overwrite."
            )
        if content.pop("checksum", None) != _checksum(content):
            raise IndexFormatError(f"{path} is damaged: its checksum does not match.")
        try:
            segments = tuple(_segment(item) for item in content["segments"])
            if len({segment.name for segment in segments}) < len(segments):
                raise InvalidInputError("a segment is listed twice.")
            return cls(
                generation=_count(content["generation"]),
                config=IndexConfig.from_json(content["config"]),
                segments=segments,
            )
        except (KeyError, TypeError, AttributeError, InvalidInputError) as error:
            raise IndexFormatError(f"{path} is not a valid manifest: {error!r}.") from error


def _segment(item: Mapping[str, Any]) -> SegmentEntry:
    if not isinstance(item["name"], str) or not SEGMENT_NAME.fullmatch(item["name"]):
        raise InvalidInputError(f"segment name {item['name']!r} is not allowed.")
    files = {name: _file(entry) for name, entry in item["files"].items()}
    if set(files) not in _ALLOWED:
        raise InvalidInputError(f"segment {item['name']} lists the files {sorted(files)}.")
    documents = _count(item["num_documents"])
    passages, deleted = _count(item["num_passages"]), None
    if item["deleted"] is not None:
        values = item["deleted"]
        deleted = DeletedEntry(
            _count(values["count"]), _count(values["generation"]), _file(values["file"])
        )
        if not 0 < deleted.count <= documents or deleted.file.bytes != -(-documents // 8):
            raise InvalidInputError(f"{deleted.count} of {documents} documents cannot be deleted.")
    if passages < documents or (passages > documents) != (PASSAGES_FILE in files):
        raise InvalidInputError(f"{documents} documents cannot have {passages} passages.")
    return SegmentEntry(
        item["name"], documents, passages, _count(item["num_tokens"]), files, deleted,
        _recall(item.get("approximate")),
    )  # fmt: skip


def _recall(values: Mapping[str, Any] | None) -> RecallEntry | None:
    if values is None:
        return None
    recall, widening = values["recall"], values["widening"]
    if not is_number(recall) or not 0 <= recall <= 1:
        raise InvalidInputError(f"recall must be a number from 0 to 1, got {recall!r:.40}.")
    if _count(widening) > MOST_WIDENING:
        raise InvalidInputError(f"widening must be at most {MOST_WIDENING}, got {widening}.")
    return RecallEntry(float(recall), widening)


def _file(entry: Mapping[str, Any]) -> FileEntry:
    return FileEntry(_count(entry["bytes"]), str(entry["sha256"]))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_COUNT:
        raise InvalidInputError(f"expected a count, got {value!r}.")
    return value


def _checksum(body: Mapping[str, Any]) -> str:
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()
