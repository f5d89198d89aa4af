"""What a site's folder holds, without a browser."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever
from pocket_colbert.errors import IndexExistsError, InvalidInputError
from pocket_colbert.site.ordering import topical_order
from pocket_colbert.site.web_index import grouped
from pocket_colbert.site.writer import write_site

DOCUMENTS = [
    Document("bees", "Bees swarm in May. 🐝 A swarm looks for a new home.", "Bees", {"year": 2024}),
    Document("roof", "The tenant pays for repairs of the roof.", None, {"year": 2020, "a": ["x"]}),
    Document("moon", "The moon moves the tides of the sea.", "The moon"),
]


@pytest.fixture
def index(tmp_path: Path, encoder: Encoder) -> Index:
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint, codes="int4")
    index = Index.create(tmp_path / "web.index", config)
    Retriever(encoder, index).add(DOCUMENTS)
    index.commit()
    return index


def content_of(folder: Path) -> dict[str, Any]:
    """Read what search.json leads to, as docs/site-format.md says."""
    manifest = json.loads((folder / "search.json").read_bytes())
    assert (manifest["format"], manifest["version"]) == ("pocket-colbert-site", 1)
    content: dict[str, Any] = json.loads(unpacked(folder, manifest["content"]))
    return content


def unpacked(folder: Path, entry: dict[str, Any]) -> bytes:
    stored = (folder / entry["path"]).read_bytes()
    assert len(stored) == entry["bytes"]
    assert hashlib.sha256(stored).hexdigest() == entry["sha256"]
    content = gzip.decompress(stored) if entry["gzip"] else stored
    assert len(content) == entry["size"]
    return content


def part(folder: Path, table: dict[str, Any], number: int) -> bytes:
    digest = table["digests"][32 * number : 32 * number + 32]
    stored = (folder / f"data/{table['kind']}-{digest[:16]}.bin").read_bytes()
    assert hashlib.sha256(stored).hexdigest().startswith(digest)
    return gzip.decompress(stored) if table["gzip"][number] else stored


def test_a_reader_of_the_format_finds_documents_and_token_vectors(
    index: Index, encoder: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    report = write_site(index, folder, encoder=encoder, title='A "site" <b>')
    content = content_of(folder)
    assert (report.documents, content["documents"], content["passages"]) == (3, 3, 3)
    order = np.frombuffer(unpacked(folder, content["order"]), "<u4")
    lengths = np.frombuffer(unpacked(folder, content["lengths"]), "<u4")
    assert sorted(order.tolist()) == [0, 1, 2]
    texts = json.loads(part(folder, content["texts"], 0))
    assert [item[0] for item in texts] == [DOCUMENTS[n].document_id for n in order]
    bees = texts[order.tolist().index(0)]
    assert bees[1:4] == ["Bees", DOCUMENTS[0].text, {"year": 2024}]
    assert bees[4] == [[0, len((DOCUMENTS[0].text or "").encode("utf-16-le")) // 2]]
    codes = part(folder, content["codes"], 0)
    rows = -(-lengths.astype(np.int64) // 2)
    assert len(codes) == int(rows.sum()) * (content["dim"] + 4)
    stored = index.snapshot.segments[0].rows
    first = int(order[0])
    begin, end = stored.offsets[first : first + 2]
    assert codes[: (end - begin) * content["dim"]] == stored.codes[begin:end].tobytes()
    assert json.loads(unpacked(folder, content["ids"])) == ["bees", "roof", "moon"]
    years = dict(json.loads(unpacked(folder, content["fields"]["year"])))
    assert years == {2024: [0], 2020: [1]}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "A &quot;site&quot; &lt;b&gt;" in page and "%" not in page
    assert json.loads((folder / "app.webmanifest").read_bytes())["name"] == 'A "site" <b>'
    for name in json.loads((folder / "app.webmanifest").read_bytes())["icons"]:
        assert (folder / name["src"]).is_file()


def test_an_update_writes_only_what_changed_and_removes_what_nothing_names(
    index: Index, encoder: Encoder, tmp_path: Path
) -> None:
    folder = tmp_path / "site"
    first = write_site(index, folder, encoder=encoder)
    names = {path.name for path in (folder / "data").iterdir()}
    assert first.bytes == sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert write_site(index, folder, encoder=encoder).written == 0
    assert {path.name for path in (folder / "data").iterdir()} == names
    Retriever(encoder, index).add([Document("new", "Steel bridges cross the river.")])
    index.delete(["roof"])
    index.commit()
    second = write_site(index, folder, encoder=encoder)
    assert 0 < second.written < 100_000 < second.model
    assert json.loads(unpacked(folder, content_of(folder)["ids"])) == ["bees", "moon", "new"]
    kept = {path.name for path in (folder / "data").iterdir()}
    assert not kept >= names and {n for n in names if n.startswith("model-")} <= kept


def test_other_folders_are_left_alone(index: Index, encoder: Encoder, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for name in ("own", "file", "link"):
        with pytest.raises(IndexExistsError, match="already exists"):
            write_site(index, tmp_path / name, encoder=encoder)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["notes.txt"]


def test_an_index_that_finds_nothing_or_of_another_model_is_refused(
    encoder: Encoder, tmp_path: Path
) -> None:
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with (
        Index.create(tmp_path / "empty.index", config) as empty,
        pytest.raises(InvalidInputError, match="no documents"),
    ):
        write_site(empty, tmp_path / "site", encoder=encoder)
    other = IndexConfig(dim=encoder.dim, model="0" * 64)
    with (
        Index.create(tmp_path / "other.index", other) as index,
        pytest.raises(InvalidInputError, match="another model"),
    ):
        write_site(index, tmp_path / "site", encoder=encoder)


def test_neighbours_in_the_order_are_alike() -> None:
    random = np.random.default_rng(0)
    centers = random.standard_normal((8, 16)) * 10
    topics = random.integers(8, size=400)
    vectors = (centers[topics] + random.standard_normal((400, 16))).astype(np.float32)
    order = topical_order(vectors, 4)
    assert sorted(order.tolist()) == list(range(400))
    changes = np.count_nonzero(np.diff(topics[order]))
    assert changes < 40 < 300 < np.count_nonzero(np.diff(topics))
    assert topical_order(np.ones((50, 4), np.float32), 4).tolist() == list(range(50))
    assert topical_order(np.zeros((0, 4), np.float32), 4).tolist() == []


def test_parts_are_near_their_size_and_hold_every_piece() -> None:
    pieces = [bytes([n % 256]) * (n % 70) for n in range(300)] + [b"x" * 1000, b"", b"y"]
    firsts, parts = grouped(pieces, 200)
    assert b"".join(parts) == b"".join(pieces) and firsts[0] == 0
    ends = [*firsts[1:], len(pieces)]
    assert parts == [b"".join(pieces[a:b]) for a, b in zip(firsts, ends, strict=True)]
    assert all(len(part) <= 300 or part.count(b"x") == 1000 for part in parts)
    assert grouped([b""] * 5, 200) == ([0], [b""])
