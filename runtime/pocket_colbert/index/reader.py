"""What can be searched: the reading side of one index, or of several as one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_ids, check_whole_number
from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.errors import DocumentNotFoundError
from pocket_colbert.hardware import usable_cores
from pocket_colbert.index.snapshot import Address, Snapshot
from pocket_colbert.index.usage import SEARCH_THREADS, Usage, in_use, is_search_thread
from pocket_colbert.search.searcher import (
    Searcher,
    checked_parameters,
    checked_queries,
    query_texts_of,
)
from pocket_colbert.types import Document, Hit, Passage, Span


class IndexReader(ABC):
    """Segments, and threads to search them with.

    Attributes:
        config: The settings of the index.
        threads: Threads that one search may use.
    """

    def __init__(self, config: IndexConfig, threads: int | None) -> None:
        """Start the threads.

        Args:
            config: The settings.
            threads: Threads that one search may use, by default one a usable core.

        Raises:
            InvalidInputError: threads is below 1.
        """
        self.config = config
        self.threads: int = usable_cores() if threads is None else threads
        check_whole_number("threads", self.threads)
        self._usage = Usage()
        self._executor, self._process = self._new_executor(), os.getpid()

    @in_use
    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._snapshot)

    @in_use
    def __contains__(self, document_id: object) -> bool:
        return isinstance(document_id, str) and bool(self._addresses([document_id]))

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents in the order in which they were added."""
        return iter(self._snapshot)

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.config.dim

    @property
    @abstractmethod
    def generation(self) -> int:
        """Number of the commit that is shown, a higher one after each."""

    @abstractmethod
    def refresh(self) -> bool:
        """Show what writers have committed since, and say whether there was anything new."""

    @property
    def snapshot(self) -> Snapshot:
        """What is committed, as it stays: later changes make another snapshot."""
        return self._snapshot

    @property
    def closed(self) -> bool:
        """Whether it was closed: it answers nothing any more."""
        return self._usage.closed

    @property
    @abstractmethod
    def _shown(self) -> Snapshot:
        """What is committed."""

    @property
    def _snapshot(self) -> Snapshot:
        """What is committed, unless the index is closed."""
        self._check_open()
        return self._shown

    def _check_open(self) -> None:
        """Raise ClosedError if the index is closed."""
        self._usage.check()

    @in_use
    def search(
        self,
        query_embeddings: Sequence[NDArray[Any]],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        where: Mapping[str, Any] | None = None,
        subset: Iterable[str] | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """Find the best documents for each query.

        Args:
            query_embeddings: One (num_tokens, dim) array each, as `Encoder.encode_query` returns
                them.
            k: How many documents a query at most.
            parameters: How to search; see `SearchParameters`.
            where: What the metadata of a document must be, see `filters.parse_filter`. The best
                k of the documents for which it holds come back, if there are as many.
            subset: Ids of the documents to choose from, all of which are scored; all documents
                by default.
            texts: The queries' texts, which a hybrid search needs for keywords.

        Returns:
            One list a query: hits, best first, equal scores in the order of insertion. Fewer
            than `k` when there are fewer documents, and none for a query without tokens.

        Raises:
            InvalidInputError: k is below 1, a query is not such an array, `where` is not a
                filter, or texts or keywords are missing for a hybrid search.
            DocumentNotFoundError: `subset` names a document that is not in the index.
            ClosedError: The index is closed.
        """
        queries = checked_queries(query_embeddings, k, self.dim)
        parameters = checked_parameters(parameters)
        query_texts = query_texts_of(texts, len(queries), parameters, self.config.keywords)
        snapshot = self._searched()
        ids = None if subset is None else check_ids(subset, "subset")
        search = Searcher(
            snapshot.segments, snapshot.allowed(where, ids), k, parameters,
            exact=ids is not None, threads=self.threads,
        )  # fmt: skip
        executor = self._own_executor()
        if executor is not None and len(queries) > 2 * self.threads:
            return list(
                executor.map(
                    lambda query, text: search.run(query, text, None), queries, query_texts
                )
            )
        return [
            search.run(query, text, executor)
            for query, text in zip(queries, query_texts, strict=True)
        ]

    @in_use
    def get(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            DocumentNotFoundError: There is no document of that id.
        """
        return Snapshot.document(*self._address_of(document_id))

    @in_use
    def passages(self, document_id: str) -> list[Passage]:
        """Return a document's passages with their token vectors as they are stored.

        Of what is committed, which is what searches find, whatever was added or deleted since.

        Args:
            document_id: Its id.

        Raises:
            DocumentNotFoundError: There is no committed document of that id.
        """
        snapshot = self._snapshot  # in another thread it may be replaced
        for address in snapshot.addresses([document_id]).values():
            return snapshot.passages(address)
        raise DocumentNotFoundError(f"no document {document_id!r} in the index.")

    @in_use
    def passage_embeddings(
        self, passages: Sequence[tuple[str, Span]]
    ) -> list[NDArray[np.float32] | None]:
        """Return the token vectors of some passages as they are stored, read in one go.

        Of what is committed, as in `passages`.

        Args:
            passages: The id of a document and the span of one of its passages, as in `Hit`.

        Returns:
            (num_tokens, dim) float32 each, None where there is no such passage.

        Raises:
            ClosedError: The index is closed.
        """
        return self._snapshot.passage_embeddings(passages)

    @in_use
    def word_counts(self, words: Sequence[str]) -> tuple[dict[str, float], int]:
        """Say about how many passages hold each of some words, as keyword search takes words.

        Of what is committed, as in `passages`. Words in more than 1,000 passages of a segment are
        estimated.

        Args:
            words: The words.

        Returns:
            The counts by word, and the number of passages. Without counts for an index that was
            made without keywords.

        Raises:
            ClosedError: The index is closed.
        """
        segments = self._snapshot.segments
        passages = sum(len(segment.passages) for segment in segments)
        if self.config.keywords == "none":
            return {}, passages
        counts = dict.fromkeys(words, 0.0)
        for segment in segments:
            for word, count in zip(
                counts, segment.documents.keywords.estimates(list(counts)), strict=True
            ):
                counts[word] += count
        return counts, passages

    @property
    def num_passages(self) -> int:
        """Number of committed passages, those of deleted documents included."""
        return sum(len(segment.passages) for segment in self._snapshot.segments)

    @in_use
    def count_readable_below(self, share: float) -> int:
        """Return how many committed passages the model can read less of than a share, 0 to 1.

        Those of deleted documents count until `Index.compact`.
        """
        segments = self._snapshot.segments
        return sum(segment.documents.count_readable_below(share) for segment in segments)

    def close(self) -> None:
        """Release files and threads, once the calls under way in other threads have ended.

        Later calls raise ClosedError; closing again does nothing. Any thread may close, and so may
        a finalizer; where that comes in the middle of a call, it takes effect at its end.
        """
        if self._usage.close():
            self._release()

    def _release(self) -> None:
        """Release files and threads; nobody uses them."""
        for segment in self._shown.segments:
            segment.documents.close()
        if self._executor is not None and self._process == os.getpid():
            self._executor.shutdown(wait=not is_search_thread())

    def _new_executor(self) -> ThreadPoolExecutor | None:
        if self.threads == 1:
            return None
        return ThreadPoolExecutor(self.threads, SEARCH_THREADS)

    def _own_executor(self) -> ThreadPoolExecutor | None:
        """Return this process's threads: a fork does not copy those of its parent."""
        if self._process != os.getpid():
            self._executor = self._new_executor()
            self._process = os.getpid()
        return self._executor

    def _searched(self) -> Snapshot:
        """Return what a search that begins now works on."""
        return self._snapshot

    def _addresses(self, document_ids: Sequence[str]) -> dict[str, Address]:
        """Return the addresses of those ids whose documents are here."""
        return self._snapshot.addresses(document_ids)

    def _address_of(self, document_id: str) -> tuple[Snapshot, Address]:
        snapshot = self._snapshot  # in another thread it may be replaced
        address = snapshot.addresses([document_id]).get(document_id)
        if address is None:
            raise DocumentNotFoundError(f"no document {document_id!r} in the index.")
        return snapshot, address
