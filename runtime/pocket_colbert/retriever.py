"""Text in, hits out."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backend import Backend
from pocket_colbert.checks import (
    check_ids,
    check_query,
    check_texts,
    check_whole_number,
    is_number,
    require,
)
from pocket_colbert.config import (
    READ,
    UNREAD,
    Pruning,
    RelevanceCurve,
    SearchParameters,
    Splitting,
)
from pocket_colbert.errors import InvalidInputError, LanguageWarning
from pocket_colbert.index.index import Index
from pocket_colbert.index.prepared_documents import PreparedDocument, PreparedDocuments
from pocket_colbert.index.reader import IndexReader
from pocket_colbert.model.encoder import Encoder, Progress
from pocket_colbert.reranker import rerank
from pocket_colbert.search.explanation import Explanation, MatchedPassage, explain_match
from pocket_colbert.search.language_rule import RankedBy, parameters_for
from pocket_colbert.search.relevance import (
    NEIGHBOURS,
    Evidence,
    asked_words,
    weigh,
    with_relevance,
)
from pocket_colbert.search.searcher import checked_parameters
from pocket_colbert.search.snippets import snippet
from pocket_colbert.sections import context_of
from pocket_colbert.storage.document_schema import StoredPassage
from pocket_colbert.text_splitting import with_title
from pocket_colbert.types import Document, EncodedDocument, Hit, Hits, Query, Span


class Retriever:
    """An encoder and, for `retrieve`, the documents that it encoded.

    Examples:
        >>> from pocket_colbert import Document, Encoder, Index, Retriever
        >>> encoder = Encoder.load("tiny")
        >>> retriever = Retriever(encoder, Index(encoder.dim))
        >>> retriever.add([Document("b", "Bees swarm in May."), Document("d", "Dough rises.")])
        12
        >>> retriever.retrieve(["When do bees swarm?"], k=1)[0][0].document_id
        'b'
    """

    def __init__(self, encoder: Encoder, index: Backend | None = None) -> None:
        """Put the two together.

        Args:
            encoder: Encodes queries, and documents to rerank.
            index: Holds documents that this encoder's model encoded: an `Index`, a `MultiIndex`
                or a backend on another engine; not needed for `rerank`.

        Raises:
            InvalidInputError: The index holds vectors of another width or another model.
        """
        if index is not None:
            if index.dim != encoder.dim:
                raise InvalidInputError(
                    f"the index must hold vectors of {encoder.dim} dimensions, got {index.dim}."
                )
            _check_model(index.config.model, encoder)
        self.encoder = encoder
        self.index = index
        self._told = False

    def retrieve(
        self,
        queries: Sequence[str | Query],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        where: Mapping[str, Any] | None = None,
        subset: Iterable[str] | None = None,
        min_relevance: float | None = None,
    ) -> list[Hits]:
        """Find the best documents of the index for each query.

        Args:
            queries: The queries; with `Encoder.query` one is encoded once for searching, snippets
                and explanations.
            k: How many documents a query at most.
            parameters: How to search; `SearchParameters(hybrid="rrf")` takes keywords in.
            where: What the metadata of a document must be, see `filters.parse_filter`.
            subset: Ids of the documents to choose from; all of them are scored.
            min_relevance: Relevance that hits have at least, from 0 to 1; where none has it,
                nothing is found. By default all hits are returned, whatever their relevance.

        Returns:
            One list of hits a query, best first; `truncated` says whether the query was cut.

        Raises:
            InvalidInputError: There is no index, a query is blank, or an argument breaks its rule.
        """
        index, curve = self.index, self.encoder.relevance_curve
        check_whole_number("k", k)
        check_min_relevance(min_relevance, curve)
        if index is None:
            raise InvalidInputError("retrieve needs an index, got Retriever(encoder, index=None).")
        _check_model(index.config.model, self.encoder)  # it may have learnt it since
        if isinstance(queries, str | bytes) or not isinstance(queries, Sequence):
            check_texts(queries)
        texts = [query.text if isinstance(query, Query) else query for query in queries]
        check_texts(texts)
        for text in texts:
            check_query(text)
        new = [query for query in queries if isinstance(query, str)]
        encoded = iter(self.encoder.queries(new) if new else [])
        asked = [query if isinstance(query, Query) else next(encoded) for query in queries]
        wanted = checked_parameters(parameters)
        self._tell_of_language(wanted, min((query.readable for query in asked), default=1.0))
        chosen = [self._chosen(wanted, query.readable) for query in asked]
        found: list[list[Hit]] = [[] for _ in asked]
        ids = None if subset is None else list(check_ids(subset, "subset"))
        for each in dict.fromkeys(chosen) or [wanted]:
            numbers = [n for n, item in enumerate(chosen) if item == each]
            of_these = index.search(
                [asked[n].embedding for n in numbers],
                k if curve is None else max(k, NEIGHBOURS + 1),
                parameters=each,
                where=where,
                subset=ids,
                texts=[texts[n] for n in numbers],
            )
            for n, of in zip(numbers, of_these, strict=True):
                found[n] = of
        # Similarities say nothing of a query that the model cannot read.
        read = [curve is not None and query.readable >= UNREAD for query in asked]
        for n, query in enumerate(asked):
            found[n] = self._judged(query, found[n], k) if read[n] else found[n][:k]
            if min_relevance is not None and read[n]:
                found[n] = [hit for hit in found[n] if (hit.relevance or 0) >= min_relevance]
        return [Hits(of, query.truncated) for query, of in zip(asked, found, strict=True)]

    def ranked_by(self, query: Query, parameters: SearchParameters | None = None) -> RankedBy:
        """Say what `retrieve` ranks by for a query: what `SearchParameters.hybrid` comes to.

        Args:
            query: The query.
            parameters: How to search.

        Returns:
            "meaning" (MaxSim), "keywords" (BM25) or "both".
        """
        hybrid = self._chosen(checked_parameters(parameters), query.readable).hybrid
        if hybrid == "keywords":
            return "keywords"
        return "meaning" if hybrid == "off" else "both"

    def _chosen(self, parameters: SearchParameters, readable: float) -> SearchParameters:
        """Return how to search for a query of which the model can read a share."""
        index = self.index
        if parameters.hybrid != "auto":
            return parameters
        if not isinstance(index, IndexReader) or index.config.keywords == "none":
            return replace(parameters, hybrid="off")
        return parameters_for(
            readable,
            parameters,
            lambda: index.count_readable_below(READ) / max(index.num_passages, 1),
        )

    def _tell_of_language(self, parameters: SearchParameters, least_readable: float) -> None:
        """Warn, once, of queries in languages that the model was not made for."""
        if self._told or parameters.hybrid != "auto" or least_readable >= UNREAD:
            return
        self._told = True
        by_keywords = self._chosen(parameters, least_readable).hybrid == "keywords"
        how = (
            "keywords rank its documents"
            if by_keywords
            else "there are no keywords to rank by here, so what is found may be far off"
        )
        warnings.warn(
            "a query is in a language that the model was not made for"
            f"{self.encoder.made_for}: {how}. Later ones come without a warning.",
            LanguageWarning,
            stacklevel=3,
        )

    def add(self, documents: Sequence[Document], *, progress: Progress | None = None) -> int:
        """Encode documents of any length, as the index's settings say, and add them to it.

        An index in a folder shows them after its `commit`.

        Args:
            documents: The documents; one without a text is found by its title.
            progress: Called with the number of documents done and of all.

        Returns:
            The number of token vectors.

        Raises:
            InvalidInputError: There is no index, or see `Index.add`.
            DuplicateIdError: See `Index.add`; `upsert` replaces.
            IndexConflictError: See `Index.add`.
        """
        index = self._writable("add")
        prepared = self.prepare(documents, progress=progress)
        index.add_prepared(prepared)
        return prepared.num_tokens

    def upsert(self, documents: Sequence[Document], *, progress: Progress | None = None) -> int:
        """Encode documents, and add them in place of those that have their ids; see `add`."""
        index = self._writable("upsert")
        prepared = self.prepare(documents, progress=progress)
        index.add_prepared(prepared, replacing=True)
        return prepared.num_tokens

    def prepare(
        self, documents: Sequence[Document], *, progress: Progress | None = None
    ) -> PreparedDocuments:
        """Encode documents as `add` does, and leave the index as it is.

        Their token vectors become the index's codes as they are made, so that memory does not grow
        with them. Another thread can store some documents while these are encoded.

        Args:
            documents: The documents.
            progress: Called with the number of documents done and of all.

        Returns:
            What `Index.add_prepared` takes.

        Raises:
            InvalidInputError: There is no index to write to.
        """
        index = self._writable("prepare")
        documents = _checked(documents)
        coder = index.coder()
        encoded = self.encoder.reduce_passages(
            [document.text or "" for document in documents],
            coder,
            titles=[document.title for document in documents],
            sections=[document.sections for document in documents],
            splitting=index.config.splitting,
            pruning=index.config.pruning,
            progress=progress,
        )
        self.encoder.note_language([share for parts in encoded for _, share, _ in parts])
        coder.finish()
        return PreparedDocuments(
            [
                PreparedDocument(
                    document,
                    [StoredPassage.of(span, share) for span, share, _ in parts],
                    [item for _, _, item in parts],
                )
                for document, parts in zip(documents, encoded, strict=True)
            ],
            coder.codec,
        )

    def encode(
        self, documents: Sequence[Document], *, progress: Progress | None = None
    ) -> list[EncodedDocument]:
        """Encode documents as `add` does, and return token vectors; `prepare` needs less memory.

        Args:
            documents: The documents.
            progress: Called with the number of documents done and of all.

        Returns:
            What `Index.add_documents` and `Index.upsert_documents` take.

        Raises:
            InvalidInputError: There is no index to write to.
        """
        config = self._writable("encode").config
        documents = _checked(documents)
        passages = self.encoder.encode_passages(
            [document.text or "" for document in documents],
            titles=[document.title for document in documents],
            sections=[document.sections for document in documents],
            splitting=config.splitting,
            pruning=config.pruning,
            progress=progress,
        )
        return list(map(EncodedDocument, documents, passages))

    def _writable(self, method: str) -> Index:
        if not isinstance(self.index, Index):
            raise InvalidInputError(f"{method} needs an Index to write to, got {self.index!r}.")
        _check_model(self.index.config.model, self.encoder)
        self.index.learn_model(self.encoder.card.fingerprint)
        return self.index

    def rerank(
        self,
        query: str | Query,
        documents: Sequence[str] | Mapping[str, str],
        k: int | None = None,
        *,
        progress: Progress | None = None,
    ) -> Hits:
        """Order texts of any length by their MaxSim with a query; no index is needed.

        Documents that are in the index need no encoding: see `rerank_ids`.

        Args:
            query: The query.
            documents: Texts, whose ids are then "0", "1", ..., or a mapping of ids to texts.
            k: How many to return at most, all by default.
            progress: Called with the number of texts done and of all. If it raises, the work
                stops.

        Returns:
            Hits with texts, best first, equal scores in the order given.

        Raises:
            InvalidInputError: An argument breaks its rule.
        """
        return rerank(self.encoder, query, documents, k, progress=progress).hits

    def rerank_ids(
        self, query: str | Query, document_ids: Iterable[str], k: int | None = None
    ) -> Hits:
        """Order documents of the index, as another search found them, by MaxSim with a query.

        Only the query is encoded; the documents' stored token vectors are scored.

        Args:
            query: The query.
            document_ids: Their ids.
            k: How many to return at most, all by default.

        Returns:
            Hits, best first, equal scores in the order of insertion into the index. Documents
            without token vectors are left out.

        Raises:
            InvalidInputError: There is no index, or an argument breaks its rule.
            DocumentNotFoundError: An id is not in the index.
        """
        if not isinstance(query, Query):
            check_query(query)
        if isinstance(document_ids, str):
            raise InvalidInputError("document_ids must be a list of strings, got one string.")
        wanted = list(document_ids)
        if not wanted:
            return Hits()
        return self.retrieve([query], k if k is not None else len(wanted), subset=wanted)[0]

    def explain(self, query: str | Query, hit: Hit) -> Explanation:
        """Say why a document matched: what each query token matched in its best passage.

        For several hits see `explanations`.

        Args:
            query: The query.
            hit: What `retrieve` or `rerank` returned for it, with its text.

        Returns:
            The explanation, with one match for every query token.

        Raises:
            InvalidInputError: The hit has no text, or the model merges token vectors itself.
            ClosedError: The index is closed.
        """
        return self.explanations(query, [hit])[0]

    def explanations(self, query: str | Query, hits: Sequence[Hit]) -> list[Explanation]:
        """Explain several hits at once; see `explain`, and `matched_passages` for its cost.

        Returns:
            One explanation a hit.
        """
        query = self._encoded(query)
        return [explain_match(query, passage) for passage in self.matched_passages(hits)]

    def snippets(self, query: str | Query, hits: Sequence[Hit], length: int = 160) -> list[Span]:
        """Find the part of each document that shows best why it matched.

        Args:
            query: The query.
            hits: What `retrieve` or `rerank` returned for it, with their texts.
            length: Characters of a snippet at most.

        Returns:
            First character and the one after the last, in the document's text, one pair a hit.

        Raises:
            InvalidInputError: See `explain`.
            ClosedError: The index is closed.
        """
        query = self._encoded(query)
        return [snippet(query, passage, length) for passage in self.matched_passages(hits)]

    def matched_passages(
        self, hits: Sequence[Hit], *, progress: Progress | None = None
    ) -> list[MatchedPassage]:
        """Return the best passage of each hit, for `snippet` and `explain_match`.

        Token vectors are those the index holds, read or fetched together. Where it holds fewer
        than there are tokens, the passage is encoded again, and similarities differ a little from
        those of the search.

        Examples:
            >>> from pocket_colbert import Collection
            >>> from pocket_colbert.search.snippets import snippet
            >>> notes = Collection(model="tiny")
            >>> notes.add("The landlord repairs the roof.")
            1
            >>> query = notes.encoder.query("who repairs the roof?")
            >>> hits = notes.retriever.retrieve([query])[0]
            >>> [snippet(query, passage) for passage in notes.retriever.matched_passages(hits)]
            [(0, 30)]

        Args:
            hits: What `retrieve` or `rerank` returned, with their texts.
            progress: Called as passages are encoded again. If it raises, the work stops.

        Returns:
            One passage a hit.

        Raises:
            InvalidInputError: A hit has no text.
            ClosedError: The index is closed.
        """
        spans = [_best_span(hit) for hit in hits]
        texts = [(hit.text or "")[slice(*span)] for hit, span in zip(hits, spans, strict=True)]
        contexts = [self._context(hit) for hit in hits]
        tokens = [
            self.encoder.described_tokens(text, context)
            for text, context in zip(texts, contexts, strict=True)
        ]
        embeddings = {
            n: embedding
            for n, embedding in enumerate(self._stored_embeddings(hits, spans))
            if embedding is not None and len(embedding) == len(tokens[n])
        }
        again = [n for n in range(len(hits)) if n not in embeddings]
        if again:
            titled = [with_title(texts[n], contexts[n]) for n in again]
            encoded = self.encoder.encode_document(titled, progress=progress)
            embeddings.update(zip(again, encoded, strict=True))
        return [
            MatchedPassage(
                hit.document_id, spans[n][0], texts[n], tokens[n], embeddings[n], _headings(hit)
            )
            for n, hit in enumerate(hits)
        ]

    def _judged(self, query: Query, hits: Sequence[Hit], k: int) -> list[Hit]:
        """Return the first k hits with their relevance, where it can be known."""
        index = self.index
        assert index is not None  # the hits are from it
        weighed = weigh(query, *index.word_counts(asked_words(query)))
        near = self._similarities(query, hits[:k])
        evidence = []
        for hit, similarities in zip(hits, near, strict=False):
            known = None
            if similarities is not None and (hit.text is not None or hit.title is not None):
                first = hit.passages[:1]
                text = "".join((hit.text or "")[part.start : part.end] for part in first)
                headings = first[0].headings if first else ()
                score = first[0].score if first else 0.0
                known = Evidence(
                    with_title(text, context_of(hit.title, headings)), similarities, score
                )
            evidence.append(known)
        return with_relevance(weighed, hits, evidence, self.encoder.relevance_curve)

    def _similarities(self, query: Query, hits: Sequence[Hit]) -> list[Sequence[float] | None]:
        """Say how near each hit's best passage is to each token of the query.

        Engines do not say it, so the token vectors are fetched.

        Returns:
            The best cosines; () for a hit without token vectors, None where it is not known.
        """
        near: list[Sequence[float] | None] = [
            hit.passages[0].similarities if hit.passages else () for hit in hits
        ]
        unknown = [n for n, hit in enumerate(hits) if hit.passages and not near[n]]
        if unknown:
            assert self.index is not None
            wanted = [
                (hits[n].document_id, (hits[n].passages[0].start, hits[n].passages[0].end))
                for n in unknown
            ]
            stored = self.index.passage_embeddings(wanted)
            for n, embedding in zip(unknown, stored, strict=True):
                near[n] = None
                if embedding is not None:
                    near[n] = (query.embedding @ embedding.T).max(axis=1, initial=-1).tolist()
        return near

    def _context(self, hit: Hit) -> str | None:
        """Return what a hit's best passage was encoded with, before its text."""
        headings = _headings(hit)
        if not headings:
            return hit.title
        splitting = Splitting() if self.index is None else self.index.config.splitting
        return self.encoder.context(hit.title, headings, splitting=splitting)

    def _stored_embeddings(
        self, hits: Sequence[Hit], spans: Sequence[Span]
    ) -> list[NDArray[np.float32] | None]:
        """Return what the index holds of passages: (num_tokens, dim) float32, or None."""
        if self.index is None:
            return [None] * len(hits)
        pruned = self.index.config.pruning != Pruning()
        # Pruned vectors explain nothing. The index is asked all the same: it may be closed.
        wanted = [] if pruned else [(h.document_id, s) for h, s in zip(hits, spans, strict=True)]
        return self.index.passage_embeddings(wanted) or [None] * len(hits)

    def _encoded(self, query: str | Query) -> Query:
        return query if isinstance(query, Query) else self.encoder.query(query)


def _best_span(hit: Hit) -> Span:
    """Return where a hit's best passage is."""
    if hit.text is None:
        raise InvalidInputError(
            f"{hit.document_id!r} has no text to explain; add documents with their texts."
        )
    return (hit.passages[0].start, hit.passages[0].end) if hit.passages else (0, len(hit.text))


def _headings(hit: Hit) -> tuple[str, ...]:
    """Return the heading path of a hit's best passage."""
    return hit.passages[0].headings if hit.passages else ()


def check_min_relevance(value: Any, curve: RelevanceCurve | None) -> None:
    """Raise InvalidInputError unless hits can be held against a relevance; None is any."""
    require(
        value is None or (is_number(value) and 0 <= value <= 1),
        f"min_relevance must be null or a number from 0 to 1, got {value!r:.40}.",
    )
    if value is not None and curve is None:
        raise InvalidInputError(
            "min_relevance needs a model that says how likely hits are right, and this one does "
            "not. Leave it out, or fit a curve: pocket-colbert-export relevance MODEL."
        )


def _check_model(made_with: str, encoder: Encoder) -> None:
    """Raise InvalidInputError if an index was made with another model; "" is any."""
    if made_with not in ("", encoder.card.fingerprint):
        raise InvalidInputError(
            "the index was made with another model: it has fingerprint "
            f"{made_with[:12]}, this encoder {encoder.card.fingerprint[:12]}. "
            "Load the model it was made with, or index the documents again."
        )


def _checked(documents: object) -> list[Document]:
    """Return documents as a list; raise InvalidInputError if they are something else."""
    items: list[Any] = list(documents) if isinstance(documents, Iterable) else []
    if not isinstance(documents, Iterable) or not all(isinstance(x, Document) for x in items):
        raise InvalidInputError(
            f"documents must be a list of Document(...), got {documents!r:.60}; put a single one "
            "in a list."
        )
    return items
