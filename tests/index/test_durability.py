"""An index survives full and failing disks, power cuts, kills, and readers while it changes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from pocket_colbert import (
    Index,
    IndexConfig,
    IndexConflictError,
    IndexFolderError,
    IndexFormatError,
    IndexNotFoundError,
    Passage,
    SearchParameters,
)
from pocket_colbert.index import writer
from pocket_colbert.index.directory import replacement
from pocket_colbert.index.merge_policy import MergePolicy
from pocket_colbert.index.snapshot import Snapshot
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.manifest import Manifest
from tests.support.arrays import unit_rows

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
DIM = 8
CONFIG = IndexConfig(dim=DIM, codes="int8", inverted_file="never")
QUERY = unit_rows(np.random.default_rng(1), 3, DIM)

State = dict[str, str | None]
"""Texts by id, in the order of the documents."""

Hook = Callable[[str, object], None]
"""Called with the name of an operation and what it is about, before it is done."""


def put(index: Index, version: int, *ids: str) -> None:
    """Add or replace documents; one whose id ends with 'p' has two passages."""
    embeddings: list[Any] = []
    for document_id in ids:
        vectors = unit_rows(np.random.default_rng([version, *document_id.encode()]), 4, DIM)
        passages = [Passage(0, 2, vectors[:2]), Passage(2, 5, vectors[2:])]
        embeddings.append(passages if document_id.endswith("p") else vectors)
    index.upsert(
        ids, embeddings, texts=[f"{name} as of {version}" for name in ids],
        metadata=[{"version": version}] * len(ids),
    )  # fmt: skip


def change(index: Index) -> None:
    """Add, replace and delete, in both segments, without a commit."""
    put(index, 2, "new1", "new2p")
    put(index, 2, "d2", "e1p")
    assert index.delete(["d3", "e2", "nowhere"]) == 2


def state_of(documents: Index | Snapshot) -> State:
    """Return what there is, once no document is there twice."""
    found = [(document.document_id, document.text) for document in documents]
    assert len(found) == len(dict(found)) == len(documents)
    return dict(found)


def read(folder: Path) -> State:
    """Return what a new reader finds."""
    with Index.load(folder, verify=True, threads=1) as index:
        return state_of(index)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written is there for others at once; only a power cut would tell the difference."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def disk() -> Iterator[Path]:
    """A folder in memory where there is such a thing: a thousand indexes are made in it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of two segments, with a deleted document in the first."""
    folder = tmp_path_factory.mktemp("durability") / "index"
    with Index.create(folder, CONFIG, threads=1) as index:
        put(index, 1, "d1", "d2", "d3", "d4p")
        index.commit()
        put(index, 1, "e1p", "e2", "e3")
        index.delete(["d1"])
        index.commit()
    return folder


BEFORE: State = {name: f"{name} as of 1" for name in ("d2", "d3", "d4p", "e1p", "e2", "e3")}
AFTER: State = {name: BEFORE[name] for name in ("d4p", "e3")} | {
    name: f"{name} as of 2" for name in ("new1", "new2p", "d2", "e1p")
}


def check_tidy(folder: Path) -> None:
    """Check that nothing is in the folder but what the manifest names, and the lock."""
    manifest = Manifest.load(folder)
    expected = {folder / name for name in ("manifest.json", "writer.lock", "writer.json")}
    for entry in manifest.segments:
        expected.update(path.path for path, _ in entry.paths(Contained(folder)))
        deleted = entry.deleted_file(Contained(folder))
        expected.update({deleted.path} if deleted else ())
    found = {path for path in folder.rglob("*") if path.is_file()}
    assert found | {folder / "writer.lock", folder / "writer.json"} == expected
    folders = {path.name for path in (folder / "segments").iterdir()}
    assert folders == {entry.name for entry in manifest.segments}


class Stream:
    """An open file that tells the hook what is done with it."""

    def __init__(self, stream: Any, hook: Hook) -> None:
        self._stream, self._hook = stream, hook

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def write(self, data: Any) -> int:
        try:
            self._hook("write", self._stream.name)
        except BaseException:
            self._stream.write(data[: len(data) // 2])
            raise
        return int(self._stream.write(data))

    def flush(self) -> None:
        self._hook("flush", self._stream.name)
        self._stream.flush()

    def read(self, *arguments: int) -> Any:
        self._hook("read", self._stream.name)
        return self._stream.read(*arguments)

    def close(self) -> None:
        was_open = not self._stream.closed
        self._stream.close()
        if was_open:
            self._hook("close", self._stream.name)


@contextmanager
def hooked(ask: Hook) -> Iterator[None]:
    """Call the hook before everything that changes the disk, and most of what reads it."""
    done: list[bool] = []

    def hook(operation: str, subject: object) -> None:
        if not done:
            ask(operation, subject)

    def told(name: str, function: Any) -> Any:
        def call(subject: Any, *arguments: Any, **named: Any) -> Any:
            hook(name, subject)
            return function(subject, *arguments, **named)

        return call

    open_file, open_stream, connect = os.open, os.fdopen, sqlite3.connect

    def open_told(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if not flags & getattr(os, "O_DIRECTORY", 0):
            hook("create" if flags & os.O_CREAT else "open", path)
        return open_file(path, flags, *arguments, **named)

    def stream_told(descriptor: int, mode: str) -> Any:
        return Stream(open_stream(descriptor, mode), hook)

    def sql(name: str) -> Any:
        function = getattr(sqlite3.Connection, name)

        def call(connection: sqlite3.Connection, *arguments: Any) -> Any:
            try:
                hook("sql", arguments[:1])
            except OSError as error:
                full = error.errno == errno.ENOSPC
                message = "database or disk is full" if full else "disk I/O error"
                raise sqlite3.OperationalError(message) from error
            return function(connection, *arguments)

        return call

    names = "execute", "executemany", "commit"
    connection = type("Told", (sqlite3.Connection,), {name: sql(name) for name in names})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "open", open_told)
        patch.setattr(os, "fdopen", stream_told)
        patch.setattr(
            sqlite3, "connect", lambda *a, **named: connect(*a, factory=connection, **named)
        )
        for name in ("fsync", "replace", "mkdir", "unlink", "rmdir", "listdir"):
            patch.setattr(os, name, told(name, getattr(os, name)))
        yield
    done.append(True)  # files that were opened meanwhile stay open


WRITES = {"create", "write", "flush", "fsync", "mkdir", "sql"}
ERRORS: dict[str, Callable[[], BaseException]] = {
    "full": lambda: OSError(errno.ENOSPC, "No space left on device"),
    "failing": lambda: OSError(errno.EIO, "Input/output error"),
    "interrupted": KeyboardInterrupt,
}


class Fault:
    """A disk that fails at one operation; one that is full fails at all later ones, too.

    Attributes:
        operation: Where it failed, None so far.
        renamed: Whether a manifest was put in its place.
    """

    def __init__(self, at: int, kind: str) -> None:
        self._left, self._kind = at, kind
        self.operation: tuple[str, object] | None = None
        self.renamed = False

    def __call__(self, operation: str, subject: object) -> None:
        if self._kind != "full" or operation in WRITES:
            self._left -= 1
            if self._left == -1 or (self._left < 0 and self._kind == "full"):
                self.operation = self.operation or (operation, subject)
                raise ERRORS[self._kind]()
        self.renamed |= operation == "replace"


def faults(kind: str) -> Iterator[Fault]:
    """Iterate over failures at the first operation, the second and so on until there is none."""
    for at in range(10_000):
        fault = Fault(at, kind)
        yield fault
        if fault.operation is None:
            assert at > 10
            return


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("step", ["commit", "merge", "compact"])
def test_a_failure_anywhere_loses_nothing(
    step: str, kind: str, base: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the manifest is renamed all stays pending, after it all is committed."""
    changes, call = step != "compact", "compact" if step == "compact" else "commit"
    if step == "merge":
        monkeypatch.setattr(writer, "MergePolicy", partial(MergePolicy, most_small=2))
    for number, fault in enumerate(faults(kind)):
        folder = shutil.copytree(base, disk / str(number))
        index = Index.load(folder, writable=True, threads=1)
        if changes:
            change(index)
        before, after = (BEFORE, AFTER) if changes else (BEFORE, BEFORE)
        with hooked(fault):
            try:
                getattr(index, call)()
            except (OSError, KeyboardInterrupt, IndexFormatError):
                assert fault.operation is not None
            else:
                assert fault.renamed
        where = fault.operation
        committed = after if fault.renamed else before
        assert read(folder) == state_of(index.snapshot) == committed, where
        assert list(state_of(index).items()) == list(after.items()), where
        assert index.uncommitted == (changes and not fault.renamed), where
        assert (len(index.snapshot.segments) == 1) == (step != "commit" and fault.renamed), where
        getattr(index, call)()
        assert not index.uncommitted
        assert list(read(folder).items()) == list(after.items()), where
        put(index, 3, "later")
        index.commit()
        assert read(folder) == after | {"later": "later as of 3"}, where
        check_tidy(folder)
        index.close()
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ERRORS)
def test_a_replacement_that_fails_anywhere_leaves_the_old_or_the_new(
    kind: str, base: Path, disk: Path
) -> None:
    after: State = {name: f"{name} as of 4" for name in ("d2", "other")}
    for number, fault in enumerate(faults(kind)):
        folder = shutil.copytree(base, disk / str(number))
        with hooked(fault):
            try:
                with replacement(folder) as place, Index.create(place, CONFIG, threads=1) as made:
                    put(made, 4, "d2", "other", "gone")
                    made.commit()
                    made.delete(["gone"])
                    made.commit()
                replaced = True
            except (OSError, KeyboardInterrupt, IndexFolderError):
                assert fault.operation is not None
                replaced = False
        found = read(folder)
        assert found == after or (found == BEFORE and not replaced), fault.operation
        with Index.load(folder, writable=True, threads=1) as writer:
            assert state_of(writer) == found
            put(writer, 3, "later")
            writer.commit()
        check_tidy(folder)
        shutil.rmtree(folder)


WATCHED = {
    "index.py",
    "writer.py",
    "write_buffer.py",
    "merge_policy.py",
    "merger.py",
    "directory.py",
}
"""Modules of index/ that commit."""


def test_an_interruption_at_any_line_of_a_commit_loses_nothing(base: Path, disk: Path) -> None:
    """As Ctrl-C does it; an error in the middle of encoding is like it."""
    interrupted: set[tuple[str, int]] = set()
    done = False

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        path = Path(frame.f_code.co_filename)
        return trace_line if path.parent.name == "index" and path.name in WATCHED else None

    def trace_line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal done
        place = (frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not done and place not in interrupted:
            interrupted.add(place)
            done = True
            raise KeyboardInterrupt
        return trace_line

    before = -1
    while len(interrupted) > before:
        before, done = len(interrupted), False
        folder = shutil.copytree(base, disk / str(before))
        with Index.load(folder, writable=True, threads=1) as index:
            change(index)
            tracing = sys.gettrace()
            sys.settrace(trace)
            try:
                index.commit()
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(tracing)
            assert list(state_of(index).items()) == list(AFTER.items())
            index.commit()
            put(index, 3, "later")
            index.commit()
            assert read(folder) == AFTER | {"later": "later as of 3"}
            check_tidy(folder)
        shutil.rmtree(folder)
    assert before > 50


@pytest.mark.parametrize("kind", ERRORS)
def test_a_failure_to_open_leaves_the_index_to_others(kind: str, base: Path, disk: Path) -> None:
    folder = shutil.copytree(base, disk / "index")
    for fault in faults(kind):
        (folder / "segments" / "000007-0123abcd").mkdir()
        with hooked(fault), suppress(OSError, KeyboardInterrupt, IndexFolderError):
            Index.load(folder, writable=True, threads=1).close()
        with Index.load(folder, writable=True, threads=1) as index:
            assert state_of(index) == BEFORE, fault.operation
        check_tidy(folder)


Entries = dict[str, int]
"""Numbers of what is in a folder, by name."""

Entry = tuple[int, str]
"""Number of a folder, and a name in it."""


class PowerCut:
    """Keeps track of what of a folder would outlast a power cut.

    A file is sure to hold what it held when it was last synchronised, and a folder to have the
    entries it had then; whatever was done since may be there or not, each for itself.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers: dict[int, int] = {}  # of the inodes there are
        self._count = 0
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, Entries] = {}
        self._look()
        self._sure_files, self._sure_folders = dict(self._files), dict(self._folders)

    def _look(self) -> None:
        """Take note of what there is now."""
        numbers: dict[int, int] = {}

        def visit(path: Path) -> int:
            inode = path.stat().st_ino
            self._count += 1
            number = numbers[inode] = self._numbers.get(inode, self._count)
            if path.is_dir():
                with os.scandir(path) as entries:
                    names = sorted(entry.name for entry in entries)
                self._folders[number] = {name: visit(path / name) for name in names}
            else:
                self._files[number] = path.read_bytes()
            return number

        self._top = visit(self._root)
        self._numbers = numbers

    def before(self, operation: str, subject: object) -> None:
        """Take note of what the last operation did, and of what this one makes sure."""
        self._look()
        if operation == "fsync":
            assert isinstance(subject, int)
            number = self._numbers[os.fstat(subject).st_ino]
            if number in self._folders:
                self._sure_folders[number] = self._folders[number]
            else:
                self._sure_files[number] = self._files[number]

    def images(self) -> Iterator[dict[str, bytes | None]]:
        """Iterate over folders that a power cut may leave: contents by path, None for folders."""
        self._look()
        unsure = [
            (number, name)
            for number, entries in self._folders.items()
            for name in {**self._sure_folders.get(number, {}), **entries}
            if self._sure_folders.get(number, {}).get(name) != entries.get(name)
        ]
        if len(unsure) <= 3:
            both = product(*((frozenset([item]), frozenset()) for item in unsure))
            choices = [frozenset[Entry]().union(*choice) for choice in both]
        else:
            single = [frozenset([item]) for item in unsure]
            choices = [frozenset(), frozenset(unsure), *single]
            choices += [frozenset(unsure) - item for item in single]
        contents: list[Callable[[bytes], bytes]] = [
            lambda data: data, lambda data: b"", lambda data: data[: len(data) // 2],
            lambda data: bytes(len(data)),
        ]  # fmt: skip
        for new, content in product(choices, contents):
            image: dict[str, bytes | None] = {}
            self._fill(image, "", self._top, new, content)
            yield image

    def _fill(
        self, image: dict[str, bytes | None], path: str, number: int,
        new: frozenset[Entry], content: Callable[[bytes], bytes],
    ) -> None:  # fmt: skip
        if number in self._files:
            data, sure = self._files[number], self._sure_files.get(number)
            image[path] = data if data == sure else content(data)
            return
        image[path] = None
        sure_entries, entries = self._sure_folders.get(number, {}), self._folders[number]
        for name in {**sure_entries, **entries}:
            inner = (entries if (number, name) in new else sure_entries).get(name)
            if inner is not None:
                self._fill(image, f"{path}/{name}", inner, new, content)


def laid_out(image: dict[str, bytes | None], root: Path) -> Path:
    """Write an image to a new folder."""
    for path, content in image.items():
        if content is None:
            (root / path.lstrip("/")).mkdir()
        else:
            (root / path.lstrip("/")).write_bytes(content)
    return root


Step = tuple[Callable[[], object], State | None, State]
"""What is done, and the contents before and after, None for no index."""


def check_power_cuts(root: Path, *steps: Step) -> int:
    """Cut the power before every operation of steps on `root / "index"`.

    Every image must open as the state before or after the step; the second one not before a
    manifest is renamed, the first one not after that was synchronised. Returns their number.
    """
    cut, seen = PowerCut(root), set[int]()
    around: list[State | None] = []
    allowed: list[State | None] = []
    progress, busy = "", False

    def check() -> None:
        for image in cut.images():
            key = hash((str(allowed), frozenset(image.items())))
            if key in seen:
                continue
            seen.add(key)
            folder = laid_out(image, root.parent / "image") / "index"
            try:
                found: State | None = read(folder)
            except IndexNotFoundError:
                found = None
            assert found in allowed, progress
            if len(seen) % 8 == 0 and found is not None:
                with Index.load(folder, writable=True, threads=1) as index:
                    put(index, 3, "later")
                    index.commit()
                assert read(folder) == found | {"later": "later as of 3"}
                check_tidy(folder)
            shutil.rmtree(root.parent / "image")

    def hook(operation: str, subject: object) -> None:
        nonlocal progress, busy, allowed
        if busy:
            return
        busy = True
        check()
        cut.before(operation, subject)
        if operation == "replace":
            progress, allowed = "renamed", around
        elif progress == "renamed" and operation == "fsync":
            progress, allowed = "synchronised", around[1:]
        busy = False

    for act, *around in steps:
        progress, allowed = "written", around[:1]
        with hooked(hook):
            act()
        assert progress == "synchronised"
        check()
    return len(seen)


def test_a_power_cut_during_commit_and_compact(base: Path, disk: Path) -> None:
    shutil.copytree(base, disk / "disk" / "index")
    with Index.load(disk / "disk" / "index", writable=True, threads=1) as index:
        change(index)
        images = check_power_cuts(
            disk / "disk", (index.commit, BEFORE, AFTER), (index.compact, AFTER, AFTER)
        )
    assert images > 100


def test_a_power_cut_soon_after_the_index_was_made(disk: Path) -> None:
    """The first documents, and the first that are deleted; the index folder's own name, too."""
    (disk / "disk").mkdir()
    index = Index(DIM)

    def create() -> None:
        nonlocal index
        config = IndexConfig(dim=DIM, codes="int4", inverted_file="always")
        index = Index.create(disk / "disk" / "index", config, threads=1)

    def add() -> None:
        put(index, 1, "d1p", "d2")
        index.commit()

    def delete() -> None:
        index.delete(["d1p"])
        index.commit()

    none: State = {}
    both: State = {"d1p": "d1p as of 1", "d2": "d2 as of 1"}
    one: State = {"d2": "d2 as of 1"}
    images = check_power_cuts(
        disk / "disk", (create, None, none), (add, none, both), (delete, both, one)
    )
    index.close()
    assert images > 100


@pytest.mark.skipif(os.name == "nt", reason="fork and SIGKILL are POSIX")
def test_a_killed_writer_loses_nothing_it_committed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tools.attack", "--only", "writer", "--tries", "120"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    kills = re.search(r"a Python writer \| (\d+)", done.stdout)
    within = re.search(r"within a commit: (\d+)", done.stdout)
    assert kills and within, done.stdout
    assert int(kills[1]) == 120 and int(within[1]) > 60, done.stdout


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="needs benchmarks/")
def test_soak(disk: Path) -> None:
    """Eight seconds show nothing of memory: that is for the longer runs of the same program."""
    done = subprocess.run(
        [
            sys.executable, "-W", "error", "-m", "benchmarks.studies.soak", "--minutes", "0.13",
            "--growth", "100", "--folder", disk / "index",
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_open_stays_as_it_was(base: Path, disk: Path) -> None:
    """Snapshots of two ages in several threads, while their segments are deleted."""
    folder = shutil.copytree(base, disk / "index")
    stop, problems, rounds = threading.Event(), list[BaseException](), [0] * 4

    def look(number: int, index: Index, wanted: list[Any]) -> None:
        try:
            while not stop.is_set():
                assert seen(index) == wanted
                rounds[number] += 1
        except BaseException as error:
            problems.append(error)

    def seen(index: Index) -> list[Any]:
        words = SearchParameters(hybrid="weighted")
        return [
            list(index), index.search([QUERY], 9), index.search([QUERY], where={"version": 1}),
            index.search([QUERY], 9, parameters=words, texts=["e3 as of 2"]),
            [len(index.passages(name)) for name in ("d4p", "e3")],
        ]  # fmt: skip

    with (
        Index.load(folder, writable=True, threads=1) as writer,
        Index.load(folder, threads=1) as old,
    ):
        change(writer)
        writer.commit()
        with Index.load(folder, threads=2) as new:
            readers = [
                threading.Thread(target=look, args=(n, index, seen(index)))
                for n, index in enumerate((old, old, new, new))
            ]
            assert state_of(old) == BEFORE and state_of(new) == AFTER
            for reader in readers:
                reader.start()
            for number in range(12):
                put(writer, number, "changing", f"added{number}")
                writer.commit()
                writer.compact()
                check_tidy(folder)
            kept = {path.name for path in (folder / "segments").iterdir()}
            for index in (old, new):
                assert kept.isdisjoint(s.entry.name for s in index.snapshot.segments if s.entry)
            while min(rounds) < 3 and not problems:
                time.sleep(0.01)
            stop.set()
            for reader in readers:
                reader.join()
            assert not problems
            for index in (old, new):
                assert index.refresh() and not index.refresh()
                assert seen(index) == seen(writer) and index.generation == writer.generation


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of everything in a folder, and of itself."""
    found = {path: path.stat() for path in (folder, *folder.rglob("*"))}
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


def test_readers_leave_no_trace(base: Path, disk: Path) -> None:
    folder = shutil.copytree(base, disk / "index")
    before = listing(folder)
    with Index.load(folder, verify=True, threads=2) as index:
        assert state_of(index) == BEFORE and not index.refresh()
        assert index.search([QUERY], 3, where={"version": 1})[0]
        with pytest.raises(IndexConflictError, match="read-only"):
            put(index, 2, "x")
        with pytest.raises(IndexConflictError, match="read-only"):
            index.compact()
    assert listing(folder) == before


def test_a_folder_that_cannot_be_written_to_can_be_read(base: Path, disk: Path) -> None:
    folder = shutil.copytree(base, disk / "index")
    (folder / "writer.lock").unlink(missing_ok=True)
    places = [folder, folder / "segments", folder / "deleted"]
    for place in places:
        place.chmod(0o555)
    try:
        if os.name == "nt" or os.access(folder, os.W_OK):
            pytest.skip("root may write anywhere")
        assert read(folder) == BEFORE
        with pytest.raises(IndexConflictError, match="cannot be written to .* --read-only"):
            Index.load(folder, writable=True)
    finally:
        for place in places:
            place.chmod(0o755)


def test_a_read_only_file_system_can_be_read(
    base: Path, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(base, disk / "index")
    open_file = os.open

    def refuse(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return open_file(path, flags, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert read(folder) == BEFORE
        with pytest.raises(
            IndexConflictError, match=r"cannot be written to \(Read-only .*serve --read-only"
        ):
            Index.load(folder, writable=True)
