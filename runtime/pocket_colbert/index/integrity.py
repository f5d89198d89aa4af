"""What is wrong with an index folder, if anything: everything is read once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pocket_colbert.errors import IndexFolderError, IndexNotFoundError
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.manifest import Manifest, SegmentEntry
from pocket_colbert.storage.mapped_arrays import forget
from pocket_colbert.storage.segment import Segment, check_file
from pocket_colbert.storage.token_graph import TokenGraph

_CHUNK = 1 << 22


def check_index(folder: str | Path) -> list[str]:
    """Read all files of an index and compare them with their checksums and with each other.

    Args:
        folder: The folder; it is not changed.

    Returns:
        One line a problem, with the file's name; none when all is well.

    Raises:
        IndexNotFoundError: There is no index.
    """
    return list(_problems(Contained.of(folder)))


def _problems(folder: Contained) -> Iterator[str]:
    try:
        manifest = Manifest.load(folder)
    except IndexNotFoundError:
        raise
    except IndexFolderError as error:
        yield str(error)
        return
    for entry in manifest.segments:
        sound = True
        for path, expected in entry.paths(folder):
            try:
                check_file(path, expected, verify=True)
            except (IndexFolderError, OSError) as error:
                sound = False
                yield str(error)
        if not sound:
            continue
        try:
            yield from _inconsistencies(folder, entry, manifest)
        except IndexFolderError as error:
            yield str(error)


def _inconsistencies(folder: Contained, entry: SegmentEntry, manifest: Manifest) -> Iterator[str]:
    segment = Segment.open(folder, entry, manifest.config, verify=False).marked(folder, entry)
    try:
        yield from segment.documents.problems()
        if isinstance(segment.source, TokenGraph):
            segment.source.check()
        elif segment.source is not None:
            lists = segment.source.passages
            for start in range(0, len(lists), _CHUNK):
                if int(lists[start : start + _CHUNK].max()) >= len(segment.passages):
                    yield f"{entry.folder(folder) / 'lists.bin'} names passages that are not there."
                    break
            forget(lists)
        if not np.isfinite(segment.rows.scales).all():
            yield f"{entry.folder(folder) / 'scales.f16'} holds numbers that are not finite."
    finally:
        segment.documents.close()
