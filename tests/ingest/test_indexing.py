"""`index_files`: the command `index` as one call."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from pocket_colbert import (
    CorpusError,
    Encoder,
    Index,
    IndexConfig,
    IndexExistsError,
    IndexOptions,
    InvalidInputError,
    index_files,
)
from pocket_colbert.cli.commands import main
from pocket_colbert.cli.index_command import _OPTIONS
from pocket_colbert.ingest.rows import Fields


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model, threads=1)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """A folder of two texts."""
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "bees.md").write_text("Bees swarm in May.", "utf-8")
    (folder / "moon.txt").write_text("The moon moves the tides.", "utf-8")
    return folder


def test_a_new_index_then_only_changes(notes: Path, tmp_path: Path, encoder: Encoder) -> None:
    into, done = tmp_path / "index", []
    report = index_files([notes], into, encoder=encoder, progress=done.append)
    assert (report.folder, report.updated, report.added, report.deleted) == (into, False, 2, 0)
    assert report.info.documents == 2 and report.info.model == encoder.card.fingerprint
    assert done == sorted(done) and done[-1] == 2
    (notes / "moon.txt").write_text("The moon is a stone.", "utf-8")
    (notes / "bees.md").unlink()
    kept = index_files([str(notes)], str(into), encoder=encoder, keep_missing=True)
    assert (kept.updated, kept.changed, kept.unchanged, kept.info.documents) == (True, 1, 0, 2)
    report = index_files([notes], into, encoder=encoder)
    assert (report.added, report.changed, report.unchanged, report.deleted) == (0, 0, 1, 1)
    with Index.load(into) as index:
        assert [item.document_id for item in index] == ["moon.txt"]
        assert index.get("moon.txt").source == "../notes"


def test_the_encoder_is_the_one_that_made_the_index(notes: Path, tmp_path: Path) -> None:
    index_files([notes], tmp_path / "index", encoder=Encoder.load("tiny", threads=1))
    assert index_files([notes], tmp_path / "index").unchanged == 2


def test_rows_ids_and_sources(notes: Path, tmp_path: Path, encoder: Encoder) -> None:
    rows = notes / "rows.jsonl"
    rows.write_text('{"key": 7, "body": "Bread needs flour.", "head": "Bread", "n": 1}', "utf-8")
    into, named = tmp_path / "index", Fields("key", "body", "head")
    index_files([rows], into, encoder=encoder, fields=named, id_prefix="row-")
    with Index.load(into) as index:
        (document,) = index
        assert (document.document_id, document.title) == ("row-7", "Bread")
        assert document.metadata["n"] == 1 and document.metadata["path"] == "rows.jsonl"
    moved = rows.rename(tmp_path / "rows.jsonl")
    report = index_files(
        [moved], into, encoder=encoder, fields=named, id_prefix="row-",
        moved_from="../notes/rows.jsonl",
    )  # fmt: skip
    assert (report.unchanged, report.deleted) == (1, 0)
    with pytest.raises(InvalidInputError, match="from 'elsewhere'"):
        index_files([moved], into, encoder=encoder, fields=named, moved_from="elsewhere")


def test_an_index_is_replaced_in_one_step(notes: Path, tmp_path: Path, encoder: Encoder) -> None:
    into, options = tmp_path / "index", IndexOptions(codes="int2", drop_frequent=2)
    index_files([notes], into, encoder=encoder)
    with pytest.raises(InvalidInputError, match="made with codes=int4, got int2.*overwrite"):
        index_files([notes], into, encoder=encoder, options=options)
    (notes / "bad.json").write_bytes(b"{")
    with pytest.raises(CorpusError, match="bad.json: it is not JSON"):
        index_files([notes], into, encoder=encoder, options=options, overwrite=True, strict=True)
    with Index.load(into) as index:
        assert index.config.codes == "int4" and len(index) == 2
    (notes / "bad.json").unlink()
    report = index_files([notes], into, encoder=encoder, options=options, overwrite=True)
    assert not report.updated and report.info.codes == "int2"
    assert len(report.info.pruning.skiplist_ids) == 2
    again = index_files([notes], into, encoder=encoder, options=options)  # the same options
    assert again.unchanged == 2


def test_wrong_arguments(notes: Path, tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="a list of paths, got one string"):
        index_files("notes", tmp_path / "index", encoder=encoder)
    with pytest.raises(InvalidInputError, match="moved_from needs one path and an existing index"):
        index_files([notes], tmp_path / "index", encoder=encoder, moved_from="../x")
    with pytest.raises(IndexExistsError, match="is not an index"):
        index_files([notes], notes, encoder=encoder)
    with pytest.raises(InvalidInputError, match="pool_factor must be"):
        IndexOptions(pool_factor=0)
    with pytest.raises(InvalidInputError, match="drop_frequent must be"):
        IndexOptions(drop_frequent=-1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_failure_before_the_first_commit_leaves_no_index(
    notes: Path, tmp_path: Path, encoder: Encoder
) -> None:
    (notes / "z.json").write_bytes(b"{")
    with pytest.raises(CorpusError):
        index_files([notes], tmp_path / "index", encoder=encoder, strict=True)
    assert not (tmp_path / "index").exists()


def test_truncated_passages_of_this_call_are_counted(
    notes: Path, tmp_path: Path, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def count(done: int) -> None:
        encoder.truncated = 7

    monkeypatch.setattr(encoder, "truncated", 5)
    assert index_files([notes], tmp_path / "index", encoder=encoder, progress=count).truncated == 2


def test_options_are_those_of_the_command_and_have_its_defaults() -> None:
    names = {item.name for item in fields(IndexOptions)}
    assert names == _OPTIONS
    defaults = {item.name: item.default for item in main.commands["index"].params}
    shown = IndexOptions(**{name: defaults[name] for name in names})
    assert shown.config(dim=8) == IndexOptions().config(dim=8) == IndexConfig(dim=8)
