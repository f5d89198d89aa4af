"""How files are written: what is there afterwards, also when something fails on the way."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import IndexFormatError, InvalidInputError
from pocket_colbert.storage import contained, files
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import (
    FileEntry,
    FileWriter,
    atomic_file,
    atomic_folder,
    copy_file,
    discard,
    discard_folder,
    hash_file,
    make_folder,
    make_root,
    move,
    replace_file,
    sync_file,
    sync_folder,
    write_file,
)

LARGE = bytes(range(256)) * (5 << 12)  # 5 MiB: several chunks


@pytest.fixture
def root(tmp_path: Path) -> Contained:
    return Contained(tmp_path)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is put on disk, in order, as paths."""
    paths: list[Path] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        paths.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    return paths


def entry_of(content: bytes) -> FileEntry:
    return FileEntry(len(content), hashlib.sha256(content).hexdigest())


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")


@pytest.mark.parametrize("content", [b"", b"a", LARGE])
def test_an_entry_is_size_and_hash(root: Contained, content: bytes) -> None:
    path = root / "file"
    assert write_file(path, content) == entry_of(content)
    assert path.path.read_bytes() == content
    assert hash_file(path.path) == sync_file(path) == entry_of(content)
    assert copy_file(path, root / "copy") == entry_of(content)
    assert (root / "copy").path.read_bytes() == content


def test_arrays_are_written_as_they_lie_in_memory(root: Contained) -> None:
    array = np.arange(12, dtype="<i4").reshape(3, 4)
    with FileWriter(root / "file") as writer:
        writer.write(array)
        writer.write(b"xy")
        writer.write(array[:0])
        writer.write(array.T)
        entry = writer.finish()
    wanted = array.tobytes() + b"xy" + array.T.tobytes()
    assert (root / "file").path.read_bytes() == wanted and entry == entry_of(wanted)


@needs_proc
def test_what_is_written_is_on_disk(root: Contained, synced: list[Path]) -> None:
    write_file(root / "a", b"x")
    copy_file(root / "a", root / "b")
    sync_file(root / "b")
    sync_folder(root)
    assert [path.name for path in synced] == ["a", "b", "b", root.path.name]
    del synced[:]
    replace_file(root / "a", b"new", root / "through")
    assert [path.name for path in synced] == ["through", root.path.name]
    del synced[:]
    make_root(root.path / "r" / "s")
    assert synced == [root.path / "r", root.path]
    make_root(root.path / "r" / "s")
    assert len(synced) == 2
    del synced[:]
    make_folder(root / "c" / "d")
    assert synced == [root.path, root.path / "c"] and (root.path / "c" / "d").is_dir()
    make_folder(root / "c" / "d")  # it is there
    assert len(synced) == 2
    with atomic_file(root.path / "f") as work:
        work.write_bytes(b"x")
    assert synced[2].name == work.name and synced[3] == root.path
    with atomic_folder(root.path / "g") as work:
        work.mkdir()
    assert synced[4:] == [root.path]


def test_a_root_that_is_not_there_is_made(root: Contained) -> None:
    below = Contained(root.path / "new" / "index")
    make_folder(below)
    assert below.path.is_dir()
    other = Contained(root.path / "other" / "index")
    make_folder(other / "segments" / "one")
    assert (other.path / "segments" / "one").is_dir()


def test_a_writer_does_not_write_over_a_file(root: Contained) -> None:
    write_file(root / "a", b"x")
    with pytest.raises(FileExistsError):
        write_file(root / "a", b"y")
    assert (root / "a").path.read_bytes() == b"x"


def test_a_file_is_replaced_in_one_step(root: Contained) -> None:
    (root / "through").path.write_bytes(b"left by a process that was killed")
    for content in (b"one", b"two"):
        replace_file(root / "a", content, root / "through")
        assert (root / "a").path.read_bytes() == content
        assert root.names() == ["a"]


@pytest.mark.parametrize("failing", ["write_file", "move"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_replacement_that_fails_leaves_the_old_file_alone(
    root: Contained, failing: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_file(root / "a", b"old", root / "through")
    before = getattr(files, failing)

    def fail(*arguments: Any) -> None:
        if failing == "write_file":
            before(*arguments)
        raise error

    monkeypatch.setattr(files, failing, fail)
    with pytest.raises(type(error)):
        replace_file(root / "a", b"new", root / "through")
    assert (root / "a").path.read_bytes() == b"old" and root.names() == ["a"]


def test_an_error_of_writing_has_the_name_of_the_file(
    root: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "synchronise", full)
    with pytest.raises(OSError, match="No space left") as failed:
        write_file(root / "a", b"x")
    assert failed.value.filename == str(root / "a")

    def elsewhere(*arguments: object) -> None:
        raise OSError(errno.EIO, "broken", "/another")

    monkeypatch.setattr(files, "synchronise", elsewhere)
    with pytest.raises(OSError, match="broken") as failed:
        write_file(root / "b", b"x")
    assert failed.value.filename == "/another"


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES])
def test_a_folder_that_cannot_be_synchronised_is_all_right(
    root: Contained, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    sync_folder(root)
    with pytest.raises(OSError, match="no"):
        write_file(root / "a", b"x")  # of a file it is an error


def test_a_folder_on_a_broken_disk_is_an_error(
    root: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "no")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="no"):
        sync_folder(root)


def in_place(path: Path, content: bytes | None) -> bool:
    """Say whether a file has a content, or is not there, and nothing is beside it."""
    names = sorted(item.name for item in path.parent.iterdir())
    if content is None:
        return names == []
    return names == [path.name] and path.read_bytes() == content


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_a_file_is_written_as_a_whole_or_not_at_all(
    tmp_path: Path, old: bytes | None, error: BaseException | None
) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    try:
        with atomic_file(path) as work:
            assert work.parent == path.parent
            assert re.fullmatch(r"\.new-[0-9a-f]{8}-file", work.name)
            work.write_bytes(b"new")
            assert not path.exists() if old is None else path.read_bytes() == old
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt) as raised:
        assert raised is error
    assert in_place(path, b"new" if error is None else old)


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("error", [None, ValueError("no")])
def test_a_folder_is_written_as_a_whole_or_not_at_all(
    tmp_path: Path, there: bool, error: BaseException | None
) -> None:
    path = tmp_path / "folder"
    if there:
        path.mkdir()
    try:
        with atomic_folder(path) as work:
            work.mkdir()
            (work / "deep").mkdir()
            (work / "deep" / "file").write_bytes(b"x")
            if error is not None:
                raise error
    except ValueError as raised:
        assert raised is error
    assert [item.name for item in tmp_path.iterdir()] == ["folder"] * (there or error is None)
    if error is None:
        assert (path / "deep" / "file").read_bytes() == b"x"
    elif there:
        assert list(path.iterdir()) == []


def test_a_folder_with_something_in_it_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "precious").write_text("x")
    with pytest.raises(OSError), atomic_folder(path) as work:
        work.mkdir()
    assert [item.name for item in tmp_path.iterdir()] == ["folder"]
    assert (path / "precious").read_text() == "x"


def test_moving_replaces_files_and_not_full_folders(root: Contained) -> None:
    write_file(root / "a", b"a")
    write_file(root / "b", b"b")
    make_folder(root / "folder")
    move(root / "a", root / "b")
    assert (root / "b").path.read_bytes() == b"a" and sorted(root.names()) == ["b", "folder"]
    move(root / "b", root / "folder" / "c")
    assert (root / "folder" / "c").path.read_bytes() == b"a"
    with pytest.raises(OSError):
        move(root / "nothing", root / "b")


def permission(times: int, done: list[int]) -> Callable[[], None]:
    def rename() -> None:
        done.append(1)
        if len(done) <= times:
            raise PermissionError("a reader is in the way")

    return rename


def test_a_rename_is_tried_again_on_windows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.time, "sleep", lambda seconds: None)
    done: list[int] = []
    with pytest.raises(PermissionError):
        files._insist(permission(1, done))
    assert len(done) == 1

    class Windows:
        name = "nt"

    monkeypatch.setattr(files, "os", Windows)
    for times in (0, 1, files._ATTEMPTS - 1):
        done = []
        files._insist(permission(times, done))
        assert len(done) == times + 1
    done = []
    with pytest.raises(PermissionError):
        files._insist(permission(100, done))
    assert len(done) == files._ATTEMPTS


def test_what_is_not_wanted_is_deleted_by_name(root: Contained, tmp_path: Path) -> None:
    discard(root / "nothing")
    write_file(root / "a", b"x")
    discard(root / "a")
    assert root.names() == []
    make_folder(root / "f")
    for name in ("ours", "also", "theirs"):
        write_file(root / "f" / name, b"x")
    discard_folder(root / "f", ["ours", "also", "not there"])
    assert (root / "f").names() == ["theirs"]
    discard_folder(root / "f", ["theirs"])
    assert root.names() == []
    discard_folder(root / "nothing", ["a"])
    own = Contained(tmp_path / "own")
    make_folder(own)
    write_file(own / "a", b"x")
    discard_folder(own, ["a"])
    assert not own.path.exists()


@pytest.fixture(params=[True, False])
def handles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With and without handles of folders, as on Windows."""
    if not request.param:
        monkeypatch.setattr(contained, "HAS_HANDLES", False)
    return bool(request.param)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "a\\b", "a\0b"])
def test_only_names_lead_down(root: Contained, name: str) -> None:
    with pytest.raises(InvalidInputError, match="must be the name of a file"):
        root / name


def test_what_a_path_is_called(root: Contained) -> None:
    path = root / "a" / "b"
    assert path.parent == root / "a" and path.parent.parent == root
    assert path.name == "b" and str(path) == str(root.path / "a" / "b") == str(path.path)
    assert path == Contained(root.root, ("a", "b")) and hash(path) == hash(root / "a" / "b")
    assert path != root / "b" and path != str(path) and path != Contained(root.root / "a", ("b",))
    assert Contained.of(path) is path and Contained.of(str(root.path)) == root
    assert repr(path) == f"Contained({str(path)!r})"
    with pytest.raises(InvalidInputError, match="below the folder"):
        root.parent.parent  # noqa: B018


def test_names_and_folders(root: Contained, handles: bool) -> None:
    assert (root / "nothing").names() == []
    (root / "f").make_folder()
    (root / "f").make_folder()  # it is there
    write_file(root / "f" / "a", b"abc")
    assert (root / "f").names() == ["a"] and root.names() == ["f"]
    for what in (root / "f" / "a", root / "f" / "a" / "b"):
        with pytest.raises((IndexFormatError, NotADirectoryError, FileNotFoundError)):
            what.make_folder()
        with pytest.raises((IndexFormatError, NotADirectoryError)):
            what.names()
    assert (root / "f" / "a").read_bytes(3) == b"abc"
    with pytest.raises(IndexFormatError, match="is larger than 2 bytes"):
        (root / "f" / "a").read_bytes(2)
    with pytest.raises(OSError):
        (root / "f").remove_folder()  # it is not empty
    (root / "f" / "a").unlink()
    (root / "f").remove_folder()
    assert root.names() == []


def test_links_folders_and_fifos_are_no_files(root: Contained, handles: bool) -> None:
    write_file(root / "real", b"x")
    (root.path / "link").symlink_to("real")
    (root.path / "dangling").symlink_to("nowhere")
    (root.path / "folder").mkdir()
    os.mkfifo(root.path / "fifo")
    for name in ("link", "dangling", "folder", "fifo"):
        for call in ((root / name).open, lambda name=name: (root / name).descriptor(os.O_RDWR)):
            with pytest.raises(IndexFormatError, match="must be a regular file"):
                call()
    with pytest.raises((FileExistsError, IndexFormatError)):
        (root / "dangling").create()
    assert not (root.path / "nowhere").exists()
    with pytest.raises(FileNotFoundError) as missing:
        (root / "nothing").open()
    assert "nothing" in str(missing.value.filename)


def test_folders_behind_links_are_not_entered(root: Contained, handles: bool) -> None:
    outside = root.path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"x")
    inner = Contained(root.path / "inner")
    make_folder(inner / "deep")
    (inner.path / "link").symlink_to(outside)
    (inner.path / "deep" / "link").symlink_to(outside)
    (inner.path / "dangling").symlink_to("nowhere")
    for folder in (inner / "link", inner / "deep" / "link", inner / "dangling"):
        for call in (
            folder.names, (folder / "file").open, (folder / "file").unlink, (folder / "new").create,
            (folder / "new").make_folder, lambda f=folder: (f / "file").replace(inner / "taken"),
        ):  # fmt: skip
            with pytest.raises(IndexFormatError, match=f"{folder.name} must be a folder"):
                call()
    assert [item.name for item in outside.iterdir()] == ["file"]
    # The folder that the user names may be a link.
    (root.path / "named").symlink_to(inner.path)
    assert sorted(Contained(root.path / "named").names()) == ["dangling", "deep", "link"]


def test_the_open_file_is_known_again(root: Contained, handles: bool) -> None:
    write_file(root / "a", b"x")
    write_file(root / "b", b"x")
    descriptor = (root / "a").descriptor(os.O_RDONLY)
    try:
        assert (root / "a").is_same(descriptor) and not (root / "b").is_same(descriptor)
        (root / "b").replace(root / "a")
        assert not (root / "a").is_same(descriptor)
    finally:
        os.close(descriptor)


@needs_proc
def test_no_handle_stays_open(root: Contained) -> None:
    (root.path / "file").write_bytes(b"x")
    make_folder(root / "a" / "b")

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    for _ in range(3):
        (root / "a" / "b").names()
        (root / "a" / "nothing").names()
        for wrong in (root / "file" / "b", root / "a" / "b" / "c" / "d"):
            with pytest.raises((IndexFormatError, FileNotFoundError)):
                wrong.open()
        with pytest.raises(IndexFormatError):
            (root / "a").open()
        write_file(root / "a" / "x", b"x")
        (root / "a" / "x").unlink()
    assert count() == before
