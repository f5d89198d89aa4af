"""Nothing that is done with an index folder reads, writes, renames or deletes beside it.

The folder is made by somebody hostile: it has links, other names of files elsewhere, FIFOs and
folders in place of files, and files in place of folders. Some appear at the very moment of a use.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pocket_colbert import Index, IndexConfig, IndexFormatError, MultiIndex, PocketColbertError
from pocket_colbert.index.directory import remove_index, replacement
from pocket_colbert.index.integrity import check_index
from pocket_colbert.storage import contained
from pocket_colbert.storage.contained import Contained
from tests.support.arrays import unit_rows
from tests.support.hostile_folder import KINDS, PLACES, SECRET, put, tree
from tests.support.hostile_index import alarm

pytestmark = pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")

DIM = 8
CONFIG = IndexConfig(dim=DIM, inverted_file="always")
QUERY = unit_rows(np.random.default_rng(1), 3, DIM)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two segments, deleted documents, passages and inverted files."""
    folder = tmp_path_factory.mktemp("sound") / "index"
    with Index.create(folder, CONFIG, threads=1) as index:
        for letter in "de":
            ids = [f"{letter}{n}" for n in range(4)]
            index.add(ids, [QUERY] * 4, texts=[f"text of {name}" for name in ids])
            index.commit()
        index.delete(["d1"])
        index.commit()
    return folder


@contextmanager
def victims(sound: Path) -> Iterator[tuple[Path, Path]]:
    """Lend an index folder, and a folder beside it that must stay as it is."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as temporary:
        outside = Path(temporary) / "outside"
        outside.mkdir()
        (outside / "victim").write_bytes(SECRET)
        # A whole index, so that its files would be taken for those of the other.
        shutil.copytree(sound, outside / "index")
        (outside / "index" / "segments" / "000009-0123abcd").mkdir()
        (outside / "index" / "segments" / "000009-0123abcd" / "codes.u8").write_bytes(SECRET)
        shutil.copytree(outside / "index" / "segments", outside / "segments")
        (outside / "empty").mkdir()
        yield Path(shutil.copytree(sound, Path(temporary) / "index")), outside


def use(folder: Path) -> None:
    """Do everything that one can do with an index folder; any clean error will do."""
    with suppress(PocketColbertError, OSError):
        check_index(folder)
    with suppress(PocketColbertError, OSError), Index.load(folder, threads=1, verify=True) as index:
        list(index)
        index.search([QUERY], 3)
        index.passages("d2")
    with suppress(PocketColbertError, OSError), MultiIndex.load([folder], threads=1) as joined:
        with suppress(PocketColbertError, OSError):
            joined.save(folder.parent / "merged")
        shutil.rmtree(folder.parent / "merged", ignore_errors=True)
    with suppress(PocketColbertError, OSError), Index.load(folder, writable=True) as index:
        index.upsert(["d2", "new"], [QUERY, QUERY])
        index.delete(["d3", "e1"])
        with suppress(PocketColbertError, OSError):
            index.commit()
        with suppress(PocketColbertError, OSError):
            index.compact()
    with suppress(PocketColbertError, OSError), Index(DIM) as other:
        other.add(["x"], [QUERY])
        other.save(folder)
    with suppress(PocketColbertError, OSError), replacement(folder) as work:
        with Index.create(work, CONFIG, threads=1) as index:
            index.add(["x"], [QUERY])
            index.commit()
    remove_index(folder)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(KINDS)), min_size=1, max_size=4
    )
)
def test_a_hostile_folder_changes_nothing_outside(
    sound: Path, changes: list[tuple[str, str]]
) -> None:
    with victims(sound) as (folder, outside):
        for place, kind in changes:
            put(folder, outside, place, kind)
        before = tree(outside)
        with alarm(20):
            use(folder)
        assert tree(outside) == before
        others = {path.name for path in folder.parent.iterdir()}
        assert others <= {"index", "outside"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES[1:])
def test_each_hostile_place_and_kind(sound: Path, place: str, kind: str) -> None:
    with victims(sound) as (folder, outside):
        put(folder, outside, place, kind)
        before = tree(outside)
        with alarm(20):
            use(folder)
        assert tree(outside) == before


@pytest.mark.parametrize("place", ["segments", "deleted"])
def test_a_linked_folder_is_refused_by_name(sound: Path, place: str) -> None:
    with victims(sound) as (folder, outside):
        shutil.rmtree(folder / place)
        (folder / place).symlink_to(outside / "segments")
        for writable in (False, True):
            with pytest.raises(IndexFormatError, match=f"{place} must be a folder, not a link"):
                Index.load(folder, writable=writable)


def test_a_file_behind_a_link_is_not_read(sound: Path) -> None:
    """Even if it is the right file."""
    with victims(sound) as (folder, outside):
        name = sorted(path.name for path in (folder / "segments").iterdir())[0]
        for file in sorted((folder / "segments" / name).iterdir()):
            content = file.read_bytes()
            file.unlink()
            file.symlink_to(outside / "index" / "segments" / name / file.name)
            with pytest.raises(IndexFormatError, match=f"{file.name} must be a regular file"):
                Index.load(folder, threads=1)
            file.unlink()
            file.write_bytes(content)
        Index.load(folder, threads=1).close()


def test_files_of_others_in_the_folder_stay(sound: Path) -> None:
    """What this package gave no name to, it does not delete."""
    with victims(sound) as (folder, _):
        kept = [
            folder / "notes.txt", folder / "segments" / "notes.txt", folder / "deleted" / "x.bits",
            folder / "segments" / "000007-0123abcd" / "notes.txt",
            folder / "replacement" / "notes.txt", folder / "segments" / "old" / "codes.u8",
        ]  # fmt: skip
        for path in kept:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(SECRET)
        with Index.load(folder, writable=True) as index:
            index.upsert(["new"], [QUERY])
            index.commit()
            index.compact()
        assert all(path.read_bytes() == SECRET for path in kept)
        remove_index(folder)
        assert all(path.read_bytes() == SECRET for path in kept)


def test_a_root_behind_a_link_works(sound: Path) -> None:
    """The user names the folder: how it is reached is up to them."""
    with victims(sound) as (folder, _):
        (folder.parent / "name").symlink_to(folder)
        with Index.load(folder.parent / "name", writable=True) as index:
            index.upsert(["new"], [QUERY])
            index.commit()
        with Index.load(folder) as index:
            assert "new" in index


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\\b", "a\0b", "../a"])
def test_only_names_are_contained(name: str, tmp_path: Path) -> None:
    with pytest.raises(PocketColbertError, match="must be the name of a file"):
        Contained(tmp_path) / name


SWAPPED = ["segments", "segments/NAME", "deleted", "replacement", "replacement/segments"]


@pytest.mark.parametrize("operation", ["open", "unlink", "rmdir", "mkdir", "replace", "connect"])
@pytest.mark.parametrize("place", SWAPPED)
@pytest.mark.skipif(not contained.HAS_HANDLES, reason="needs handles of folders")
def test_a_folder_replaced_by_a_link_in_the_middle(
    sound: Path, place: str, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the nth operation of a kind a folder becomes a link, for every n."""
    for number in range(1, 120, 9):
        with victims(sound) as (folder, outside), monkeypatch.context() as patch:
            name = sorted(path.name for path in (folder / "segments").iterdir())[0]
            path = folder / place.replace("NAME", name)
            target = outside / "index" / place.replace("NAME", name)
            if not target.exists():
                target = outside / "segments"

            def swap(path: Path = path, target: Path = target) -> None:
                if path.is_dir() and not path.is_symlink():
                    path.rename(path.with_name("moved"))
                    path.symlink_to(target)

            watch(patch, operation, swap, number)
            before = tree(outside)
            with alarm(20):
                use(folder)
            assert tree(outside) == before, number


def watch(patch: pytest.MonkeyPatch, operation: str, act: Callable[[], None], at: int) -> None:
    """Act before the nth call of an operation."""
    import sqlite3

    owner: Any = sqlite3 if operation == "connect" else os
    function, count, busy = getattr(owner, operation), 0, False

    def call(*arguments: Any, **named: Any) -> Any:
        nonlocal count, busy
        if not busy:
            count += 1
            if count == at:
                busy = True
                act()
                busy = False
        return function(*arguments, **named)

    patch.setattr(owner, operation, call)


def test_without_handles_links_are_found_before_use(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(contained, "HAS_HANDLES", False)
    monkeypatch.setattr(contained, "_NO_LINK", 0)
    with victims(sound) as (folder, _):
        with Index.load(folder, writable=True, threads=1) as index:
            index.upsert(["new"], [QUERY])
            index.commit()
            index.compact()
        with Index.load(folder, threads=1) as index:
            assert "new" in index
    for place in PLACES[1:]:
        with victims(sound) as (folder, outside):
            put(folder, outside, place, "link to its like")
            before = tree(outside)
            use(folder)
            assert tree(outside) == before, place


def test_a_lock_that_is_another_name_of_a_file_is_refused(sound: Path) -> None:
    with victims(sound) as (folder, outside):
        (folder / "writer.lock").unlink()
        os.link(outside / "victim", folder / "writer.lock")
        with pytest.raises(IndexFormatError, match="hard link"):
            Index.load(folder, writable=True)


def test_a_database_replaced_while_it_is_opened_is_not_used(
    sound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens files by their paths: what it has opened is compared with what was checked."""
    import sqlite3

    with victims(sound) as (folder, outside):
        connect, segments = sqlite3.connect, folder / "segments"

        def replaced(*arguments: Any, **named: Any) -> Any:
            segments.rename(folder / "moved")
            segments.symlink_to(outside / "index" / "segments")
            try:
                return connect(*arguments, **named)
            finally:
                segments.unlink()
                (folder / "moved").rename(segments)

        monkeypatch.setattr(sqlite3, "connect", replaced)
        with pytest.raises(IndexFormatError, match="was replaced while it was being opened"):
            Index.load(folder, threads=1)
