"""Requests that write: they change the index while it is served."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pocket_colbert.server.messages as m
from pocket_colbert.errors import DuplicateIdError
from pocket_colbert.index.index import Index
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.server.background_indexing import Indexing
from pocket_colbert.server.problems import Deadline, RequestError
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service, check_found
from pocket_colbert.text_splitting import slices_of
from pocket_colbert.types import Document, EncodedDocument


class WritingService(Service):
    """Serves an index that is open for writing. Only one method writes at a time."""

    writable = True

    def __init__(
        self,
        encoder: Encoder,
        index: Index,
        *,
        indexing: Indexing | None = None,
        examples: Sequence[str] = (),
    ) -> None:
        """Join encoder and index.

        Args:
            encoder: The encoder.
            index: Its index, open for writing; closed by `close`.
            indexing: Brings the index up to date in the background, from `start` on.
            examples: See `Service`.

        Raises:
            InvalidInputError: The index was made with another model.
        """
        super().__init__(encoder, ServedIndex(index), examples=examples)
        self._index = index
        self._writing = threading.Lock()
        self._indexing = indexing

    def start(self) -> None:
        """Start to index in the background."""
        if self._indexing is not None:
            self._indexing.start(self._retriever)

    def close(self) -> None:
        """Stop indexing, commit, and close the index; a second call does nothing."""
        if self._indexing is not None:
            self._indexing.stop()
        with self._writing:
            try:
                if not self._index.closed:
                    self._index.commit()
            finally:
                super().close()

    def add(
        self, request: m.DocumentsRequest, deadline: Deadline, *, replacing: bool
    ) -> m.AddedResponse:
        """Add documents, or replace those with the same ids; they are on disk on return."""
        documents = [
            Document(item.id, item.text, item.title, item.metadata, item.source)
            for item in request.documents
        ]
        with self._writing:
            self._begin()
            self._check_ids([document.document_id for document in documents], replacing)
            encoded, tokens = self._encoded(documents, deadline)
            if replacing:
                self._index.upsert_documents(encoded)
            else:
                self._index.add_documents(encoded)
            try:
                self._index.commit()
            except OSError:
                if not replacing:  # take them back, so that the request can be repeated
                    self._index.delete([document.document_id for document in documents])
                raise
            return m.AddedResponse(len(documents), tokens, len(self._index))

    def _encoded(
        self, documents: Sequence[Document], deadline: Deadline
    ) -> tuple[list[EncodedDocument], int]:
        """Encode documents some at a time, and return them with the number of token vectors.

        Raises:
            RequestError: There are too many token vectors, or the time is up.
        """
        encoded: list[EncodedDocument] = []
        tokens = 0
        for slice_ in slices_of([document.text or "" for document in documents]):
            part = self._retriever.encode(documents[slice_], progress=deadline.progress)
            encoded += part
            tokens += sum(len(passage.embedding) for item in part for passage in item.passages)
            if tokens > m.MAX_WRITTEN:
                raise RequestError(
                    422, "invalid_request",
                    f"the documents of a request have at most {m.MAX_WRITTEN} token vectors, more "
                    f"than that after {len(encoded)} of {len(documents)}; send fewer at a time.",
                )  # fmt: skip
        return encoded, tokens

    def delete(self, document_ids: Sequence[str]) -> m.DeletedResponse:
        """Delete documents; that is on disk on return."""
        with self._writing:
            self._begin()
            check_found(document_ids, self._index)
            deleted = self._index.delete(document_ids)
            self._index.commit()
            return m.DeletedResponse(deleted, len(self._index))

    def _begin(self) -> None:
        """Commit what an earlier request could not, because the disk was full.

        The changes of one request must not be reported as those of another.
        """
        self._index.commit()

    def _check_ids(self, document_ids: Sequence[str], replacing: bool) -> None:
        """Refuse ids before encoding that the index would refuse after it."""
        seen: set[str] = set()
        for document_id in document_ids:
            if document_id in seen:
                raise DuplicateIdError(f"document ids must differ, got {document_id!r} twice.")
            seen.add(document_id)
            if not replacing and document_id in self._index:
                raise DuplicateIdError(
                    f"document ids must be new, got {document_id!r}, which is in the index; PUT "
                    "replaces it."
                )

    def _progress(self) -> m.Indexing | None:
        return None if self._indexing is None else self._indexing.progress
