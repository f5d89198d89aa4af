"""What a manifest may say, at its limits; each with a right checksum."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import IndexConfig, IndexFormatError, IndexNotFoundError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import FileEntry
from pocket_colbert.storage.manifest import (
    INVERTED_FILES,
    MOST_WIDENING,
    PASSAGES_FILE,
    DeletedEntry,
    Manifest,
    RecallEntry,
    SegmentEntry,
    _checksum,
)

FILES = ("codes.u8", "scales.f16", "lengths.i32", "codec.json", "documents.sqlite")
SEGMENT = SegmentEntry(
    "000001-0123abcd", 9, 9, 40, {name: FileEntry(3, "a" * 64) for name in FILES},
    DeletedEntry(2, 7, FileEntry(2, "b" * 64)), RecallEntry(0.5, 4),
)  # fmt: skip
PARTS = replace(
    SEGMENT,
    name="000002-0123abcd",
    num_passages=12,
    deleted=None,
    approximate=None,
    files={**SEGMENT.files, PASSAGES_FILE: FileEntry(36, "c" * 64)},
)
MANIFEST = Manifest(7, IndexConfig(dim=8), (SEGMENT, PARTS))


def saved(folder: Path, change: Callable[[dict[str, Any]], object] | None = None) -> Path:
    """Save the manifest, with a change and a right checksum."""
    MANIFEST.save(Contained(folder))
    path = folder / "manifest.json"
    if change is not None:
        content = json.loads(path.read_text())
        del content["checksum"]
        change(content)
        content["checksum"] = _checksum(content)
        path.write_text(json.dumps(content))
    return folder


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    assert Manifest.load(saved(tmp_path)) == MANIFEST
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
    assert (tmp_path / "manifest.json").read_bytes().endswith(b"}\n")
    empty = Manifest(0, IndexConfig(dim=8))
    empty.save(Contained(tmp_path))
    assert Manifest.load(tmp_path) == empty


def test_where_a_segment_is(tmp_path: Path) -> None:
    root = Contained(tmp_path)
    assert SEGMENT.folder(root).path == tmp_path / "segments" / "000001-0123abcd"
    found = {path.path: file for path, file in SEGMENT.paths(root)}
    assert found == {SEGMENT.folder(root).path / name: SEGMENT.files[name] for name in FILES}
    marked = SEGMENT.deleted_file(root)
    assert marked is not None
    assert marked.path == tmp_path / "deleted" / "000001-0123abcd-000007.bits"
    assert PARTS.deleted_file(root) is None


def test_a_folder_without_one_is_no_index(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(IndexNotFoundError, match=r"it has no manifest\.json"):
            Manifest.load(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises((IndexNotFoundError, IndexFormatError)):
        Manifest.load(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"nothing"])
def test_what_is_not_json_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(IndexFormatError, match="damaged: not JSON"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("content", ["[]", "null", "1", '"pocket-colbert-index"', "{}",
                                     '{"format": "another"}', '{"format": null}'])  # fmt: skip
def test_other_json_is_no_manifest(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(IndexFormatError, match="is not the manifest of a pocket-colbert index"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("version", [True, False, 0, 2, "1", None, [1], 1.5])
def test_other_versions_say_so(tmp_path: Path, version: object) -> None:
    with pytest.raises(IndexFormatError, match="must be of format version 1"):
        Manifest.load(saved(tmp_path, lambda content: content.update(version=version)))


@pytest.mark.parametrize("checksum", [None, "", "0" * 64, 7])
def test_a_wrong_checksum_is_damage(tmp_path: Path, checksum: object) -> None:
    path = saved(tmp_path) / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "checksum": checksum}))
    with pytest.raises(IndexFormatError, match="its checksum does not match"):
        Manifest.load(tmp_path)
    del content["checksum"]
    path.write_text(json.dumps(content))
    with pytest.raises(IndexFormatError, match="its checksum does not match"):
        Manifest.load(tmp_path)


def test_the_order_of_keys_does_not_matter(tmp_path: Path) -> None:
    path = saved(tmp_path) / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(dict(sorted(content.items(), reverse=True)), indent=4))
    assert Manifest.load(tmp_path) == MANIFEST


def at(number: int, *keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change of a segment's entry."""

    def change(content: dict[str, Any]) -> None:
        inside: Any = content["segments"][number]
        for key in keys[:-1]:
            inside = inside[key]
        inside[keys[-1]] = copy.deepcopy(value)

    return change


MOST = (1 << 48) - 1
ALLOWED = {
    "most tokens": at(0, "num_tokens", value=MOST),
    "no tokens": at(0, "num_tokens", value=0),
    "many bytes": at(0, "files", "codes.u8", "bytes", value=MOST),
    "one deleted": at(0, "deleted", "count", value=1),
    "all deleted": at(0, "deleted", "count", value=9),
    "no recall": at(0, "approximate", "recall", value=0),
    "all recall": at(0, "approximate", "recall", value=1),
    "most widening": at(0, "approximate", "widening", value=MOST_WIDENING),
    "no widening": at(0, "approximate", "widening", value=0),
    "recall is not known": at(0, "approximate", value=None),
    "one passage more": at(1, "num_passages", value=10),
    "a late commit": at(0, "deleted", "generation", value=10**12),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_what_is_just_allowed(tmp_path: Path, name: str) -> None:
    assert Manifest.load(saved(tmp_path, ALLOWED[name])) != MANIFEST


def twice(content: dict[str, Any]) -> None:
    content["segments"][1]["name"] = content["segments"][0]["name"]


def without_recall(content: dict[str, Any]) -> None:
    del content["segments"][0]["approximate"]


def test_recall_may_be_left_out(tmp_path: Path) -> None:
    """As versions before this one did."""
    first = Manifest.load(saved(tmp_path, without_recall)).segments[0]
    assert first == replace(SEGMENT, approximate=None)


COUNTS = [-1, 1 << 48, True, False, "3", 3.0, None, [3]]
REFUSED: dict[str, Callable[[dict[str, Any]], object]] = {
    "a segment twice": twice,
    "no segments": lambda content: content.pop("segments"),
    "segments are a number": lambda content: content.update(segments=7),
    "a segment is a list": lambda content: content.update(segments=[[]]),
    "no config": lambda content: content.pop("config"),
    "an unknown setting": lambda content: content["config"].update(unknown=1),
    "no documents deleted": at(0, "deleted", "count", value=0),
    "more deleted than there are": at(0, "deleted", "count", value=10),
    "too few bits": at(0, "deleted", "file", "bytes", value=1),
    "too many bits": at(0, "deleted", "file", "bytes", value=3),
    "fewer passages than documents": at(0, "num_passages", value=8),
    "more passages without counts": at(0, "num_passages", value=10),
    "counts without more passages": at(1, "num_passages", value=9),
    "recall above 1": at(0, "approximate", "recall", value=1.01),
    "recall below 0": at(0, "approximate", "recall", value=-0.01),
    "recall is true": at(0, "approximate", "recall", value=True),
    "recall is a text": at(0, "approximate", "recall", value="1"),
    "recall is no number": at(0, "approximate", "recall", value=float("nan")),
    "too much widening": at(0, "approximate", "widening", value=MOST_WIDENING + 1),
    "negative widening": at(0, "approximate", "widening", value=-1),
    "a file too many": at(0, "files", "other", value={"bytes": 3, "sha256": "a" * 64}),
    "a file outside": at(0, "files", "../x", value={"bytes": 3, "sha256": "a" * 64}),
    "a part of the lists": at(0, "files", INVERTED_FILES[0], value={"bytes": 1, "sha256": ""}),
    "no files": at(0, "files", value={}),
    **{f"generation {value!r}": lambda content, value=value: content.update(generation=value)
       for value in COUNTS},
    **{f"{key} {value!r}": at(0, *key.split(), value=value)
       for key in ("num_tokens", "num_documents", "num_passages", "deleted count",
                   "deleted generation", "deleted file bytes", "files codes.u8 bytes",
                   "approximate widening")
       for value in COUNTS},
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(IndexFormatError, match="is not a valid manifest"):
        Manifest.load(saved(tmp_path, REFUSED[name]))


def test_every_file_may_be_missing_but_not_alone(tmp_path: Path) -> None:
    for name in FILES:
        left = {key: vars(value) for key, value in SEGMENT.files.items() if key != name}
        with pytest.raises(IndexFormatError, match="is not a valid manifest"):
            Manifest.load(saved(tmp_path, at(0, "files", value=left)))
    every = {key: vars(value) for key, value in SEGMENT.files.items()}
    lists = {key: {"bytes": 1, "sha256": "a"} for key in INVERTED_FILES}
    found = Manifest.load(saved(tmp_path, at(0, "files", value={**every, **lists})))
    assert set(found.segments[0].files) == {*FILES, *INVERTED_FILES}
