"""Where hits are, as paths that an editor opens from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pocket_colbert.index.index import Index
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

        index = self._index_of(document_id)
        if index is None or index.folder is None:
            return None
        above = source_path(index.get(document_id).source or "", index.folder)
        if above is None:
            return None
        try:
            found = above / path if above.is_dir() else above
            return Path(os.path.normpath(found)) if found.is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            return None

    def _index_of(self, document_id: str) -> Index | None:
        from pocket_colbert.index.index import Index
        from pocket_colbert.index.multi_index import MultiIndex

        if isinstance(self._opened, MultiIndex):  # of equal ids the last one counts
            found = [index for index in self._opened.indexes if document_id in index]
            return found[-1] if found else None
        return self._opened if isinstance(self._opened, Index) else None
