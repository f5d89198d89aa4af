"""Which files of a folder are read, and that no bad one stops the others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pocket_colbert import CorpusError, Encoder, Index, index_files
from pocket_colbert.ingest.folder_walk import FileRules
from pocket_colbert.ingest.left_out import summary
from pocket_colbert.ingest.readers import Reading, files_of, read_sources
from tests.support.files import write_files

TREE = {
    ".gitignore": b"*.log\n!keep.log\n/drafts/\n[\n",
    "a.md": b"A", "b.log": b"B", "keep.log": b"K", "drafts/d.md": b"D",
    "sub/.ignore": b"secret.txt\n", "sub/secret.txt": b"S", "sub/drafts/e.md": b"E",
    "node_modules/x/readme.md": b"N", "package.json": b"{}", "build/out.js": b"O",
    "docs/build/page.html": b"<p>P", ".hidden/h.md": b"H", ".env": b"E=1",
}  # fmt: skip


def names(folder: Path, rules: FileRules | None = None) -> set[str]:
    return {name for _, name in files_of(folder, Reading(rules=rules or FileRules()))}


def test_what_ignore_files_name_and_what_programs_write_is_left_out(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", TREE)
    usual = {"a.md", "keep.log", "package.json", "sub/drafts/e.md", "docs/build/page.html"}
    assert names(folder) == usual
    ignored = {"b.log", "drafts/d.md", "sub/secret.txt", "node_modules/x/readme.md", "build/out.js"}
    assert names(folder, FileRules(ignored=True)) == usual | ignored
    assert names(folder, FileRules(hidden=True)) >= usual | {".hidden/h.md", ".env"}
    assert names(folder, FileRules(include=("*.md",))) == {"a.md", "sub/drafts/e.md"}
    assert names(folder, FileRules(exclude=("sub/", "*.json"))) == {
        "a.md", "keep.log", "docs/build/page.html",
    }  # fmt: skip
    reading = Reading()
    list(files_of(folder, reading))
    assert summary(reading.left_out) == "7 files left out: 5 ignored, 2 hidden"


def test_ignore_files_above_count_within_a_repository(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", TREE)
    (folder / ".git").mkdir()
    (folder / "sub" / "x.log").write_text("X")
    assert names(folder / "sub") == {"drafts/e.md"}


@pytest.fixture
def bad_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with good files among bad ones."""
    folder = write_files(tmp_path / "f", {"a.txt": b"Good.", "z.txt": b"Good too.", "j.json": b"{"})
    (folder / "dead").symlink_to(tmp_path / "nowhere")
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.txt")).write_text("Name.")
    deep = folder / "deep"
    for _ in range(1100):
        deep.mkdir()
        deep = deep / "d"
    deep.mkdir()
    (deep / "bottom.txt").write_text("Deep.")
    os.mkfifo(folder / "pipe")
    yield folder
    (deep / "bottom.txt").unlink()
    os.removedirs(deep)  # deeper than pytest can remove


def test_bad_files_are_named_and_the_others_read(bad_folder: Path, tmp_path: Path) -> None:
    reading = Reading()
    found = [document.text for document in read_sources([bad_folder], tmp_path / "i", reading)]
    assert found == ["Good.", "Deep.", "Good too."]
    assert sorted(Path(item.path).name for item in reading.unreadable) == [
        "caf\\udce9.txt", "dead", "j.json",
    ]  # fmt: skip
    assert all(item.advice for item in reading.unreadable)
    with pytest.raises(CorpusError, match=r"udce9|leads nowhere|not JSON"):
        list(read_sources([bad_folder], tmp_path / "i", Reading(strict=True)))


def test_a_file_that_is_removed_meanwhile_is_named(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "f", {"a.txt": b"A.", "b.txt": b"B.", "c.txt": b"C."})
    reading = Reading()
    documents = read_sources([folder], tmp_path / "i", reading)
    assert next(documents).text == "A."
    (folder / "b.txt").unlink()
    assert [document.text for document in documents] == ["C."]
    assert "b.txt: it cannot be read" in str(reading.unreadable[0])


def test_what_the_index_holds_of_a_bad_file_stays(tiny_model: Path, tmp_path: Path) -> None:
    folder = write_files(
        tmp_path / "f", {"a.json": b'{"a": "bees"}', "b.txt": b"B.", "c.txt": b"C."}
    )
    encoder, into = Encoder.load(tiny_model, threads=1), tmp_path / "i"
    index_files([folder], into, encoder=encoder)
    (folder / "a.json").write_text("{")
    (folder / "b.txt").unlink()
    report = index_files([folder], into, encoder=encoder)
    assert (report.unchanged, report.deleted, len(report.left_out)) == (1, 1, 1)
    os.utime(folder / "c.txt", (1, 1))  # written again, saying the same
    (folder / "a.json").unlink()
    report = index_files([folder], into, encoder=encoder)
    assert (report.unchanged, report.changed, report.deleted) == (1, 0, 1)


_COMMAND = "from pocket_colbert.cli.commands import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_keeps_what_is_done(tmp_path: Path, number: int, code: int) -> None:
    sentence = "Bees, bread and the moon are what these numbered texts are all about. "
    folder = write_files(
        tmp_path / "f", {f"{n:03}.txt": f"{n} {sentence * 300}".encode() for n in range(200)}
    )
    into = tmp_path / "i"
    process = subprocess.Popen(
        [sys.executable, "-c", _COMMAND, "index", str(folder), "--into", str(into), "-m", "tiny"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(into.glob("segments/*")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code and "run the command again to continue" in told
    with Index.load(into) as index:
        assert 0 < len(index) < 200


_MEASURED = """
import re, sys
from pathlib import Path
from pocket_colbert import Encoder, index_files
index_files([sys.argv[1]], sys.argv[2], encoder=Encoder.load("tiny"))
# Not ru_maxrss, which begins with what the parent held.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_bounded_whatever_the_texts(tmp_path: Path) -> None:
    """Many files of 50 kB, one of 1 MB, and many small ones, within 400 MB."""
    words = "Bees swarm in May, and the moon moves the tides of every sea. "
    contents = {f"{n}.txt": (f"{n} " + words * 800).encode() for n in range(20)}
    contents["large.txt"] = (words * 16_000).encode()
    contents |= {f"small{n}.txt": f"{n} {words}".encode() for n in range(500)}
    folder = write_files(tmp_path / "f", contents)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, str(folder), str(tmp_path / "i")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 400, f"{done.stdout} MB"
