"""Indexes in the cache: made when they are needed, kept fresh, and never trusted."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import CorpusError, Encoder, Index
from pocket_colbert.errors import IndexConflictError, IndexFormatError
from pocket_colbert.index.directory import is_index
from pocket_colbert.ingest import cached_index
from pocket_colbert.ingest.cache_folder import cache_entries, cache_folder, clear_cache, entry_of
from pocket_colbert.ingest.cached_index import CachedIndex, open_cached
from pocket_colbert.ingest.incremental import SyncReport
from pocket_colbert.storage.lock import WriterLock

TEXTS = {
    "a.txt": "Bees swarm in May.",
    "b.txt": "Rivers flow into the sea.",
    "c.md": "# C\n\nVolts.",
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("POCKET_COLBERT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model, threads=1)


def put(folder: Path, **texts: str | None) -> None:
    """Write files, or delete them, long enough ago that a next change has another time."""
    for name, text in texts.items():
        path = folder / name.replace("__", ".")
        if text is None:
            path.unlink()
            continue
        path.write_text(text, encoding="utf-8")
        put.clock += 1_000_000_000  # type: ignore[attr-defined]
        os.utime(path, ns=(put.clock, put.clock))  # type: ignore[attr-defined]


put.clock = 1_600_000_000_000_000_000  # type: ignore[attr-defined]


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    put(folder, **{name.replace(".", "__"): text for name, text in TEXTS.items()})
    return folder


@contextmanager
def opened(path: Path, model: Encoder, **calls: Any) -> Iterator[CachedIndex]:
    found = open_cached(path, model, **calls)
    with found.index:
        yield found


def texts_of(path: Path, model: Encoder) -> dict[str, str]:
    with opened(path, model) as found:
        return {document.document_id: document.text or "" for document in found.index}


def changes_of(path: Path, model: Encoder) -> SyncReport | None:
    with opened(path, model) as found:
        return found.changes


def test_it_is_made_once_and_then_opened(notes: Path, model: Encoder, cache: Path) -> None:
    started: list[bool] = []
    with opened(notes, model, starting=started.append) as found:
        assert found.made and found.changes == SyncReport(3, 0, 0, 0) and len(found.index) == 3
        assert not found.index.uncommitted
    with opened(notes, model, starting=started.append) as found:
        assert not found.made and found.changes is None and len(found.index) == 3
    assert started == [True]
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    (entry,) = cache_entries()
    assert entry.path == str(notes) and entry.bytes > 1000 and entry.used > 1_700_000_000


def test_only_what_has_changed_is_read(
    notes: Path, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts_of(notes, model)
    read: list[str] = []
    from pocket_colbert.ingest import readers

    whole = readers._bytes_of

    def noted(path: Path, *rest: Any) -> bytes:
        read.append(path.name)
        return whole(path, *rest)

    monkeypatch.setattr(readers, "_bytes_of", noted)
    put(notes, a__txt="Bees swarm in June.", d__txt="New.", b__txt=None)
    assert changes_of(notes, model) == SyncReport(1, 1, 0, 1)
    assert sorted(read) == ["a.txt", "d.txt"]
    assert texts_of(notes, model)["a.txt"] == "Bees swarm in June."
    assert sorted(read) == ["a.txt", "d.txt"]


def test_an_equal_size_and_another_time_is_a_change(notes: Path, model: Encoder) -> None:
    texts_of(notes, model)
    put(notes, a__txt="Bees swarm in Jul.")
    assert texts_of(notes, model)["a.txt"] == "Bees swarm in Jul."


def test_an_equal_time_and_another_size_is_a_change(notes: Path, model: Encoder) -> None:
    texts_of(notes, model)
    before = (notes / "a.txt").stat().st_mtime_ns
    (notes / "a.txt").write_text("Bees swarm.", encoding="utf-8")
    os.utime(notes / "a.txt", ns=(before, before))
    assert texts_of(notes, model)["a.txt"] == "Bees swarm."


def test_a_change_right_after_reading_is_not_missed(notes: Path, model: Encoder) -> None:
    """Where the clock of the file system is coarse, both changes have one time."""
    path = notes / "a.txt"
    path.write_text("One.", encoding="utf-8")
    now = path.stat().st_mtime_ns
    assert texts_of(notes, model)["a.txt"] == "One."
    path.write_text("Two.", encoding="utf-8")
    os.utime(path, ns=(now, now))
    assert texts_of(notes, model)["a.txt"] == "Two."


def test_names_that_begin_alike_are_told_apart(notes: Path, model: Encoder) -> None:
    put(notes, a__txt__old="Old.", rows__jsonl='{"_id": "a.txt-row", "text": "Row."}')
    assert len(texts_of(notes, model)) == 5
    put(notes, a__txt__old=None, rows__jsonl='{"_id": "other", "text": "Row."}')
    assert set(texts_of(notes, model)) == {"a.txt", "b.txt", "c.md", "other"}
    put(notes, b__txt="Changed.")  # the rows, whose ids are their own, stay
    assert set(texts_of(notes, model)) == {"a.txt", "b.txt", "c.md", "other"}


def test_parts_of_unchanged_files_stay(
    notes: Path, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from functools import partial

    from pocket_colbert.ingest import readers

    monkeypatch.setattr(readers, "in_parts", partial(readers.in_parts, limit=40))
    put(notes, long__txt="\n".join(f"Line {n} of a long text." for n in range(6)))
    before = texts_of(notes, model)
    assert "long.txt#2" in before
    put(notes, a__txt="Changed.")
    assert texts_of(notes, model) == before | {"a.txt": "Changed."}


def test_a_file_alone(notes: Path, model: Encoder) -> None:
    assert texts_of(notes / "a.txt", model) == {"a.txt": TEXTS["a.txt"]}
    assert texts_of(notes, model).keys() == TEXTS.keys()
    assert len(cache_entries()) == 2


def test_links_to_one_folder_share_an_index(notes: Path, model: Encoder, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(notes)
    texts_of(notes, model)
    assert changes_of(tmp_path / "link", model) is None
    assert len(cache_entries()) == 1


def test_models_have_indexes_of_their_own(notes: Path, model: Encoder, encoder: Encoder) -> None:
    texts_of(notes, model)
    with opened(notes, encoder) as found:
        assert found.made and found.index.dim == encoder.dim
    assert changes_of(notes, model) is None


def test_a_folder_without_documents_leaves_nothing(
    tmp_path: Path, model: Encoder, cache: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="no documents"):
        open_cached(tmp_path / "empty", model)
    assert list(cache.iterdir()) == []


def test_a_folder_that_is_emptied_keeps_what_was_known(notes: Path, model: Encoder) -> None:
    texts_of(notes, model)
    put(notes, a__txt=None, b__txt=None, c__md=None)
    with pytest.raises(CorpusError, match="no documents"):
        open_cached(notes, model)
    put(notes, a__txt="Back.")
    assert texts_of(notes, model) == {"a.txt": "Back."}


def test_other_readers_read_again(
    notes: Path, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the installation of an extra; nothing is encoded again."""
    texts_of(notes, model)
    monkeypatch.setattr(cached_index, "_made_with", lambda: "another version")
    assert changes_of(notes, model) == SyncReport(0, 0, 3, 0)
    assert changes_of(notes, model) is None


def test_an_interruption_is_continued(
    notes: Path, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Index, *rest: Any, **more: Any) -> None:
        add(self, *rest, **more)
        raise KeyboardInterrupt

    add = Index.add_prepared
    with monkeypatch.context() as patch:
        patch.setattr(Index, "add_prepared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_cached(notes, model)
    assert changes_of(notes, model) == SyncReport(0, 0, 3, 0)


DAMAGE = {
    "no JSON": ("source.json", b"{"),
    "another version": ("source.json", b'{"version": 99}'),
    "wrong types": ("source.json", b'{"version": 1, "path": 5, "model": [], "files": {}}'),
    "wrong files": (
        "source.json", b'{"version":1,"path":"","model":"","made_with":"","files":{"a":["x",{}]}}',
    ),
    "deep": ("source.json", b"[" * 100_000),
    "no object": ("source.json", b"[]"),
    "manifest": ("index/manifest.json", b"{}"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_made_again(kind: str, notes: Path, model: Encoder) -> None:
    texts_of(notes, model)
    name, content = DAMAGE[kind]
    (cache_entries()[0].folder / name).write_bytes(content)
    with opened(notes, model) as found:
        assert found.made and len(found.index) == 3
    assert changes_of(notes, model) is None


def test_damaged_codes_are_made_again(notes: Path, model: Encoder) -> None:
    texts_of(notes, model)
    path = next(cache_entries()[0].folder.rglob("codes.u8"))
    path.write_bytes(path.read_bytes()[:-1])
    assert texts_of(notes, model).keys() == TEXTS.keys()


def test_an_entry_about_another_path_is_not_used(notes: Path, model: Encoder) -> None:
    texts_of(notes, model)
    path = cache_entries()[0].folder / "source.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps(state | {"path": "/elsewhere"}))
    with opened(notes, model) as found:
        assert found.made


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
@pytest.mark.parametrize("name", ["index", "source.json"])
def test_links_in_the_cache_lead_nowhere(
    name: str, notes: Path, model: Encoder, tmp_path: Path
) -> None:
    texts_of(notes, model)
    victim = tmp_path / "victim"
    inside = cache_entries()[0].folder / name
    inside.rename(victim)
    inside.symlink_to(victim)
    before = {path: path.stat().st_mtime_ns for path in [victim, *victim.rglob("*")]}
    with opened(notes, model) as found:
        assert found.made and len(found.index) == 3
    assert not inside.is_symlink()
    assert before == {path: path.stat().st_mtime_ns for path in [victim, *victim.rglob("*")]}


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make links")
def test_an_entry_that_is_a_link_is_refused_and_cleared(
    notes: Path, model: Encoder, tmp_path: Path
) -> None:
    texts_of(notes, model)
    entry = cache_entries()[0].folder
    victim = entry.rename(tmp_path / "victim")
    entry.symlink_to(victim)
    with pytest.raises(IndexFormatError, match="must be a folder, not a link"):
        open_cached(notes, model)
    assert clear_cache().cleared and not os.path.lexists(entry)
    assert (victim / "index" / "manifest.json").is_file()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners of POSIX")
def test_a_cache_that_everybody_can_change_is_refused(
    notes: Path, model: Encoder, cache: Path
) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    with pytest.raises(IndexConflictError, match="can be written to by everybody"):
        open_cached(notes, model)


def test_a_cache_that_cannot_be_made_is_an_error_with_advice(
    notes: Path, model: Encoder, cache: Path
) -> None:
    cache.write_text("a file")
    with pytest.raises(IndexConflictError, match="POCKET_COLBERT_CACHE"):
        open_cached(notes, model)
    with pytest.raises(IndexConflictError, match="is not a folder"):
        cache_entries()


SEARCHES = """
import sys
from pathlib import Path
from pocket_colbert import Encoder
from pocket_colbert.ingest.cached_index import open_cached
model = Encoder.load(sys.argv[2], threads=1)
print("ready", flush=True)
sys.stdin.readline()
found = open_cached(Path(sys.argv[1]), model)
with found.index as index:
    print(found.made, found.changes and found.changes.added, len(index))
"""


def test_of_two_processes_one_works(notes: Path, tiny_model: Path, model: Encoder) -> None:
    put(notes, **{f"more{n}__txt": f"Text {n}." for n in range(30)})
    command = [sys.executable, "-c", SEARCHES, str(notes), str(tiny_model)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(3)
    ]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = sorted(process.communicate(timeout=120)[0] for process in started)
    assert said == ["False None 33\n", "False None 33\n", "True 33 33\n"]
    assert changes_of(notes, model) is None


def test_who_waits_says_so_once(
    notes: Path, model: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = entry_of(notes, model.card.fingerprint)
    texts_of(notes, model)
    put(notes, a__txt="Changed.")
    lock, said, slept = WriterLock(entry), [], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            lock.release()

    monkeypatch.setattr(cached_index.time, "sleep", sleep)
    with opened(notes, model, waiting=lambda: said.append(1)) as found:
        assert found.changes == SyncReport(0, 1, 0, 0)
    assert len(said) == 1 and len(slept) == 3


def test_clearing_leaves_what_is_in_use_and_all_that_is_not_ours(
    notes: Path, model: Encoder, cache: Path
) -> None:
    texts_of(notes, model)
    texts_of(notes / "a.txt", model)
    (cache / "mine").mkdir()
    (cache / "mine" / "file").write_text("x")
    foreign = entry_of(notes / "a.txt", model.card.fingerprint).path / "foreign"
    foreign.write_text("x")
    with_lock = entry_of(notes, model.card.fingerprint)
    lock = WriterLock(with_lock)
    report = clear_cache()
    lock.release()
    assert [item.path for item in report.in_use] == [str(notes), str(notes / "a.txt")] or [
        item.path for item in report.in_use
    ] == [str(notes / "a.txt"), str(notes)]
    assert foreign.exists() and (cache / "mine" / "file").exists()
    foreign.unlink()
    assert len(clear_cache([notes]).cleared) == 1
    assert [item.path for item in cache_entries()] == [None]
    assert len(clear_cache().cleared) == 1
    assert [path.name for path in cache.iterdir()] == ["mine"]


def test_a_search_survives_clearing(notes: Path, model: Encoder) -> None:
    with opened(notes, model) as found:
        assert len(clear_cache().cleared) == 1
        assert found.index.get("a.txt").text == TEXTS["a.txt"]
    assert len(texts_of(notes, model)) == 3


def test_a_manifest_of_another_program_makes_no_index(
    notes: Path, model: Encoder, tmp_path: Path
) -> None:
    """As a web page has one; such folders were left out, and taken for damaged indexes."""
    (notes / "page").mkdir()
    (notes / "page" / "manifest.json").write_text('{"name": "Notes", "icons": []}')
    (notes / "page" / "text.txt").write_text("A page.")
    assert not is_index(notes / "page")
    assert {"page/text.txt", "page/manifest.json"} <= texts_of(notes, model).keys()
    for damaged in ("{", '{"format": "pocket-colbert-index"}', "[]"):
        (notes / "page" / "manifest.json").write_text(damaged)
        assert is_index(notes / "page")
    (notes / "page" / "manifest.json").write_text("{}")
    assert not is_index(notes / "page")
    (notes / "page" / "segments").mkdir()
    assert is_index(notes / "page")


def test_the_folder_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POCKET_COLBERT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert cache_folder() == tmp_path / "pocket-colbert"
    assert cache_folder().is_absolute()
