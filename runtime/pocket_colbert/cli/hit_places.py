"""Where hits are, as paths that an editor opens from here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pocket_colbert.index.snapshot import Snapshot
    from pocket_colbert.types import Hit


class Place(NamedTuple):
    """Where a hit is.

    Attributes:
        name: The path of its file, or else its id.
        suffix: What follows it: ":12", ", page 3" or nothing.
        line: The line in the file, from 1; None where it has none.
        is_path: Whether the name is a path.
    """

    name: str
    suffix: str = ""
    line: int | None = None
    is_path: bool = False


class Places:
    """Finds where hits are."""

    def __init__(
        self,
        opened: object = None,
        typed: str | None = None,
        known: Mapping[str, Place] | None = None,
    ) -> None:
        """Remember what was searched.

        Args:
            opened: The index, several as one, or anything else.
            typed: The folder or file of the documents, as the user has named it.
            known: Where some documents are, by their ids.
        """
        self._opened = opened
        self._typed = typed
        self._known = known or {}
        self._sources: dict[str, tuple[str | None, Path]] = {}

    def look_up(self, hits: Sequence[Hit]) -> None:
        """Ask the index for the sources of hits that come next, all at once."""
        from pocket_colbert.index.index import Index
        from pocket_colbert.index.multi_index import MultiIndex

        names = [hit.document_id for hit in hits if isinstance(hit.metadata.get("path"), str)]
        opened = self._opened
        if isinstance(opened, MultiIndex):
            indexes = list(opened.indexes)
        else:
            indexes = [opened] if isinstance(opened, Index) else []
        for index in indexes:  # of equal ids the last one counts
            if names and index.folder is not None:
                found = _sources(index.snapshot, names)
                self._sources |= {name: (source, index.folder) for name, source in found.items()}

    def of(self, hit: Hit, start: int) -> Place:
        """Return where a place in a hit's document is.

        Args:
            hit: The hit.
            start: The place, in characters of its text.
        """
        from pocket_colbert.ingest.extracted import place_in_file

        if hit.document_id in self._known:
            return self._known[hit.document_id]
        path, where = hit.metadata.get("path"), hit.document_id
        if isinstance(path, str):
            where = place_in_file(hit.document_id, hit.text or "", hit.metadata, start)
        if not isinstance(path, str) or where == hit.document_id or not where.startswith(path):
            return Place(hit.document_id)
        suffix = where[len(path) :]
        line = int(suffix[1:]) if suffix.startswith(":") else None
        return Place(self._path(hit.document_id, path), suffix, line, True)

    def _path(self, document_id: str, path: str) -> str:
        """Return the path of a file from the current folder, or as its index has it."""
        if self._typed is not None:
            return os.path.normpath(
                os.path.join(self._typed, path) if os.path.isdir(self._typed) else self._typed
            )
        found = self._file(document_id, path)
        if found is None:
            return path
        try:
            near = os.path.relpath(found)
        except ValueError:  # on another drive of Windows
            return str(found)
        return str(found) if near.split(os.sep)[0] == os.pardir else near

    def _file(self, document_id: str, path: str) -> Path | None:
        from pocket_colbert.source_paths import source_path

        source, folder = self._sources.get(document_id, (None, Path()))
        above = None if source is None else source_path(source, folder)
        if above is None:
            return None
        try:
            found = above / path if above.is_dir() else above
            return Path(os.path.normpath(found)) if found.is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            return None


def _sources(snapshot: Snapshot, document_ids: Sequence[str]) -> dict[str, str | None]:
    """Return the sources of those ids whose documents are there, a segment at a time."""
    by_segment: dict[int, list[int]] = {}
    for segment, position in snapshot.addresses(document_ids).values():
        by_segment.setdefault(segment, []).append(position)
    return {
        document.document_id: document.source
        for segment, positions in by_segment.items()
        for document in snapshot.segments[segment].documents.get(positions).values()
    }
