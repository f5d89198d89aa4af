"""What `index` and `delete` say they would do, and `--quiet` and `--verbose`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import fails, run


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "drafts").mkdir(parents=True)
    for name in ("a", "b", "c", "drafts/d"):
        (folder / f"{name}.txt").write_text(f"Note {name}.", encoding="utf-8")
    (folder / "empty.txt").touch()
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    return folder


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the files of a folder, their sizes and times."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*") if path.name not in ("writer.lock", "writer.json")
    }  # fmt: skip


def preview(*arguments: object) -> dict[str, Any]:
    done = run("index", *arguments, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_new_index(notes: Path, tmp_path: Path) -> None:
    into = tmp_path / "index"
    found = preview(notes, "--into", into, "--exclude", "drafts/")
    assert found["added"] == ["a.txt", "b.txt", "c.txt"]
    assert {Path(item["path"]).name: item["reason"] for item in found["left_out"]} == {
        "drafts": "excluded", "empty.txt": "empty", "picture.png": "binary",
    }  # fmt: skip
    assert not into.exists()
    shown = run("index", notes, "--into", into, "-n")
    assert shown.stdout.splitlines()[:4] == [
        "  add     a.txt", "  add     b.txt", "  add     c.txt", "  add     drafts/d.txt",
    ]  # fmt: skip
    assert "nothing is changed. Without --dry-run: 4 added, 0 changed" in shown.stdout
    assert "2 files left out: 1 binary, 1 empty" in shown.stderr


def test_it_says_what_index_then_does(notes: Path, tmp_path: Path) -> None:
    into = tmp_path / "index"
    assert run("index", notes, "--into", into).exit_code == 0
    (notes / "a.txt").write_text("Changed.", encoding="utf-8")
    (notes / "b.txt").unlink()
    (notes / "e.txt").write_text("New.", encoding="utf-8")
    for options in ([], ["--keep-missing"], ["--id-prefix", "x/"], ["--overwrite"]):
        before = state_of(into)
        said = preview(notes, "--into", into, *options)
        assert state_of(into) == before
        if not options:
            assert (said["added"], said["changed"], said["deleted"]) == (
                ["e.txt"], ["a.txt"], ["b.txt"],
            )  # fmt: skip
        copied = tmp_path / f"copy{len(options)}{options[:1]}"
        import shutil

        shutil.copytree(into, copied)
        done = json.loads(run("index", notes, "--into", copied, *options, "--json").stdout)
        counts = [len(said["added"]), len(said["changed"]), said["unchanged"], len(said["deleted"])]
        assert counts == [done[name] for name in ("added", "changed", "unchanged", "deleted")]


def test_it_fails_as_index_does(notes: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path / "no", tmp_path):
        into = tmp_path / "index" if wrong != tmp_path else notes
        message = "there is no file or folder" if wrong != tmp_path else "is not an index"
        fails("index", wrong, "--into", into, "--dry-run", message=message)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"_id": "a", "text": "x"}\n' * 2)
    fails("index", rows, "--into", tmp_path / "index", "-n", message="'a' twice")
    (tmp_path / "two.jsonl").write_text('{"_id": "a", "text": "x"}\n')
    rows.write_text('{"_id": "a", "text": "x"}\n')
    fails(
        "index", rows, tmp_path / "two.jsonl", "--into", tmp_path / "index", "-n",
        message="'a' twice",
    )  # fmt: skip


def test_a_file_that_cannot_be_read_loses_nothing(notes: Path, tmp_path: Path) -> None:
    into = tmp_path / "index"
    (notes / "e.pdf").write_bytes(b"")
    assert run("index", notes, "--into", into).exit_code == 0
    (notes / "a.txt").unlink()
    (notes / "a.txt").symlink_to(tmp_path / "nowhere")
    assert preview(notes, "--into", into)["deleted"] == []


def test_long_lists_are_shortened(tmp_path: Path) -> None:
    rows = "".join(json.dumps({"_id": f"r{n}", "text": "x"}) + "\n" for n in range(50))
    (tmp_path / "rows.jsonl").write_text(rows)
    arguments = ["index", tmp_path / "rows.jsonl", "--into", tmp_path / "index"]
    shown = run(*arguments, "--dry-run").stdout
    assert shown.count("add     r") == 20 and "and 30 more" in shown
    assert run(*arguments, "--dry-run", "-v").stdout.count("add     r") == 50
    assert run(*arguments).exit_code == 0
    shown = run("delete", tmp_path / "index", "--source", "../rows.jsonl", "--dry-run").stdout
    assert shown.count("  r") == 20 and "and 30 more" in shown
    assert "50 would be deleted, 0 documents would be left" in shown
    assert json.loads(run("info", tmp_path / "index", "--json").stdout)["documents"] == 50


def test_delete_says_what_it_would_delete(notes: Path, tmp_path: Path) -> None:
    into = tmp_path / "index"
    assert run("index", notes, "--into", into).exit_code == 0
    before = state_of(into)
    options = ["--where", "path^=drafts/", "--dry-run"]
    shown = run("delete", into, *options)
    assert shown.stdout.splitlines()[0] == "  drafts/d.txt" and "1 would be deleted" in shown.stdout
    said = json.loads(run("delete", into, *options, "--json").stdout)
    assert said == {"deleted": 1, "documents": 3, "dry_run": True, "ids": ["drafts/d.txt"]}
    assert "some of the ids" in run("delete", into, "a.txt", "no", "--dry-run").stderr
    assert state_of(into) == before
    shown = run("delete", into, "a.txt", "a.txt", "--verbose")
    assert shown.stdout == f"  a.txt\n{into}: 1 deleted, 3 documents left\n"


def test_quiet_prints_nothing_but_errors(notes: Path, tmp_path: Path) -> None:
    into = tmp_path / "index"
    (notes / "broken.pdf").write_bytes(b"%PDF-1.7")
    for arguments in (
        ["index", notes, "--into", into, "-q", "--exclude", "*.pdf"],
        ["index", notes, "--into", into, "--quiet", "--dry-run", "--exclude", "*.pdf"],
        ["delete", into, "a.txt", "no", "-q"],
        ["search", into, "note", "-q"],
    ):
        done = run(*arguments)
        assert (done.exit_code, done.output) == (0, "")
    done = run("index", notes, "--into", into, "-q")
    assert done.stdout == "" and "broken.pdf: it is no PDF" in done.stderr
    fails("index", tmp_path / "no", "--into", into, "-q", message="there is no file or folder")
