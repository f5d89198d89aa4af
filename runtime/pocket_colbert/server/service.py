"""Answers to requests that only read: functions of a request and its deadline, run in threads.

Requests that write are in `writing.py`.
"""

from __future__ import annotations

import base64
import math
import uuid
from collections.abc import Container, Sequence

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

import pocket_colbert.server.messages as m
from pocket_colbert import __version__
from pocket_colbert.config import SearchParameters
from pocket_colbert.errors import DocumentNotFoundError
from pocket_colbert.index.facets import FieldValues
from pocket_colbert.ingest.extracted import place_in_file
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.reranker import Reranking, rerank
from pocket_colbert.retriever import Retriever
from pocket_colbert.search.explanation import Explanation, explain_match
from pocket_colbert.search.highlights import match_weights
from pocket_colbert.search.relevance import falling
from pocket_colbert.search.snippets import snippet
from pocket_colbert.server.compatible import compatible_texts
from pocket_colbert.server.problems import Deadline, RequestError
from pocket_colbert.server.served import Contents, Served
from pocket_colbert.types import Document, Hit, Query

_HITS = 16
"""Hits that are explained at a time: their token vectors take megabytes."""
_TEXTS = 8
"""Texts that are encoded at a time."""


class Service:
    """What is served and its encoder; read-only.

    Methods may be called from any thread.

    Attributes:
        encoder: The encoder.
        writable: Whether documents may be added and deleted.
    """

    writable = False

    def __init__(self, encoder: Encoder, served: Served, *, examples: Sequence[str] = ()) -> None:
        """Join the two.

        Args:
            encoder: The encoder.
            served: What is served; `close` closes its backend.
            examples: What to offer as examples of questions; without any, titles and headings of
                the documents are offered.

        Raises:
            InvalidInputError: It was made with another model.
        """
        self.encoder = encoder
        self._served = served
        self._examples = list(examples)
        self._retriever = Retriever(encoder, served.backend)

    def start(self) -> None:
        """Start what runs in the background, which is nothing here."""

    def close(self) -> None:
        """Close what is served; a second call does nothing."""
        self._served.backend.close()

    def contents(self) -> Contents:
        """Return what is served, in numbers."""
        return self._served.contents()

    @property
    def model_runs(self) -> int:
        """How often the model has run."""
        return self.encoder.model_runs

    def info(self) -> m.InfoResponse:
        """Describe what is served."""
        self._served.refresh()
        # Read before the numbers, which are then at least as new.
        generation = self._served.generation
        contents = self._served.contents()
        return m.InfoResponse(
            version=__version__,
            model=self.encoder.card.fingerprint,
            languages=list(self.encoder.card.languages),
            relevance=self.encoder.relevance_curve is not None,
            examples=self._examples or self._served.examples(),
            documents=contents.documents,
            passages=contents.passages,
            tokens=contents.tokens,
            dim=self.encoder.dim,
            codes=contents.codes,
            keywords=contents.keywords,
            fields=contents.fields,
            complete=contents.complete,
            bytes=contents.bytes,
            generation=generation,
            writable=self.writable,
            indexing=self._progress(),
        )

    def fields(self) -> m.FieldsResponse:
        """List the fields to filter by."""
        self._served.refresh()
        return m.FieldsResponse([_field(values) for values in self._served.fields()])

    def version(self) -> object | None:
        """Refresh, and return what stays the same object while all answers stay the same.

        None where answers may change without a word.
        """
        self._served.refresh()
        return self._served.version

    def search(self, request: m.SearchRequest, deadline: Deadline) -> m.SearchResponse:
        """Search; add snippets and, on request, explanations."""
        self._served.refresh()
        deadline.stages.mark(None)
        parameters = SearchParameters(mode=request.mode, hybrid=request.hybrid)
        query = self.encoder.query(request.query)
        deadline.stages.mark("encode")
        hits = self._retriever.retrieve(
            [query],
            min(int(request.offset) + int(request.k), m.MAX_K),
            parameters=parameters,
            where=request.where,
            min_relevance=request.min_relevance,
        )[0][int(request.offset) :]
        deadline.stages.mark("search")
        deadline.check()
        if request.text:
            _check_length(sum(len(hit.text or "") for hit in hits))
        found: list[m.SearchHit] = []
        for start in range(0, len(hits), _HITS):
            found += self._described(request, query, hits[start : start + _HITS], deadline)
        deadline.stages.mark("snippets")
        ranked_by = self._retriever.ranked_by(query, parameters)
        weights = match_weights(query.tokens, np.ones(len(query.tokens), np.float32))
        key_spans = [
            token.span
            for token, weight in zip(query.tokens, weights.tolist(), strict=True)
            if token.span is not None and weight > 0
        ]
        return m.SearchResponse(found, query.truncated, ranked_by, key_spans)

    def _described(
        self, request: m.SearchRequest, query: Query, hits: Sequence[Hit], deadline: Deadline
    ) -> list[m.SearchHit]:
        """Return hits with their snippets and explanations."""
        deadline.check()
        passages = {
            passage.document_id: passage
            for passage in self._retriever.matched_passages(
                [hit for hit in hits if hit.text is not None], progress=deadline.progress
            )
        }
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
                hit.relevance,
            )
            if request.text:
                item.text = hit.text
            if hit.text is not None:
                passage = passages[hit.document_id]
                start, end = snippet(query, passage, int(request.snippet_length))
                place = place_in_file(hit.document_id, hit.text, hit.metadata, start)
                item.place = None if place == hit.document_id else place
                item.snippet, item.snippet_span = hit.text[start:end], (start, end)
                if request.explain:
                    item.explanation = _explanation(explain_match(query, passage))
            found.append(item)
        return found

    def rerank(self, request: m.RerankRequest, deadline: Deadline) -> m.RerankResponse:
        """Order texts by MaxSim."""
        query = self.encoder.query(request.query)
        k = None if request.k is None else int(request.k)
        hits = self._retriever.rerank(query, request.documents, k, progress=deadline.progress)
        return m.RerankResponse(
            [
                m.RerankedText(int(hit.document_id), hit.score, _passages(hit), hit.relevance)
                for hit in hits
            ],
            query.truncated,
        )

    def rerank_compatible(
        self, request: m.CompatibleRerankRequest, deadline: Deadline, version: str
    ) -> m.CompatibleRerankResponse | m.ScoredTexts:
        """Order texts as other services do: TEI for `texts`, otherwise a version of Cohere's."""
        texts = compatible_texts(request)
        query = self.encoder.query(request.query)
        limit = request.top_n or request.top_k or None
        # All of them: what one says may depend on those behind it.
        ranked = rerank(self.encoder, query, texts, None, progress=deadline.progress)
        relevance, hits = _relevance_scores(ranked)[:limit], ranked.hits[:limit]
        indices = [int(hit.document_id) for hit in hits]
        if request.texts is not UNSET:
            wanted = request.return_text or request.return_documents
            scored = m.ScoredTexts(
                m.ScoredText(
                    index,
                    hit.score if request.raw_scores else score,
                    (hit.text or "") if wanted else UNSET,
                )
                for index, score, hit in zip(indices, relevance, hits, strict=True)
            )
            scored.truncated = query.truncated
            return scored
        # Jina's clients expect the documents back unless they ask for none; version 2 of Cohere's
        # never returns them.
        asked = (
            request.return_text if request.return_documents is None else request.return_documents
        )
        wanted = version == "1" if asked is None else asked
        tokens = ranked.query_tokens + ranked.document_tokens
        # Only infinity's clients send this beside documents; they read strings.
        infinity = request.raw_scores is not None
        scores = [hit.score for hit in hits] if request.raw_scores else relevance
        return m.CompatibleRerankResponse(
            id=str(uuid.uuid4()),
            model=request.model or self.encoder.card.fingerprint,
            object="rerank" if infinity else "list",
            results=[
                m.CompatibleResult(index, score, _document(hit, infinity) if wanted else UNSET)
                for index, score, hit in zip(indices, scores, hits, strict=True)
            ],
            data=[m.ScoredPlace(*both) for both in zip(indices, scores, strict=True)],
            truncated=query.truncated,
            meta=m.RerankMeta(m.ApiVersion(version), m.BilledUnits(1)),
            usage=m.Usage(tokens, tokens),
        )

    def encode(self, request: m.EncodeRequest, deadline: Deadline) -> m.EncodeResponse:
        """Encode texts."""
        floats = request.format == "float"
        most, number = m.MAX_FLOATS_OF if floats else m.MAX_BASE64_OF, 0
        embeddings: list[msgspec.Raw] = []
        lost: list[int] = []
        for start in range(0, len(request.texts), _TEXTS):
            deadline.check()
            texts = request.texts[start : start + _TEXTS]
            if request.task == "query":
                arrays = self.encoder.encode_query(texts, progress=deadline.progress)
            else:
                arrays = self.encoder.encode_document(texts, progress=deadline.progress)
            lost += arrays.lost
            for array in arrays:
                number += len(array)
                if number > most:
                    raise RequestError(
                        422, "invalid_request",
                        f"an answer has at most {most} token vectors as {request.format}; send "
                        "fewer texts" + floats * ", or ask for the format base64" + ".",
                    )  # fmt: skip
                # As bytes: in Python a number takes 32.
                embeddings.append(msgspec.Raw(msgspec.json.encode(_embedding(array, floats))))
        return m.EncodeResponse(self.encoder.dim, embeddings, lost)  # type: ignore[arg-type]

    def documents(self, document_ids: Sequence[str]) -> m.DocumentsResponse:
        """Return documents."""
        self._served.refresh()
        known: dict[str, Document] = {}
        for start in range(0, len(document_ids), _HITS):
            known |= self._served.documents(document_ids[start : start + _HITS])
            _check_length(sum(len(document.text or "") for document in known.values()))
        check_found(document_ids, known)
        return m.DocumentsResponse([
            m.StoredDocument(
                document_id, document.text, document.title, dict(document.metadata),
                document.source,
                [m.StoredSection(start, list(headings)) for start, headings in document.sections],
            )
            for document_id in document_ids
            for document in [known[document_id]]
        ])  # fmt: skip

    def add(
        self, request: m.DocumentsRequest, deadline: Deadline, *, replacing: bool
    ) -> m.AddedResponse:
        """Refuse to add documents."""
        raise self._refused()

    def delete(self, document_ids: Sequence[str]) -> m.DeletedResponse:
        """Refuse to delete documents."""
        raise self._refused()

    def _refused(self) -> RequestError:
        return RequestError(403, "read_only", self._served.read_only)

    def _progress(self) -> m.Indexing | None:
        """Return how far documents are indexed, None if nothing is being indexed."""
        return None


def _relevance_scores(ranked: Reranking) -> list[float]:
    """Return the relevance of texts as clients expect it: from 0 to 1, and never rising.

    For a model without a curve it is the mean over the query's tokens of the best cosine.
    """
    known = [hit.relevance for hit in ranked.hits if hit.relevance is not None]
    if len(known) == len(ranked.hits):
        return falling(known)
    query_tokens = max(ranked.query_tokens, 1)
    return [min(max(hit.score / query_tokens, 0.0), 1.0) for hit in ranked.hits]


def _field(field: FieldValues) -> m.MetadataField:
    values = None
    if field.values is not None:
        values = [m.FieldValue(value, count) for value, count in field.values]
    least, greatest = field.least, field.greatest
    if isinstance(least, str):
        return m.MetadataField(field.name, "text", None, None, values)
    if isinstance(greatest, str):
        return m.MetadataField(field.name, "mixed", None, None, values)
    ends = [value if math.isfinite(value) else None for value in (least, greatest)]
    return m.MetadataField(field.name, "number", ends[0], ends[1], values)


def _document(hit: Hit, bare: bool) -> m.TextObject | str:
    text = hit.text or ""
    return text if bare else m.TextObject(text)


def _embedding(array: NDArray[np.float32], floats: bool) -> list[list[float]] | m.Base64Embedding:
    """Return token vectors, (num_tokens, dim) float32, as an answer has them."""
    if floats:
        rows: list[list[float]] = array.tolist()
        return rows
    data = base64.b64encode(array.astype("<f4").tobytes()).decode("ascii")
    return m.Base64Embedding(len(array), data)


def _check_length(characters: int) -> None:
    if characters > m.MAX_ANSWER:
        raise RequestError(
            422, "invalid_request",
            f"the texts of an answer have at most {m.MAX_ANSWER} characters; ask for fewer.",
        )  # fmt: skip


def _passages(hit: Hit) -> list[m.Passage]:
    return [
        m.Passage(part.start, part.end, part.score, list(part.headings)) for part in hit.passages
    ]


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
                match.weight,
            )
            for match in why.matches
        ],
    )


def check_found(document_ids: Sequence[str], known: Container[object]) -> None:
    """Raise DocumentNotFoundError unless all ids are known."""
    for document_id in document_ids:
        if document_id not in known:
            raise DocumentNotFoundError(f"no document {document_id!r} in the index.")
