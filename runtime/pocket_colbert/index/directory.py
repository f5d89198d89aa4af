"""An index folder: its state, who may change it, and how one state follows another."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import IndexConflictError, IndexExistsError, IndexFormatError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import discard, discard_folder, make_folder, move
from pocket_colbert.storage.lock import HOLDER_FILE, LOCK_FILE, WriterLock
from pocket_colbert.storage.manifest import (
    DELETED_FOLDER,
    DELETED_NAME,
    FORMAT,
    MANIFEST_FILE,
    NEW_MANIFEST_FILE,
    SEGMENT_FILES,
    SEGMENT_NAME,
    SEGMENTS_FOLDER,
    Manifest,
    SegmentEntry,
)
from pocket_colbert.storage.segment import Segment

_ATTEMPTS = 10
_MOST_COMMITS = 1 << 40
"""A name with a higher number was not given by a writer."""
_LONGEST_OF_OTHERS = 1_000_000
_REPLACEMENT = "replacement"
"""Folder in an index folder in which an index is made that will replace it."""


class IndexDirectory:
    """The folder of an index that is open.

    Attributes:
        contained: The folder.
        manifest: The state that was read or written last.
    """

    def __init__(self, folder: str | Path | Contained, *, writable: bool) -> None:
        """Open the folder of an index; segments are opened by `segments`.

        Raises:
            IndexNotFoundError: There is no index.
            IndexFormatError: Its manifest is damaged.
            IndexLockedError: Another writer has it open.
            IndexConflictError: It cannot be written to.
        """
        self.contained: Contained = Contained.of(folder)
        self.manifest: Manifest = Manifest.load(self.contained)
        self._lock: WriterLock | None = None
        if writable:
            self._lock = WriterLock(self.contained)
            try:
                self.manifest = Manifest.load(self.contained)
                _remove_orphans(self.contained, self.manifest)
            except BaseException:
                self.close()
                raise

    @classmethod
    def create(cls, folder: str | Path | Contained, config: IndexConfig) -> IndexDirectory:
        """Make the folder of an empty index and open it for writing.

        Raises:
            IndexExistsError: There is something at `folder`.
        """
        contained = Contained.of(folder)
        path = contained.path
        if os.path.lexists(path) and (
            not path.is_dir() or any(name != NEW_MANIFEST_FILE for name in contained.names())
        ):
            raise IndexExistsError(f"{path} already exists and is not an empty folder.")
        make_folder(contained)
        Manifest(0, config).save(contained)
        return cls(contained, writable=True)

    @property
    def path(self) -> Path:
        """The folder, as the user named it."""
        return self.contained.path

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
                before, self.manifest = self.manifest, Manifest.load(self.contained)
                if before == self.manifest or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the loop returns or raises")

    def _open(self, known: Sequence[Segment], verify: bool | None) -> tuple[Segment, ...]:
        open_segments = {segment.entry.name: segment for segment in known if segment.entry}
        segments = []
        for entry in self.manifest.segments:
            segment = open_segments.get(entry.name)
            # An index that was made again has segments of the same names.
            if segment is None or segment.entry is None or segment.entry.files != entry.files:
                segment = Segment.open(self.contained, entry, self.manifest.config, verify)
            segments.append(segment.marked(self.contained, entry))
        return tuple(segments)

    def refreshed(self, known: Sequence[Segment]) -> tuple[Segment, ...] | None:
        """Read the manifest again and open what is new in it; None when it has not changed.

        Raises:
            IndexFormatError: What is new is damaged.
            IndexConflictError: The index was made again with another model or width.
        """
        before, self.manifest = self.manifest, Manifest.load(self.contained)
        if before == self.manifest:
            return None
        try:
            old, new = before.config, self.manifest.config
            if old.dim != new.dim or old.model not in ("", new.model):
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
            following.save(self.contained)
            self.manifest = following
        except BaseException:
            # It counts when the manifest was renamed, whatever failed after that.
            if Manifest.load(self.contained) == following:
                self.manifest = following
            raise
        _remove_orphans(self.contained, self.manifest)

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
        there = Manifest.load(self.contained)
        if there != self.manifest:  # an index made again counts its commits from 0
            raise IndexConflictError(
                f"{self.path} was changed by another writer or made again (it is at commit "
                f"{there.generation}, this one knows {self.manifest.generation}); open it again "
                "and repeat."
            )

    def clean_up(self) -> None:
        """Delete what a commit left behind that did not come to its end."""
        if self.writable and Manifest.load(self.contained) == self.manifest:
            _remove_orphans(self.contained, self.manifest)

    def close(self) -> None:
        """Let another writer in."""
        if self._lock is not None:
            self._lock.release()


def is_index(folder: str | Path) -> bool:
    """Say whether there is an index at `folder`, damaged or not."""
    manifest = Path(folder) / MANIFEST_FILE
    return manifest.is_file() and not _is_of_others(manifest)


def _is_of_others(manifest: Path) -> bool:
    """Say whether a manifest is a sound one of another program, such as that of a web page."""
    parts = (manifest.parent / name for name in (SEGMENTS_FOLDER, LOCK_FILE))
    if any(os.path.lexists(part) for part in parts):
        return False
    try:
        with manifest.open("rb") as stream:
            content = json.loads(stream.read(_LONGEST_OF_OTHERS))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") != FORMAT


def remove_index(folder: str | Path | Contained) -> None:
    """Delete an index that is of no use, as far as that is possible.

    Only files and folders that an index has are deleted; a folder with anything else in it stays.
    """
    contained = Contained.of(folder)
    with suppress(IndexFormatError, OSError):
        _remove_segments(contained, Manifest(0, IndexConfig(dim=1)))
    for name in (SEGMENTS_FOLDER, DELETED_FOLDER):
        discard_folder(contained / name, ())
    discard_folder(contained, (MANIFEST_FILE, NEW_MANIFEST_FILE, LOCK_FILE, HOLDER_FILE))


@contextmanager
def replacement(folder: str | Path) -> Iterator[Contained]:
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
    target = Contained.of(folder)
    lock, work = WriterLock(target), target / _REPLACEMENT
    try:
        remove_index(work)  # of a process that was killed
        yield work
        made = Manifest.load(work)
        generation = max(_generation(target), *_generations(target), 0) + 1
        entries = []
        for entry in made.segments:
            # A commit that the old index has not had: no segment of it can be in the way.
            named = replace(entry, name=f"{generation:06d}-{entry.name.rpartition('-')[2]}")
            _move(entry.folder(work), named.folder(target))
            deleted, deleted_target = entry.deleted_file(work), named.deleted_file(target)
            if deleted is not None and deleted_target is not None:
                _move(deleted, deleted_target)
            entries.append(named)
        made = replace(made, generation=generation, segments=tuple(entries))
        made.save(target)
        _remove_orphans(target, made)
    finally:
        try:
            remove_index(work)
        finally:
            lock.release()


def _move(source: Contained, target: Contained) -> None:
    make_folder(target.parent)
    move(source, target)


def _generation(folder: Contained) -> int:
    """Return the number of an index's last commit, 0 when it is too damaged to tell."""
    try:
        return Manifest.load(folder).generation
    except IndexFormatError:
        return 0


def _generations(folder: Contained) -> list[int]:
    """Return the commits that made the segments of which there are folders."""
    names = (folder / SEGMENTS_FOLDER).names()
    commits = [int(name.partition("-")[0]) for name in names if SEGMENT_NAME.fullmatch(name)]
    return [commit for commit in commits if commit < _MOST_COMMITS]


def _remove_orphans(folder: Contained, manifest: Manifest) -> None:
    """Delete files that the manifest does not name: leftovers of commits and failures.

    Only names that a writer gives are deleted, whatever else is there.
    """
    _remove_segments(folder, manifest)
    remove_index(folder / _REPLACEMENT)


def _remove_segments(folder: Contained, manifest: Manifest) -> None:
    """Delete segments, and files of deleted documents, that a manifest does not name."""
    segments = {entry.name for entry in manifest.segments}
    deleted = {entry.deleted_file(folder) for entry in manifest.segments}
    for name in (folder / SEGMENTS_FOLDER).names():
        if SEGMENT_NAME.fullmatch(name) and name not in segments:
            discard_folder(folder / SEGMENTS_FOLDER / name, SEGMENT_FILES)
    for name in (folder / DELETED_FOLDER).names():
        path = folder / DELETED_FOLDER / name
        if DELETED_NAME.fullmatch(name) and path not in deleted:
            discard(path)
