"""A collection of documents that can be searched by MaxSim."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.cpu import usable_cores
from pocket_colbert.documents import Document
from pocket_colbert.errors import (
    DuplicateIdError,
    IndexConflictError,
    IndexExistsError,
    IndexNotFoundError,
    InvalidInputError,
)
from pocket_colbert.index_info import IndexInfo, describe
from pocket_colbert.manifest import MANIFEST_FILE, SEGMENTS_FOLDER, Manifest
from pocket_colbert.pending import Pending
from pocket_colbert.pruning import merge_duplicate_query_tokens
from pocket_colbert.quantization import check_embedding
from pocket_colbert.results import Hit
from pocket_colbert.segment import Segment
from pocket_colbert.selection import top_k
from pocket_colbert.token_rows import TokenRows

_SEGMENTS_IN_MEMORY = 8


class Index:
    """Holds documents as coded token vectors; finds the best by MaxSim.

    `Index(dim=...)` lives in memory until `save`. `Index.create` and
    `Index.load(..., writable=True)` live in a folder: what was added is written, in one step, by
    `commit`. One writer at a time; any number of threads may search.

        >>> index = Index(dim=encoder.dim)
        >>> index.add(["d1", "d2"], encoder.encode_document(texts), texts=texts)
        >>> index.search(encoder.encode_query(["a question"]), k=1)[0][0].document_id
        'd1'

    Attributes:
        config: The settings, fixed when the index was made.
        threads: Threads that one search may use.
    """

    def __init__(
        self, dim: int, *, config: IndexConfig | None = None, threads: int | None = None
    ) -> None:
        """Make an empty index in memory.

        Args:
            dim: Width of a token vector.
            config: Further settings; its `dim` must be the same.
            threads: Threads that one search may use, by default one a usable core.

        Raises:
            InvalidInputError: An argument is out of range.
        """
        self.config = config or IndexConfig(dim=dim)
        if self.config.dim != dim:
            raise InvalidInputError(f"config.dim must be {dim}, got {self.config.dim}.")
        self.threads = usable_cores() if threads is None else threads
        if not isinstance(self.threads, int) or self.threads < 1:
            raise InvalidInputError(f"threads must be a whole number >= 1, got {threads!r}.")
        self._folder: Path | None = None
        self._writable = True
        self._manifest = Manifest(0, self.config)
        self._segments: list[Segment] = []
        self._pending = Pending(self.config)
        self._executor: Executor | None = None

    @classmethod
    def create(
        cls, folder: str | Path, config: IndexConfig, *, threads: int | None = None
    ) -> Index:
        """Make an empty index in a new folder.

        Args:
            folder: A path at which nothing is, or an empty folder.
            config: The settings.
            threads: See `__init__`.

        Returns:
            The index, to be added to and committed.

        Raises:
            IndexExistsError: There is something at `folder`.
        """
        path = Path(folder)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise IndexExistsError(f"{path} already exists and is not an empty folder.")
        index = cls(config.dim, config=config, threads=threads)
        (path / SEGMENTS_FOLDER).mkdir(parents=True, exist_ok=True)
        index._manifest.save(path)
        index._folder = path
        return index

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        writable: bool = False,
        verify: bool | None = None,
        threads: int | None = None,
    ) -> Index:
        """Open an index folder, memory-mapped.

        Args:
            folder: The folder.
            writable: Whether documents will be added.
            verify: Whether to verify the checksums of all files, which reads them all; None
                does for segments of up to 64 MB. Sizes, and the checksums of small files, are
                always verified.
            threads: See `__init__`.

        Returns:
            The index.

        Raises:
            IndexNotFoundError: There is no index at `folder`.
            IndexFormatError: The index is damaged, incomplete or of another version.
        """
        path = Path(folder)
        manifest = Manifest.load(path)
        index = cls(manifest.config.dim, config=manifest.config, threads=threads)
        index._folder, index._writable, index._manifest = path, writable, manifest
        try:
            for entry in manifest.segments:
                index._segments.append(Segment.open(path, entry, manifest.config, verify))
        except BaseException:
            index.close()
            raise
        return index

    def __len__(self) -> int:
        """Return the number of documents, those not committed yet included."""
        return sum(map(len, self._segments)) + len(self._pending)

    def __contains__(self, document_id: object) -> bool:
        if not isinstance(document_id, str):
            return False
        return document_id in self._pending.documents or self._find(document_id) is not None

    def __iter__(self) -> Iterator[Document]:
        for segment in self._segments:
            yield from segment
        yield from self._pending.documents.values()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        place = "in memory" if self._folder is None else str(self._folder)
        return f"<Index {place}: {len(self)} documents of {self.config.dim} dimensions>"

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.config.dim

    def add(
        self,
        document_ids: Sequence[str],
        embeddings: Sequence[NDArray[Any]],
        *,
        texts: Sequence[str] | None = None,
        titles: Sequence[str | None] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Add documents. Either all are added or, when an error is raised, none.

        An index in a folder shows them after `commit`, one in memory at once.

        Args:
            document_ids: Their ids, which no document may have yet.
            embeddings: One (num_tokens, dim) array each, unit rows, as `Encoder.encode_document`
                returns them. A document without tokens is kept but never found.
            texts: Their texts, to be returned with hits.
            titles: Their titles.
            metadata: A JSON object each.

        Raises:
            InvalidInputError: The lists differ in length, or an item is of the wrong kind.
            DuplicateIdError: An id is given twice or is in the index already.
            IndexConflictError: The index was opened read-only.
        """
        if not self._writable:
            raise IndexConflictError(
                f"{self._folder} was opened read-only; open it with writable=True to add to it."
            )
        ids = self._check_ids(document_ids)
        embeddings = list(embeddings)
        columns = {"embeddings": embeddings, "texts": texts, "titles": titles, "metadata": metadata}
        for name, column in columns.items():
            if column is not None and (isinstance(column, str) or len(column) != len(ids)):
                raise InvalidInputError(
                    f"{name} must be a list of {len(ids)} items, one a document id, "
                    f"got {type(column).__name__} of {len(column)}."
                )
        documents = [
            Document(
                document_id,
                None if texts is None else texts[n],
                None if titles is None else titles[n],
                {} if metadata is None else dict(metadata[n]),
            )
            for n, document_id in enumerate(ids)
        ]
        checked = [
            check_embedding(item, self.dim, f"embedding of {ids[n]!r}")
            for n, item in enumerate(embeddings)
        ]
        self._pending.add(documents, checked, self._segments)

    def commit(self) -> None:
        """Make what was added part of the index; in a folder, durably and in one step.

        Raises:
            IndexConflictError: Another writer has committed since this index was opened. What
                was added stays pending.
            OSError: The disk is full or fails. The index stays as it was, what was added stays
                pending.
        """
        if not self._pending:
            return
        rows = self._pending.rows(self._segments)
        documents = list(self._pending.documents.values())
        if self._folder is None:
            self._segments.append(Segment.in_memory(rows, documents, self.config, self.threads))
            self._pending = Pending(self.config)
            if len(self._segments) > _SEGMENTS_IN_MEMORY:
                merged, everything = self._merged(), list(self)
                self._segments = [Segment.in_memory(merged, everything, self.config, self.threads)]
        else:
            self._commit_to(self._folder, [rows], documents, self._manifest)
            self._pending = Pending(self.config)

    def _commit_to(
        self,
        folder: Path,
        parts: Sequence[TokenRows],
        documents: Sequence[Document],
        manifest: Manifest,
    ) -> None:
        """Write a segment and a manifest with it; nothing of it stays when that fails."""
        on_disk = Manifest.load(folder)
        if on_disk.generation != manifest.generation:
            raise IndexConflictError(
                f"{folder} was changed by another writer (commit {on_disk.generation}, this one "
                f"knows {manifest.generation}); load it again and repeat."
            )
        entry, segment = None, None
        try:
            entry = Segment.write(
                folder,
                manifest.generation + 1,
                parts,
                documents,
                self.config,
                threads=self.threads,
            )
            segment = Segment.open(folder, entry, self.config, verify=False)
            committed = replace(
                manifest,
                generation=manifest.generation + 1,
                segments=(*manifest.segments, entry),
            )
            committed.save(folder)
        except BaseException:
            if segment is not None:
                segment.documents.close()
            self._remove_orphans(folder, manifest)
            raise
        self._manifest = committed
        self._segments.append(segment)

    @staticmethod
    def _remove_orphans(folder: Path, manifest: Manifest) -> None:
        """Delete segment folders that no manifest knows: leftovers of a commit that failed."""
        known = {entry.name for entry in manifest.segments}
        try:
            known |= {entry.name for entry in Manifest.load(folder).segments}
        except Exception:  # the manifest cannot be read: better leave everything
            return
        for place in (folder / SEGMENTS_FOLDER).iterdir():
            if place.name not in known:
                shutil.rmtree(place, ignore_errors=True)

    def search(
        self,
        query_embeddings: Sequence[NDArray[Any]],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        subset: Iterable[str] | None = None,
    ) -> list[list[Hit]]:
        """Find the best documents for each query.

        Args:
            query_embeddings: One (num_tokens, dim) array each, as `Encoder.encode_query` returns
                them.
            k: How many documents a query at most.
            parameters: How to search; see `SearchParameters`.
            subset: Ids of the documents to choose from, all of which are scored; all documents
                by default.

        Returns:
            One list a query: hits, best first, equal scores in the order of insertion. Fewer
            than `k` when there are fewer documents, and none for a query without tokens.

        Raises:
            InvalidInputError: k is below 1, a query is not such an array, or `subset` names a
                document that is not in the index.
        """
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise InvalidInputError(f"k must be a whole number >= 1, got {k!r}.")
        if isinstance(query_embeddings, np.ndarray) and query_embeddings.ndim == 2:
            raise InvalidInputError("query_embeddings must be a list of arrays, got one array.")
        queries = [check_embedding(q, self.dim, "query embedding") for q in query_embeddings]
        if self._folder is None:
            self.commit()
        parameters = parameters or SearchParameters()
        positions = None if subset is None else self._positions(subset)
        executor = self._threads()
        if executor is not None and len(queries) > 2 * self.threads:
            return list(
                executor.map(lambda q: self._search_one(q, k, parameters, positions, None), queries)
            )
        return [self._search_one(q, k, parameters, positions, executor) for q in queries]

    def _search_one(
        self,
        query: NDArray[np.float32],
        k: int,
        parameters: SearchParameters,
        positions: Sequence[NDArray[np.int64]] | None,
        executor: Executor | None,
    ) -> list[Hit]:
        if not len(query) or not self._segments:
            return []
        weights = None
        if parameters.query_tolerance > 0:
            query, weights = merge_duplicate_query_tokens(query, parameters.query_tolerance)
        found, codec, codes = [], None, None
        for number, segment in enumerate(self._segments):
            if codec is None or codes is None or not segment.rows.codec.same_as(codec):
                codec = segment.rows.codec
                codes = codec.encode_query(query, weights)
            found.append(
                segment.search(
                    codes, k, parameters=parameters, executor=executor, threads=self.threads
                )
                if positions is None
                else segment.best_of(
                    codes, positions[number], k, executor=executor, threads=self.threads
                )
            )
        scores = np.concatenate([scores for _, scores in found])
        places = [(number, int(p)) for number, (hits, _) in enumerate(found) for p in hits]
        best = [(places[row], float(scores[row])) for row in top_k(scores, k)]
        documents = {
            number: self._segments[number].documents.get([p for (s, p), _ in best if s == number])
            for number in {segment for (segment, _), _ in best}
        }
        return [
            Hit(item.document_id, score, item.text, item.title)
            for (number, position), score in best
            for item in [documents[number][position]]
        ]

    def _positions(self, document_ids: Iterable[str]) -> list[NDArray[np.int64]]:
        """Return, a segment each, the ascending positions of documents; all must be there."""
        if isinstance(document_ids, str):
            raise InvalidInputError("subset must be a list of document ids, got one string.")
        wanted = list(dict.fromkeys(document_ids))
        positions, missing = [], set(wanted)
        for segment in self._segments:
            found = segment.documents.find(wanted)
            missing.difference_update(found)
            positions.append(np.sort(np.fromiter(found.values(), np.int64, len(found))))
        if missing:
            example = next(item for item in wanted if item in missing)
            raise InvalidInputError(
                f"document ids must be in the index, got {example!r} and "
                f"{len(missing) - 1} others that are not."
            )
        return positions

    def get(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            InvalidInputError: There is no document of that id.
        """
        if document_id in self._pending.documents:
            return self._pending.documents[document_id]
        place = self._find(document_id)
        if place is None:
            raise InvalidInputError(f"no document {document_id!r} in the index.")
        segment, position = place
        return segment.documents.get([position])[position]

    def save(self, folder: str | Path) -> None:
        """Write the whole index to a new folder, as one segment.

        Args:
            folder: A path at which nothing is, an empty folder, or the folder of an index, which
                is then replaced in one step.

        Raises:
            IndexExistsError: Something else is at `folder`.
            IndexConflictError: `folder` is the one this index lives in; use `commit`.
        """
        path = Path(folder)
        if self._folder is not None and path.resolve() == self._folder.resolve():
            raise IndexConflictError(f"the index lives in {path}; use commit() to write to it.")
        try:
            before = Manifest.load(path)
        except IndexNotFoundError:
            Index.create(path, self.config)
            before = Manifest.load(path)
        merged, documents = self._merged(), list(self)
        target = Index(self.dim, config=self.config, threads=self.threads)
        emptied = Manifest(before.generation, self.config)
        try:
            target._commit_to(path, [merged], documents, emptied)
        finally:
            target.close()
        self._remove_orphans(path, Manifest.load(path))

    def info(self) -> IndexInfo:
        """Return what the index holds and what that takes."""
        return describe(self.config, self._segments, self._pending)

    def close(self) -> None:
        """Release files and threads. What was added and not committed is lost."""
        for segment in self._segments:
            segment.documents.close()
        self._segments = []
        self._pending = Pending(self.config)
        if isinstance(self._executor, ThreadPoolExecutor):
            self._executor.shutdown()
        self._executor = None

    def _threads(self) -> Executor | None:
        if self.threads > 1 and self._executor is None:
            self._executor = ThreadPoolExecutor(self.threads, "pocket-colbert-search")
        return self._executor

    def _find(self, document_id: str) -> tuple[Segment, int] | None:
        for segment in self._segments:
            position = segment.documents.find([document_id]).get(document_id)
            if position is not None:
                return segment, position
        return None

    def _check_ids(self, document_ids: Sequence[str]) -> list[str]:
        if isinstance(document_ids, str):
            raise InvalidInputError("document_ids must be a list of strings, got one string.")
        ids = list(document_ids)
        for document_id in ids:
            if not isinstance(document_id, str) or not document_id:
                raise InvalidInputError(f"a document id must be a text, got {document_id!r}.")
        known = set(self._pending.documents)
        for segment in self._segments:
            known.update(segment.documents.find(ids))
        for document_id in ids:
            if document_id in known:
                raise DuplicateIdError(
                    f"document ids must differ, got {document_id!r} twice or it is in the index."
                )
            known.add(document_id)
        return ids

    def _merged(self) -> TokenRows:
        """Return the rows of all segments and of what is pending, in memory."""
        parts = [segment.rows for segment in self._segments]
        if self._pending or not parts:
            parts.append(self._pending.rows(self._segments))
        return TokenRows.merge(parts)


def is_index(folder: str | Path) -> bool:
    """Say whether there is an index at `folder`, damaged or not."""
    return (Path(folder) / MANIFEST_FILE).is_file()
