"""The promised format: a committed index that every release reads, byte by byte as documented."""

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
from click.testing import CliRunner
from numpy.typing import NDArray

from pocket_colbert import Document, Index, IndexFormatError, SearchParameters, Section
from pocket_colbert.cli.commands import main
from pocket_colbert.index.integrity import check_index
from pocket_colbert.sections import sections_from_json
from pocket_colbert.storage.manifest import VERSION
from tests.support.paths import DATA

GOLDEN = DATA / f"index-v{VERSION}"
EXPECTED = json.loads(GOLDEN.with_suffix(".json").read_text())
EXPECTED_DOCUMENTS = [
    Document(**{**item, "sections": sections_from_json(item["sections"])})
    for item in EXPECTED["documents"]
]
QUERY = np.array(EXPECTED["query"], dtype=np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the golden index."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "index"))


def hits_of(index: Index, search: dict[str, Any], k: int = 4) -> list[tuple[str, float]]:
    parameters = SearchParameters(**search["parameters"])
    hits = index.search(
        [QUERY],
        k,
        parameters=parameters,
        where=search["where"],
        texts=[search.get("text", "parts of d7")],
    )[0]
    return [(hit.document_id, hit.score) for hit in hits]


def test_the_golden_index_stays_readable(folder: Path) -> None:
    """Documents, token vectors, and the order and scores of every kind of search."""
    assert check_index(folder) == []
    with Index.load(folder, verify=True) as index:
        assert list(index) == EXPECTED_DOCUMENTS
        assert [len(document.sections) for document in index][-1] == 2
        assert len(index) == 15 and "gone" not in index and "d5" not in index
        info = index.info()
        assert (info.segments, info.deleted) == (2, 2) and info.bytes["inverted file"] > 0
        for document_id, passages in EXPECTED["passages"].items():
            found = index.passages(document_id)
            assert [[item.start, item.end] for item in found] == [item[:2] for item in passages]
            for item, (_, _, embedding, readable) in zip(found, passages, strict=True):
                assert item.readable == readable
                expected = np.array(embedding, np.float32).reshape(-1, 8)
                np.testing.assert_allclose(item.embedding, expected, atol=1e-6)
        for search in EXPECTED["searches"]:
            hits = hits_of(index, search)
            assert [hit[0] for hit in hits] == [item[0] for item in search["hits"]]
            np.testing.assert_allclose(
                [hit[1] for hit in hits], [item[1] for item in search["hits"]], rtol=1e-6
            )
        assert [(item.start, item.end) for item in index.passages("long")] == [(0, 4), (5, 13)]


def test_the_golden_index_can_be_added_to_and_copied(folder: Path, tmp_path: Path) -> None:
    exact = EXPECTED["searches"][0]
    with Index.load(folder) as index:
        index.save(tmp_path / "copy")
    with Index.load(folder, writable=True) as index:
        index.add(["new"], [QUERY])
        index.commit()
    for path in (folder, tmp_path / "copy"):
        with Index.load(path, verify=True) as index:
            hits = [hit for hit in hits_of(index, exact, 5) if hit[0] != "new"][:4]
            assert [hit[0] for hit in hits] == [item[0] for item in exact["hits"]]
            np.testing.assert_allclose(
                [hit[1] for hit in hits], [item[1] for item in exact["hits"]], rtol=1e-6
            )
    with Index.load(folder, writable=True) as index:
        assert "new" in index and len(index) == 16
        index.compact()
        assert index.info().segments == 1 and index.info().deleted == 0
    assert check_index(folder) == []


@pytest.mark.parametrize("version", [3, 99, 0, "1", None, True])
def test_other_versions_say_how_to_build_the_index_again(folder: Path, version: object) -> None:
    """Checksums of other versions may be made in other ways: the version is told first."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    message = (
        rf"must be of format version {VERSION}.*got {version!r}; build the index again: "
        "pocket-colbert index PATH --into DIR --overwrite"
    )
    for writable in (False, True):
        with pytest.raises(IndexFormatError, match=message):
            Index.load(folder, writable=writable)
    assert [line for line in check_index(folder) if f"got {version!r}" in line]


def test_an_index_of_another_version_can_be_replaced(folder: Path, tmp_path: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 3}))
    (tmp_path / "docs.jsonl").write_text('{"_id": "a", "text": "A text."}\n')
    arguments = ["index", str(tmp_path / "docs.jsonl"), "--into", str(folder)]
    refused = CliRunner().invoke(main, arguments)
    assert refused.exit_code == 2 and "--overwrite" in refused.output
    done = CliRunner().invoke(main, [*arguments, "--overwrite"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    with Index.load(folder, verify=True) as index:
        assert [item.document_id for item in index] == ["a"]


def rotation(dim: int) -> NDArray[np.float64]:
    """The rotation as docs/format.md gives it, in loops."""
    cosine = np.empty((dim, dim))
    for j in range(dim):
        for k in range(dim):
            cosine[j, k] = np.sqrt((1 if j == 0 else 2) / dim) * np.cos(np.pi * (k + 0.5) * j / dim)
    signs = [
        1 - 2 * (byte & 1) for byte in hashlib.shake_256(b"pocket-colbert rotation").digest(2 * dim)
    ]
    first, second = np.diag(signs[:dim]), np.diag(signs[dim:])
    return (cosine @ first @ cosine @ second).T


def test_the_bytes_are_as_documented() -> None:
    """Read by nothing but NumPy, sqlite3 and the formulas of docs/format.md."""
    manifest = json.loads((GOLDEN / "manifest.json").read_text())
    checksum = manifest.pop("checksum")
    body = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert checksum == hashlib.sha256(body.encode()).hexdigest()
    dim, seen = manifest["config"]["dim"], []
    for segment in manifest["segments"]:
        files = GOLDEN / "segments" / segment["name"]
        for name, entry in segment["files"].items():
            content = (files / name).read_bytes()
            assert len(content) == entry["bytes"]
            assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        codec = json.loads((files / "codec.json").read_text())
        bits, planes = codec["bits"], 8 // codec["bits"]
        lengths = np.fromfile(files / "lengths.i32", "<i4")
        counts = np.ones(segment["num_documents"], "<i4")
        if "passages.i32" in segment["files"]:
            counts = np.fromfile(files / "passages.i32", "<i4")
        rows = -(-lengths // planes)
        codes = np.fromfile(files / "codes.u8", np.uint8).reshape(rows.sum(), dim)
        scales = np.fromfile(files / "scales.f16", "<f2").reshape(rows.sum(), planes)
        mean = np.array(codec["mean"]) @ rotation(dim)
        energy, kept = mean @ mean, 1 - {4: 0.01154, 2: 0.1188, 1: 0.3634}[bits]
        mean *= np.sqrt(max(1 - kept * (1 - energy), energy) / energy)
        deleted = np.zeros(segment["num_documents"], bool)
        if segment["deleted"] is not None:
            name = f"{segment['name']}-{segment['deleted']['generation']:06d}.bits"
            byte = np.fromfile(GOLDEN / "deleted" / name, np.uint8)
            deleted = np.array([byte[n // 8] >> (n % 8) & 1 for n in range(len(deleted))], bool)
        centroids = len(np.fromfile(files / "centroid_scales.f32", "<f4"))
        assert (files / "centroids.u8").stat().st_size == centroids * dim
        sizes = np.fromfile(files / "list_lengths.i32", "<i4")
        lists = np.fromfile(files / "lists.bin", "<u2")
        assert len(sizes) == centroids and len(lists) == sizes.sum()
        assert set(lists.tolist()) == set(np.flatnonzero(lengths).tolist())
        with closing(sqlite3.connect(f"{(files / 'documents.sqlite').as_uri()}?mode=ro&immutable=1",
                                     uri=True)) as database:  # fmt: skip
            assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
            query = (
                "SELECT document_id, text, title, metadata, source FROM documents "
                "WHERE position = ?"
            )
            stored = {n: values for n, *values in database.execute("SELECT * FROM passages")}
            passage, row = 0, 0
            for position, count in enumerate(counts):
                values = database.execute(query, (position,)).fetchone()
                parts = []
                for _ in range(count):
                    tokens = []
                    for t in range(lengths[passage]):
                        r, plane = row + t % rows[passage], t // rows[passage]
                        level = 2 * (codes[r] >> (plane * bits) & (2**bits - 1)).astype(int)
                        level -= 2**bits - 1
                        tokens.append(rotation(dim) @ (mean + float(scales[r, plane]) * level))
                    whole = (0, len(values[1] or ""), 255)
                    start, stop, readable = stored.get(passage, whole)
                    parts.append([start, stop, tokens, readable / 255])
                    row += rows[passage]
                    passage += 1
                if not deleted[position]:
                    metadata = json.loads(values[3]) if values[3] else {}
                    rows_of = "SELECT start, headings FROM sections WHERE position = ?"
                    sections = tuple(
                        Section(start, tuple(json.loads(headings)))
                        for start, headings in database.execute(rows_of, (position,))
                    )
                    seen.append(Document(*values[:3], metadata, values[4], sections))
                    for mine, theirs in zip(parts, EXPECTED["passages"][values[0]], strict=True):
                        assert mine[:2] == theirs[:2]
                        np.testing.assert_allclose(mine[2], theirs[2], atol=1e-6)
                        assert mine[3] == theirs[3]
    assert seen == EXPECTED_DOCUMENTS
