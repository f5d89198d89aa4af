"""An index folder: its state, who may change it, and how one state follows another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import IndexConflictError, IndexExistsError, IndexFormatError
from pocket_colbert.storage.files import make_folder, move, remove
from pocket_colbert.storage.lock import WriterLock
from pocket_colbert.storage.manifest import (
    DELETED_FOLDER,
    MANIFEST_FILE,
    SEGMENTS_FOLDER,
    Manifest,
    SegmentEntry,
    new_manifest,
)
from pocket_colbert.storage.segment import Segment

_ATTEMPTS = 10
_REPLACEMENT = "replacement"
"""Folder in an index folder in which an index is made that will replace it."""


class IndexDirectory:
    """The folder of an index that is open.

    Attributes:
        path: The folder.
        manifest: The state that was read or written last.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        """Open the folder of an index; segments are opened by `segments`.

        Raises:
            IndexNotFoundError: There is no index.
            IndexFormatError: Its manifest is damaged.
            IndexLockedError: Another writer has it open.
            IndexConflictError: It cannot be written to.
        """
        self.path = path
        self.manifest = Manifest.load(path)
        self._lock: WriterLock | None = None
        if writable:
            self._lock = WriterLock(path)
            try:
                self.manifest = Manifest.load(path)
                _remove_orphans(self.path, self.manifest)
            except BaseException:
                self.close()
                raise

    @classmethod
    def create(cls, path: Path, config: IndexConfig) -> IndexDirectory:
        """Make the folder of an empty index and open it for writing.

        Raises:
            IndexExistsError: There is something at `path`.
        """
        if path.exists() and (
            not path.is_dir() or any(p != new_manifest(path) for p in path.iterdir())
        ):
            raise IndexExistsError(f"{path} already exists and is not an empty folder.")
        make_folder(path)
        Manifest(0, config).save(path)
        return cls(path, writable=True)

    @property
    def writable(self) -> bool:
        """Whether this process may change the index."""
        return self._lock is not None and self._lock.held

    def segments(self, known: Sequence[Segment], verify: bool | None) -> tuple[Segment, ...]:
        """Open the segments of the manifest, those that are open already excepted.

        Where a writer has removed some of them meanwhile, the manifest is read again.

        Args:
            known: Segments that are open.
            verify: See `Segment.open`.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return self._open(known, verify)
            except (IndexFormatError, OSError):
                before, self.manifest = self.manifest, Manifest.load(self.path)
                if before == self.manifest or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the loop returns or raises")

    def _open(self, known: Sequence[Segment], verify: bool | None) -> tuple[Segment, ...]:
        open_segments = {segment.entry.name: segment for segment in known if segment.entry}
        segments = []
        for entry in self.manifest.segments:
            segment = open_segments.get(entry.name)
            if segment is None:
                segment = Segment.open(self.path, entry, self.manifest.config, verify)
            segments.append(segment.marked(self.path, entry))
        return tuple(segments)

    def refreshed(self, known: Sequence[Segment]) -> tuple[Segment, ...] | None:
        """Read the manifest again and open what is new in it; None when it has not changed.

        Raises:
            IndexFormatError: What is new is damaged.
            IndexConflictError: The index was made again with another model or width.
        """
        before, self.manifest = self.manifest, Manifest.load(self.path)
        if before == self.manifest:
            return None
        try:
            old, new = before.config, self.manifest.config
            if (old.model, old.dim) != (new.model, new.dim):
                raise IndexConflictError(
                    f"{self.path} was made again with another model or width; open it again."
                )
            return self.segments(known, None)
        except BaseException:
            self.manifest = before  # so that the next call tries again
            raise

    def commit(self, segments: Sequence[Segment], config: IndexConfig | None = None) -> None:
        """Make segments, all of whose files are on disk, the state of the index, in one step.

        Args:
            segments: The segments.
            config: New settings of the index; those it has by default.

        Raises:
            IndexConflictError: The index was opened read-only or has been changed by another.
            OSError: The disk is full or fails. The index stays as it was.
        """
        self.check_current()
        entries: list[SegmentEntry] = [item.entry for item in segments if item.entry is not None]
        following = Manifest(
            self.manifest.generation + 1, config or self.manifest.config, tuple(entries)
        )
        try:
            following.save(self.path)
            self.manifest = following
        except BaseException:
            # It counts when the manifest was renamed, whatever failed after that.
            if Manifest.load(self.path) == following:
                self.manifest = following
            raise
        _remove_orphans(self.path, self.manifest)

    def check_writable(self) -> None:
        """Raise IndexConflictError unless this process may change the index now."""
        if self._lock is None:
            raise IndexConflictError(
                f"{self.path} was opened read-only; open it with writable=True to change it."
            )
        if not self._lock.held:
            raise IndexConflictError(
                f"{self.path} was opened for writing by another process or is closed; open it here."
            )

    def check_current(self) -> None:
        """Raise IndexConflictError unless this process may write the next commit.

        Without locks, as on some network file systems, another writer may have written it; and
        the folder may have been deleted and made again, with a lock of its own.
        """
        self.check_writable()
        there = Manifest.load(self.path)
        if there != self.manifest:  # an index made again counts its commits from 0
            raise IndexConflictError(
                f"{self.path} was changed by another writer or made again (it is at commit "
                f"{there.generation}, this one knows {self.manifest.generation}); open it again "
                "and repeat."
            )

    def clean_up(self) -> None:
        """Delete what a commit left behind that did not come to its end."""
        if self.writable and Manifest.load(self.path) == self.manifest:
            _remove_orphans(self.path, self.manifest)

    def close(self) -> None:
        """Let another writer in."""
        if self._lock is not None:
            self._lock.release()


def is_index(folder: str | Path) -> bool:
    """Say whether there is an index at `folder`, damaged or not."""
    return (Path(folder) / MANIFEST_FILE).is_file()


@contextmanager
def replacement(folder: Path) -> Iterator[Path]:
    """Lend a path for an index that replaces the one in a folder, in one step, at the end.

    The index there, which may be damaged, stays as it is until then and when an error is raised.
    Nobody else may write to it meanwhile; readers keep what they have open.

    Args:
        folder: The folder of an index.

    Yields:
        A path within the folder at which nothing is. When the block ends an index must be there,
        closed.

    Raises:
        IndexLockedError: Another writer has the index open.
        IndexConflictError: It cannot be written to.
        OSError: The disk is full or fails.
    """
    lock, work = WriterLock(folder), folder / _REPLACEMENT
    try:
        remove(work)  # of a process that was killed
        yield work
        made = Manifest.load(work)
        for entry in made.segments:
            _move(entry.folder(work), entry.folder(folder))
            deleted, target = entry.deleted_file(work), entry.deleted_file(folder)
            if deleted is not None and target is not None:
                _move(deleted, target)
        made = replace(made, generation=_generation(folder) + 1)
        made.save(folder)
        _remove_orphans(folder, made)
    finally:
        remove(work)
        lock.release()


def _move(source: Path, target: Path) -> None:
    make_folder(target.parent)
    move(source, target)


def _generation(folder: Path) -> int:
    """Return the number of an index's last commit, 0 when it is too damaged to tell."""
    try:
        return Manifest.load(folder).generation
    except IndexFormatError:
        return 0


def _remove_orphans(folder: Path, manifest: Manifest) -> None:
    """Delete files that the manifest does not name: leftovers of commits and failures."""
    segments = {entry.name for entry in manifest.segments}
    deleted = {entry.deleted_file(folder) for entry in manifest.segments}
    for path in _entries(folder / SEGMENTS_FOLDER):
        if path.name not in segments:
            remove(path)
    for path in _entries(folder / DELETED_FOLDER):
        if path not in deleted:
            remove(path)
    remove(folder / _REPLACEMENT)


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []
