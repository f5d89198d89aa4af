"""The sources of documents: paths relative to the folder of the index."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from functools import cache
from pathlib import Path


def source_name(path: Path, index_folder: Path) -> str:
    """Return a path relative to an index, so that both can be moved together."""
    try:
        return Path(os.path.relpath(path.resolve(), index_folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return path.resolve().as_posix()


def source_path(source: str, index_folder: Path) -> Path | None:
    """Return the path that `source_name` named, or None for any other source.

    Other sources are addresses, absolute paths and whatever programs pass as `sources`, and also
    paths inside the index's own folder, because those look the same.
    """
    upward = source == ".." or source.startswith("../")
    if not upward or posixpath.normpath(source) != source or "\0" in source:
        return None
    return index_folder.resolve() / source


def mover(before: Path | None, after: Path) -> Callable[[str], str]:
    """Return a function that makes sources relative to another index.

    Args:
        before: The folder of the index that has the sources, None in memory.
        after: The folder of the other index.

    Returns:
        A function that takes a source and returns it, adjusted if `source_path` knows its path.
    """

    @cache  # `save` calls it for every document
    def moved(source: str) -> str:
        path = None if before is None else source_path(source, before)
        return source if path is None else source_name(path, after)

    return moved
