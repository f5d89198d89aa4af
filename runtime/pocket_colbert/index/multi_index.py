"""Several indexes searched as one, and made one."""

from __future__ import annotations

import dataclasses
import operator
import os
import threading
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pocket_colbert.config import IndexConfig
from pocket_colbert.errors import DuplicateIdError, IndexExistsError, InvalidInputError
from pocket_colbert.index.directory import IndexDirectory
from pocket_colbert.index.index import Index
from pocket_colbert.index.merger import SegmentMaker
from pocket_colbert.index.reader import IndexReader
from pocket_colbert.index.snapshot import Snapshot
from pocket_colbert.index.usage import in_use
from pocket_colbert.source_paths import mover
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import atomic_folder
from pocket_colbert.storage.segment import Segment


class MultiIndex(IndexReader):
    """Indexes that were built apart, searched as one; read-only.

    It ranks as one index of all their documents would, in the order of the indexes: MaxSim is the
    same, and so is the rarity of words in keyword search, which takes only the mean length of a
    document index by index. Nothing is copied.

    Examples:
        >>> from pocket_colbert import Collection, Encoder, MultiIndex, Retriever
        >>> Collection("2023.index", model="tiny").add("Bees swarm in May.", ids="bees")
        1
        >>> Collection("2024.index", model="tiny").add("Dough needs time.", ids="dough")
        1
        >>> index = MultiIndex.load(["2023.index", "2024.index"])
        >>> retriever = Retriever(Encoder.for_index(index.config), index)
        >>> [hit.document_id for hit in retriever.retrieve(["When do bees swarm?"])[0]]
        ['bees', 'dough']

    Attributes:
        config: The settings of the first.
        threads: Threads that one search may use.
        indexes: The indexes.
    """

    def __init__(
        self, indexes: Sequence[Index], *, replacing: bool = False, threads: int | None = None
    ) -> None:
        """Join what indexes have committed; `close` closes them.

        Args:
            indexes: The indexes, which have the same width, codes, keywords and model.
            replacing: Whether of documents that have the same id that of the last index counts;
                otherwise there must be none. Finding out takes about a second a million ids.
            threads: Threads that one search may use, by default one a usable core.

        Raises:
            DuplicateIdError: An id is in two of them and `replacing` is false.
            InvalidInputError: There is no index, or their settings differ.
        """
        super().__init__(_common_settings([index.config for index in indexes]), threads)
        self.indexes: tuple[Index, ...] = tuple(indexes)
        self._replacing = replacing
        self._joining = threading.Lock()
        self._join([index.snapshot for index in self.indexes])

    @classmethod
    def load(
        cls,
        folders: Sequence[str | Path],
        *,
        replacing: bool = False,
        threads: int | None = None,
    ) -> MultiIndex:
        """Open index folders, memory-mapped, and join them.

        Args:
            folders: The folders.
            replacing: See `MultiIndex`.
            threads: See `MultiIndex`.

        Raises:
            IndexNotFoundError: See `Index.load`.
            IndexFormatError: See `Index.load`.
            DuplicateIdError: See `MultiIndex`.
            InvalidInputError: See `MultiIndex`.
        """
        if isinstance(folders, str | Path):
            raise InvalidInputError(f"folders must be a list of folders, got {folders!r}.")
        opened: list[Index] = []
        try:
            for folder in folders:
                opened.append(Index.load(folder, threads=1))
            return cls(opened, replacing=replacing, threads=threads)
        except BaseException:
            for index in opened:
                index.close()
            raise

    def __enter__(self) -> MultiIndex:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle or copy by the paths of the indexes, see `Index.__reduce__`."""
        return _joined, (self.indexes, self._replacing, self.threads)

    def __repr__(self) -> str:
        size = "closed" if self.closed else f"{len(self)} documents"
        return f"<MultiIndex of {len(self.indexes)} indexes: {size}>"

    @property
    def generation(self) -> int:
        """Sum of the indexes' generations: a higher one after each commit that is shown."""
        return self._generation

    @in_use
    def refresh(self) -> bool:
        """Show what writers have committed since, see `Index.refresh`; any thread may ask.

        Returns:
            Whether there was anything new.

        Raises:
            IndexFormatError: See `Index.load`.
            DuplicateIdError: See `MultiIndex`; what was shown before is still shown.
        """
        with self._joining:
            for index in self.indexes:
                index.refresh()
            snapshots = [index.snapshot for index in self.indexes]
            # Not what `refresh` returned: an error may have come between it and joining.
            if all(map(operator.is_, snapshots, self._joined)):
                return False
            self._join(snapshots)
            return True

    @in_use
    def save(self, folder: str | Path) -> None:
        """Write one index of all documents to a new folder.

        Parts are copied as they are and verified on the way, inverted files included: it takes
        as long as copying the files. `Index.compact` makes fewer, larger parts of them. Sources
        that are relative to an index's folder become relative to the new one.

        Args:
            folder: A path at which nothing is, or an empty folder.

        Raises:
            IndexExistsError: Something is at `folder`.
            IndexFormatError: A file of one of the indexes is damaged.
            OSError: The disk is full or fails. Nothing is at `folder` then.
        """
        path = Path(folder)
        if os.path.lexists(path) and (not path.is_dir() or any(path.iterdir())):
            raise IndexExistsError(f"{path} already exists and is not an empty folder.")
        with atomic_folder(path) as work:
            target = IndexDirectory.create(work, self.config)
            try:
                segments = [
                    self._copied(segment, index.folder, target.contained, path)
                    for index, part in zip(self.indexes, self._parts, strict=True)
                    for segment in part
                    if len(segment)
                ]
                target.commit(segments)
                for segment in segments:
                    segment.documents.close()
            finally:
                target.close()

    def _release(self) -> None:
        super()._release()
        for index in self.indexes:
            index.close()

    @property
    def _shown(self) -> Snapshot:
        return self._all

    def _join(self, snapshots: Sequence[Snapshot]) -> None:
        parts = [list(snapshot.segments) for snapshot in snapshots]
        for number in range(1, len(parts)):
            for segment in parts[number]:
                for ids in segment.living_ids():
                    for earlier in parts[:number]:
                        _without(earlier, ids, self._replacing)
        self._parts, self._joined = parts, snapshots
        self._generation = sum(index.generation for index in self.indexes)
        self._all = Snapshot(tuple(chain.from_iterable(parts)))

    def _copied(
        self, segment: Segment, source: Path | None, work: Contained, final: Path
    ) -> Segment:
        """Write a segment of one of the indexes into a folder that will get its final name."""
        if source is not None:
            return segment.copied(Contained(source), work, self.config, mover(source, final))
        maker = SegmentMaker(folder=work, generation=1, config=self.config, threads=self.threads)
        return maker.merge([segment])


def _without(segments: list[Segment], document_ids: Sequence[str], replacing: bool) -> None:
    """Take documents out of an earlier index's segments; raise if none may be there."""
    for number, segment in enumerate(segments):
        same = segment.documents.find(document_ids)
        twice = {item: position for item, position in same.items() if segment.alive[position]}
        if twice and not replacing:
            raise DuplicateIdError(
                f"document ids must differ between indexes, got {next(iter(twice))!r} twice; "
                "delete it from one, or let that of the last index count (merge --replace; in "
                "Python replacing=True)."
            )
        if twice:
            segments[number] = segment.without(np.array(list(twice.values()), np.int64), None, 0)


def _common_settings(configs: Sequence[IndexConfig]) -> IndexConfig:
    """Return the first settings, with the model that others name if it names none."""
    if not configs:
        raise InvalidInputError("at least one index is needed, got none.")
    for name in ("dim", "codes", "keywords", "model"):
        values = list(dict.fromkeys(str(getattr(config, name)) for config in configs))
        if name == "model":  # unknown ones are taken on trust, as `Retriever` does
            values = [value[:12] for value in values if value]
        if len(values) > 1:
            raise InvalidInputError(
                f"indexes must have the same {name} to be joined, got {values[0]} and {values[1]}; "
                "index the documents of one again as the other was made."
            )
    return dataclasses.replace(configs[0], model=next((c.model for c in configs if c.model), ""))


def _joined(indexes: Sequence[Index], replacing: bool, threads: int) -> MultiIndex:
    """Join indexes that were pickled and are open again."""
    return MultiIndex(indexes, replacing=replacing, threads=threads)
