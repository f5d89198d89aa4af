"""What is asked for, computed: plain functions of a request and its deadline, run in threads."""

from __future__ import annotations

import base64
import math
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from msgspec import UNSET

import pocket_colbert.server.messages as m
from pocket_colbert import __version__
from pocket_colbert.config import SearchParameters
from pocket_colbert.documents import Document
from pocket_colbert.encoder import Encoder
from pocket_colbert.errors import DuplicateIdError, InvalidInputError
from pocket_colbert.explanation import Explanation
from pocket_colbert.field_values import FieldValues, field_values
from pocket_colbert.index import Index
from pocket_colbert.index_info import describe
from pocket_colbert.pending import Pending
from pocket_colbert.results import Hit
from pocket_colbert.retriever import Retriever
from pocket_colbert.server.indexing import Indexing
from pocket_colbert.server.problems import Deadline, RequestError, logger
from pocket_colbert.snapshot import Snapshot

_ATTEMPTS = 3
_SMALL_SEGMENTS = 8
_Result = TypeVar("_Result")


class Service:
    """An index and the encoder that it was made with.

    Reading methods may be called from any thread. Writing methods take turns.

    Attributes:
        encoder: The encoder.
        index: The index.
    """

    def __init__(
        self, encoder: Encoder, index: Index, *, writable: bool, indexing: Indexing | None = None
    ) -> None:
        """Put the two together.

        Args:
            encoder: The encoder.
            index: Its index; closed by `close`.
            writable: Whether the index was opened for writing.
            indexing: What brings the index up to date from `start` on.

        Raises:
            InvalidInputError: The index was made with another model.
        """
        self.encoder = encoder
        self.index = index
        self.writable = writable
        self._retriever = Retriever(encoder, index)
        self._writing = threading.Lock()
        self._indexing = indexing
        self._described = _OfSnapshot(
            lambda snapshot: describe(index.config, snapshot.segments, Pending(index.config))
        )
        self._fields = _OfSnapshot(field_values)

    def start(self) -> None:
        """Begin to index what is to be indexed."""
        if self._indexing is not None:
            self._indexing.start(self._retriever)

    def close(self) -> None:
        """Stop indexing, commit what is pending and close the index; again does nothing."""
        if self._indexing is not None:
            self._indexing.stop()
        with self._writing:
            try:
                if self.writable and not self.index.closed:
                    self.index.commit()
            finally:
                self.index.close()

    def info(self) -> m.InfoResponse:
        """Say what is served."""
        # What is committed, and so can be found.
        found = self._described.get(self.index.snapshot)
        return m.InfoResponse(
            version=__version__,
            model=self.encoder.card.fingerprint,
            documents=found.documents,
            passages=found.passages,
            tokens=found.tokens,
            dim=found.dim,
            codes=found.codes,
            keywords=self.index.config.keywords,
            bytes=sum(found.bytes.values()),
            generation=self.index.generation,
            writable=self.writable,
            indexing=None if self._indexing is None else self._indexing.progress,
        )

    def fields(self) -> m.FieldsResponse:
        """Say what there is to filter by."""
        if not self.writable:
            self.index.refresh()
        return m.FieldsResponse([_field(f) for f in self._fields.get(self.index.snapshot)])

    def search(self, request: m.SearchRequest, deadline: Deadline) -> m.SearchResponse:
        """Search, and say why and where."""
        if not self.writable:
            self.index.refresh()  # another process may write to it
        for _ in range(_ATTEMPTS):
            generation = self.index.generation
            try:
                return self._search(request, deadline)
            except InvalidInputError:
                # A document that was found may have been deleted before it was explained.
                if generation == self.index.generation:
                    raise
        raise RequestError(
            503, "overloaded", "the index changes too fast; try again.", {"Retry-After": "1"}
        )

    def _search(self, request: m.SearchRequest, deadline: Deadline) -> m.SearchResponse:
        parameters = SearchParameters(mode=request.mode, hybrid=request.hybrid)
        hits = self._retriever.retrieve(
            [request.query], request.k, parameters=parameters, where=request.where
        )[0]
        found = []
        for hit in hits:
            deadline.check()
            item = m.SearchHit(
                hit.document_id,
                hit.score,
                hit.title,
                dict(hit.metadata),
                _passages(hit),
                None,
                None,
                None if hit.text is None else len(hit.text),
            )
            if request.text:
                item.text = hit.text
            if hit.text is not None:
                (span,) = self._retriever.snippets(request.query, [hit], request.snippet_length)
                item.snippet, item.snippet_span = hit.text[span[0] : span[1]], span
                if request.explain:
                    item.explanation = _explanation(self._retriever.explain(request.query, hit))
            found.append(item)
        return m.SearchResponse(found)

    def rerank(self, request: m.RerankRequest, deadline: Deadline) -> m.RerankResponse:
        """Order texts by MaxSim."""
        hits = self._retriever.rerank(
            request.query, request.documents, request.k, progress=deadline.progress
        )
        return m.RerankResponse(
            [m.RerankedText(int(hit.document_id), hit.score, _passages(hit)) for hit in hits]
        )

    def rerank_compatible(
        self, request: m.CompatibleRerankRequest, deadline: Deadline, version: str
    ) -> m.CompatibleRerankResponse:
        """Order texts as Cohere's and Jina's interfaces of a version do."""
        texts = [d if isinstance(d, str) else d.text for d in request.documents]
        tokens: list[int] = []
        hits = self._retriever.rerank(
            request.query, texts, request.top_n, progress=deadline.progress, encoded=tokens.append
        )
        # Jina's clients expect the documents back unless they say otherwise; version 2 of
        # Cohere's has no such thing.
        wanted = version == "1" if request.return_documents is None else request.return_documents
        query_tokens = max(len(self.encoder.query_tokens(request.query)), 1)
        return m.CompatibleRerankResponse(
            id=str(uuid.uuid4()),
            model=request.model or self.encoder.card.fingerprint,
            results=[
                m.CompatibleResult(
                    int(hit.document_id),
                    min(max(hit.score / query_tokens, 0.0), 1.0),
                    m.TextObject(hit.text or "") if wanted else UNSET,
                )
                for hit in hits
            ],
            meta=m.RerankMeta(m.ApiVersion(version), m.BilledUnits(1)),
            usage=m.Usage(tokens[0], tokens[0]),
        )

    def encode(self, request: m.EncodeRequest, deadline: Deadline) -> m.EncodeResponse:
        """Encode texts."""
        if request.task == "query":
            arrays = self.encoder.encode_query(request.texts, progress=deadline.progress)
        else:
            arrays = self.encoder.encode_document(request.texts, progress=deadline.progress)
        embeddings: list[list[list[float]] | m.Base64Embedding] = []
        for array in arrays:
            if request.format == "float":
                embeddings.append(array.tolist())
            else:
                data = base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")
                embeddings.append(m.Base64Embedding(len(array), data))
        return m.EncodeResponse(self.encoder.dim, embeddings)

    def documents(self, document_ids: Sequence[str]) -> m.DocumentsResponse:
        """Return documents."""
        if not self.writable:
            self.index.refresh()
        snapshot = self.index.snapshot
        places = snapshot.places(document_ids)
        found = []
        for document_id in document_ids:
            if document_id not in places:
                raise _unknown(document_id)
            document = snapshot.document(places[document_id])
            found.append(
                m.StoredDocument(
                    document_id,
                    document.text,
                    document.title,
                    dict(document.metadata),
                    document.source,
                )
            )
        return m.DocumentsResponse(found)

    def add(
        self, request: m.DocumentsRequest, deadline: Deadline, *, replacing: bool
    ) -> m.AddedResponse:
        """Add documents, or put them in the place of others; they are durable on return."""
        documents = [
            Document(item.id, item.text, item.title, item.metadata, item.source)
            for item in request.documents
        ]
        with self._writing:
            self._begin()
            self._check_ids([document.document_id for document in documents], replacing)
            method = self._retriever.upsert if replacing else self._retriever.add
            tokens = method(documents, progress=deadline.progress)
            try:
                self.index.commit()
            except OSError:
                if not replacing:  # take them back, so that the same request may be repeated
                    self.index.delete([document.document_id for document in documents])
                raise
            self._tidy()
            return m.AddedResponse(len(documents), tokens, len(self.index))

    def delete(self, document_ids: Sequence[str]) -> m.DeletedResponse:
        """Delete documents; they are gone for good on return."""
        with self._writing:
            self._begin()
            for document_id in document_ids:
                if document_id not in self.index:
                    raise _unknown(document_id)
            deleted = self.index.delete(document_ids)
            self.index.commit()
            self._tidy()
            return m.DeletedResponse(deleted, len(self.index))

    def _begin(self) -> None:
        """Refuse to change an index that was opened for reading.

        What an earlier request changed and, on a full disk, could not commit is committed first:
        one request's changes are never told as another's.
        """
        if not self.writable:
            raise RequestError(
                403, "read_only", "the index is served read-only; start without --read-only."
            )
        self.index.commit()

    def _check_ids(self, document_ids: Sequence[str], replacing: bool) -> None:
        """Refuse ids before the work of encoding that the index would refuse after it."""
        seen: set[str] = set()
        for document_id in document_ids:
            if document_id in seen:
                raise DuplicateIdError(f"document ids must differ, got {document_id!r} twice.")
            seen.add(document_id)
            if not replacing and document_id in self.index:
                raise DuplicateIdError(
                    f"document ids must be new, got {document_id!r}, which is in the index; PUT "
                    "replaces it."
                )

    def _tidy(self) -> None:
        """Keep the number of small segments bounded. The commit before this one holds anyway."""
        try:
            self.index.compact(only_small=_SMALL_SEGMENTS)
        except OSError as error:
            logger.warning("small segments could not be merged: %s", error)


class _OfSnapshot(Generic[_Result]):
    """Remembers what was made of a snapshot, for as long as that is the last one asked about."""

    def __init__(self, make: Callable[[Snapshot], _Result]) -> None:
        self._make = make
        # Weak, lest segments that have been merged away stay open.
        self._known: tuple[weakref.ref[Snapshot], _Result] | None = None

    def get(self, snapshot: Snapshot) -> _Result:
        """Return what was made of it, made now if need be."""
        known = self._known
        if known is not None and known[0]() is snapshot:
            return known[1]
        made = self._make(snapshot)
        self._known = weakref.ref(snapshot), made
        return made


def _field(found: FieldValues) -> m.MetadataField:
    values = None
    if found.values is not None:
        values = [m.FieldValue(value, count) for value, count in found.values]
    least, greatest = found.least, found.greatest
    if isinstance(least, str):
        return m.MetadataField(found.name, "text", None, None, values)
    if isinstance(greatest, str):
        return m.MetadataField(found.name, "mixed", None, None, values)
    ends = [value if math.isfinite(value) else None for value in (least, greatest)]
    return m.MetadataField(found.name, "number", ends[0], ends[1], values)


def _passages(hit: Hit) -> list[m.Passage]:
    return [m.Passage(part.start, part.end, part.score) for part in hit.passages]


def _explanation(why: Explanation) -> m.Explanation:
    return m.Explanation(
        why.score,
        why.start,
        why.end,
        [
            m.Match(
                match.query_token,
                match.query_span,
                match.document_token,
                match.document_span,
                match.similarity,
                match.share,
            )
            for match in why.matches
        ],
    )


def _unknown(document_id: str) -> RequestError:
    return RequestError(404, "unknown_id", f"no document {document_id!r} in the index.")
