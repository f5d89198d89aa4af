"""`pocket-colbert site`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from pocket_colbert.cli.commands import main


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "roof.md").write_text("# Roof\n\nThe tenant pays for repairs.\n", encoding="utf-8")
    (folder / "bees.txt").write_text("Bees swarm in May.\n", encoding="utf-8")
    return folder


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(main, ["site", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def test_a_folder_becomes_a_site_and_stays_one(notes: Path, tmp_path: Path) -> None:
    into = tmp_path / "public"
    said = run(notes, "--into", into, "--title", "My notes")
    assert "2 documents in 2 passages" in said and "python -m http.server -d" in said
    assert "<h1>My notes</h1>" in (into / "index.html").read_text(encoding="utf-8")
    assert str(tmp_path) not in (into / "search.json").read_text(encoding="utf-8")
    (notes / "moon.txt").write_text("The moon moves the tides.\n", encoding="utf-8")
    report = json.loads(run(notes, "--into", into, "--json"))
    assert report["documents"] == 3 and 0 < report["written"] < 100_000
    assert report["bytes"] == sum(p.stat().st_size for p in into.rglob("*") if p.is_file())


def test_an_index_keeps_its_codes(notes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes.index"
    made = CliRunner().invoke(main, ["index", str(notes), "--into", str(folder), "-m", "tiny"])
    assert made.exit_code == 0, made.output
    assert "leave the options out" in run(
        folder, "--into", tmp_path / "a", "--codes", "int2", code=2
    )
    assert "2 documents" in run(folder, "--into", tmp_path / "a")
    assert "another model" in run(folder, "--into", tmp_path / "b", "-m", "small", code=2)


def test_a_folder_of_other_things_is_not_written_to(notes: Path, tmp_path: Path) -> None:
    assert "already exists" in run(notes, "--into", notes, code=2)
    assert sorted(path.name for path in notes.iterdir()) == ["bees.txt", "roof.md"]


def test_what_is_left_out_is_said_as_by_index(notes: Path, tmp_path: Path) -> None:
    (notes / "picture\x1b[31m.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    said = run(notes, "--into", tmp_path / "a")
    assert "1 file left out: 1 binary (--verbose lists them)" in said and ".png" not in said
    said = run(notes, "--into", tmp_path / "b", "--verbose")
    assert "picture" in said and "\x1b" not in said
