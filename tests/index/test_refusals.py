"""Each refusal of an index folder alone: with right checksums where they are not what is tested."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Document, Index, IndexFormatError, SearchParameters
from pocket_colbert.index.integrity import check_index
from pocket_colbert.metadata import same_json
from pocket_colbert.storage import segment
from pocket_colbert.storage.manifest import GRAPH_FILE, SEGMENT_FILES, _checksum
from tests.support.hostile_index import DIM, QUERY, make_index


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refusals") / "index"
    make_index(folder)
    return folder


@pytest.fixture(scope="module")
def with_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refusals") / "index"
    make_index(folder, candidates="usearch")
    return folder


@pytest.fixture
def folder(sound: Path, with_graphs: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of an index with lists, or with graphs where a test is about the file of one."""
    name = getattr(request.node, "callspec", None)
    about_graphs = name is not None and name.params.get("name") == GRAPH_FILE
    return Path(shutil.copytree(with_graphs if about_graphs else sound, tmp_path / "index"))


def first_segment(folder: Path) -> Path:
    return sorted((folder / "segments").iterdir())[0]


def reseal(folder: Path, **values: Any) -> None:
    """Make sizes and checksums right again, with other values in the first segment's entry."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    manifest["segments"][0].update(values)
    for entry in manifest["segments"]:
        for name, listed in entry["files"].items():
            data = (folder / "segments" / entry["name"] / name).read_bytes()
            listed.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        if entry["deleted"]:
            bits = folder / "deleted" / f"{entry['name']}-{entry['deleted']['generation']:06d}.bits"
            data = bits.read_bytes()
            entry["deleted"]["file"] = {
                "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()
            }  # fmt: skip
    manifest["checksum"] = _checksum(manifest)
    path.write_text(json.dumps(manifest))


def flip(path: Path, place: int = -1) -> None:
    """Change one bit, so that nothing but a checksum can tell."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.unlink()
    path.write_bytes(data)


def test_a_resealed_index_is_sound(folder: Path) -> None:
    reseal(folder)
    with Index.load(folder, verify=True) as index:
        assert len(list(index)) == 16
    assert check_index(folder) == []


@pytest.mark.parametrize("name", SEGMENT_FILES)
@pytest.mark.parametrize("place", [0, -1])
@pytest.mark.parametrize("verify", [None, True])
def test_a_changed_bit_of_a_file_is_noticed_by_its_checksum(
    folder: Path, name: str, place: int, verify: bool | None
) -> None:
    flip(first_segment(folder) / name, place)
    with pytest.raises(IndexFormatError, match=rf"{name} is damaged: its checksum"):
        Index.load(folder, verify=verify)
    assert any("its checksum does not match" in line for line in check_index(folder))


def test_a_changed_bit_of_deleted_documents_is_noticed(folder: Path) -> None:
    (path, *_) = sorted((folder / "deleted").iterdir())
    flip(path)
    with pytest.raises(IndexFormatError, match=rf"{path.name} is damaged: its checksum"):
        Index.load(folder, verify=False)


def test_a_changed_manifest_is_noticed_by_its_checksum(folder: Path) -> None:
    """Values that could well be."""
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"english"', '"words"'))
    with pytest.raises(IndexFormatError, match=r"manifest\.json is damaged: its checksum"):
        Index.load(folder)


@pytest.mark.parametrize("name", SEGMENT_FILES)
def test_small_files_of_large_indexes_are_verified(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "VERIFY_LIMIT", 0)
    Index.load(folder).close()
    flip(first_segment(folder) / name)
    with pytest.raises(IndexFormatError, match=rf"{name} is damaged: its checksum"):
        Index.load(folder)


def test_large_files_of_large_indexes_are_verified_when_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "VERIFY_LIMIT", 0)
    monkeypatch.setattr(segment, "_ALWAYS_VERIFIED", 0)
    flip(first_segment(folder) / "codes.u8")
    for verify in (None, False):
        Index.load(folder, verify=verify).close()
    with pytest.raises(IndexFormatError, match=r"codes\.u8 is damaged: its checksum"):
        Index.load(folder, verify=True)
    assert len(check_index(folder)) == 1


@pytest.mark.parametrize("name", SEGMENT_FILES)
def test_a_file_of_another_size_is_refused(folder: Path, name: str) -> None:
    """By its size alone, however little else is verified."""
    path = first_segment(folder) / name
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + data[:1])
    with pytest.raises(IndexFormatError, match=rf"{name} is damaged: it has {len(data) + 1} bytes"):
        Index.load(folder, verify=False)


def run_sql(folder: Path, *statements: str) -> None:
    path = first_segment(folder) / "documents.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
    reseal(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE documents SET position = -1 WHERE position = 0",
        "UPDATE documents SET position = 12 WHERE position = 11",
        "DELETE FROM documents WHERE position = 0",
        "DELETE FROM documents WHERE position = 11",
    ],
)
def test_positions_from_below_or_beyond_are_refused(folder: Path, statement: str) -> None:
    run_sql(folder, statement)
    with pytest.raises(IndexFormatError, match="documents are numbered from"):
        Index.load(folder)


@pytest.mark.parametrize("position", [-1, -(2**62), 12, 2**62, 0.5])
def test_positions_of_fields_from_below_or_beyond_are_refused(
    folder: Path, position: float
) -> None:
    run_sql(folder, f"INSERT INTO fields VALUES ('n', 77, {position})")
    with Index.load(folder) as index:
        assert index.search([QUERY], where={"n": 3})[0]
        if position == 0.5:  # a whole number, once it is read as one
            index.search([QUERY], where={"n": 77})
            return
        with pytest.raises(IndexFormatError, match="positions of documents that are not there"):
            index.search([QUERY], where={"n": 77})


@pytest.mark.parametrize("row", [-1, 16, 2**62])
def test_passages_of_keywords_from_below_or_beyond_are_refused(folder: Path, row: int) -> None:
    run_sql(folder, f"INSERT INTO keywords(rowid, text) VALUES ({row}, 'unheard')")
    with Index.load(folder) as index:
        parameters = SearchParameters(hybrid="keywords")
        with pytest.raises(IndexFormatError, match="passages that are not there"):
            index.search([QUERY], parameters=parameters, texts=["unheard"])


@pytest.mark.parametrize("span", [(-1, 3), (3, 1), ("'a'", "'b'"), (0.5, 2), ("NULL", 3)])
def test_spans_that_cannot_be_are_refused(folder: Path, span: tuple[object, object]) -> None:
    run_sql(folder, f"UPDATE passages SET start = {span[0]}, stop = {span[1]}")
    with Index.load(folder) as index, pytest.raises(IndexFormatError, match="a passage from"):
        index.passages("d1")


def numbers(folder: Path, name: str, kind: str) -> np.ndarray:
    return np.frombuffer((first_segment(folder) / name).read_bytes(), kind).copy()


def put(folder: Path, name: str, values: np.ndarray, **entry: Any) -> None:
    (first_segment(folder) / name).write_bytes(values.tobytes())
    reseal(folder, **entry)


def test_negative_lengths_are_refused(folder: Path) -> None:
    """With the right sum."""
    lengths = numbers(folder, "lengths.i32", "<i4")
    lengths[0] += lengths[1] + 1
    lengths[1] = -1
    put(folder, "lengths.i32", lengths)
    with pytest.raises(IndexFormatError, match=r"lengths\.i32 is damaged"):
        Index.load(folder)


def test_counts_of_passages_below_one_are_refused(folder: Path) -> None:
    counts = numbers(folder, "passages.i32", "<i4")
    counts[0] += counts[1]
    counts[1] = 0
    put(folder, "passages.i32", counts)
    with pytest.raises(IndexFormatError, match=r"passages\.i32 is damaged"):
        Index.load(folder)


def test_lists_of_passages_beyond_are_refused(folder: Path) -> None:
    lists = numbers(folder, "lists.bin", "<u2")
    lists[:] = 999
    put(folder, "lists.bin", lists)
    with Index.load(folder) as index:
        assert index.snapshot.segments[0].source is not None
    assert any("names passages that are not there" in line for line in check_index(folder))


def test_lengths_of_lists_below_zero_are_refused(folder: Path) -> None:
    lengths = numbers(folder, "list_lengths.i32", "<i4")
    lengths[0] += lengths[1] + 1
    lengths[1] = -1
    put(folder, "list_lengths.i32", lengths)
    with pytest.raises(IndexFormatError, match="its inverted file makes no sense"):
        Index.load(folder)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_centroids_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    scales = numbers(folder, "centroid_scales.f32", "<f4")
    scales[0] = value
    put(folder, "centroid_scales.f32", scales)
    with pytest.raises(IndexFormatError, match="its inverted file makes no sense"):
        Index.load(folder)


def test_deleted_documents_of_another_number_are_refused(folder: Path) -> None:
    (path, *_) = sorted((folder / "deleted").iterdir())
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    reseal(folder)
    with pytest.raises(IndexFormatError, match="it does not mark"):
        Index.load(folder)


@pytest.mark.parametrize(
    "name",
    ["../../outside", "/etc", "..", "", "000001-0123abc", "000001-0123ABCD", "000001-0123abcd/..",
     "1-0123abcd", "000001-0123abcd\n", "C:\\x", 7, None],
)  # fmt: skip
def test_names_of_segments_that_are_paths_are_refused(folder: Path, name: object) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["checksum"]
    manifest["segments"][0]["name"] = name
    manifest["checksum"] = _checksum(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(IndexFormatError, match="is not a valid manifest"):
        Index.load(folder)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"a": 0}, {"a": False}), ("1", 1), (None, 0)],
)
def test_metadata_of_another_kind_is_other_metadata(one: object, other: object) -> None:
    assert not same_json({"n": one}, {"n": other})
    assert same_json({"n": one}, {"n": one}) and same_json({"n": other}, {"n": other})


@pytest.mark.parametrize(("one", "other"), [(1, True), (False, 0), (1, 1.0)])
def test_metadata_of_another_kind_is_stored(folder: Path, one: object, other: object) -> None:
    embedding = np.eye(1, DIM, dtype=np.float32)
    for value in (one, other):
        with Index.load(folder, writable=True) as index:
            index.upsert(["typed"], [embedding], metadata=[{"n": value}])
        with Index.load(folder) as index:
            found = index.get("typed")
            assert found == Document("typed", None, None, {"n": value})
            assert type(found.metadata["n"]) is type(value)
