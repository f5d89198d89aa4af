"""Where documents were read from, as an index says it: relative to its folder."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from functools import cache
from pathlib import Path


def source_name(path: Path, index_folder: Path) -> str:
    """Name a path as it is seen from an index, so that both may move together."""
    try:
        return Path(os.path.relpath(path.resolve(), index_folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.resolve().as_posix()


def source_path(source: str, index_folder: Path) -> Path | None:
    """Return the path that `source_name` gave a name, None for what it does not name so.

    Those are addresses, absolute paths, and whatever programs pass as `sources`; and paths within
    the index's own folder, which look like them.
    """
    upward = source == ".." or source.startswith("../")
    if not upward or posixpath.normpath(source) != source or "\0" in source:
        return None
    return index_folder.resolve() / source


def mover(before: Path | None, after: Path) -> Callable[[str], str]:
    """Return the function that names what a source names as it is seen from another index.

    Args:
        before: The folder of the index that has the sources; None in memory.
        after: The folder of the other index.

    Returns:
        Takes a source and returns it, changed where `source_path` knows its path.
    """

    @cache  # as `save` asks for every document
    def moved(source: str) -> str:
        path = None if before is None else source_path(source, before)
        return source if path is None else source_name(path, after)

    return moved
