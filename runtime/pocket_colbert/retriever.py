"""Text in, hits out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backend import Backend
from pocket_colbert.checks import check_text, check_texts, check_whole_number
from pocket_colbert.config import Pruning, SearchParameters
from pocket_colbert.errors import DocumentNotFoundError, InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.index.write_buffer import columns_of
from pocket_colbert.model.encoder import Encoder, Progress
from pocket_colbert.search.explanation import Explanation, explain_match
from pocket_colbert.search.snippets import best_window, snippet_weights
from pocket_colbert.text_splitting import with_title
from pocket_colbert.types import Document, Hit, Passage, PassageHit, Token
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise
from pocket_colbert.vectors.top_k import top_k

_Passage = tuple[PassageHit, list[Token], NDArray[np.float32]]


class Retriever:
    """An encoder and, for `retrieve`, a store of documents that it encoded."""

    def __init__(self, encoder: Encoder, index: Backend | None = None) -> None:
        """Put the two together.

        Args:
            encoder: Encodes queries, and documents to rerank.
            index: Holds documents that this encoder's model encoded: an `Index`, a `MultiIndex`
                or a store on another engine; not needed for `rerank`.

        Raises:
            InvalidInputError: The index holds vectors of another width or another model.
        """
        if index is not None:
            if index.dim != encoder.dim:
                raise InvalidInputError(
                    f"the index must hold vectors of {encoder.dim} dimensions, got {index.dim}."
                )
            models = {index.config.model, encoder.card.fingerprint}
            if "" not in models and len(models) > 1:
                raise InvalidInputError(
                    "the index was made with another model: it has fingerprint "
                    f"{index.config.model[:12]}, this encoder {encoder.card.fingerprint[:12]}. "
                    "Load the model it was made with, or index the documents again."
                )
        self.encoder = encoder
        self.index = index
        self._last = threading.local()

    def retrieve(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        where: Mapping[str, Any] | None = None,
        subset: Iterable[str] | None = None,
    ) -> list[list[Hit]]:
        """Find the best documents of the index for each query.

        Args:
            queries: The queries.
            k: How many documents a query at most.
            parameters: How to search; `SearchParameters(hybrid="rrf")` takes keywords in.
            where: What the metadata of a document must be, see `filters.parse_filter`.
            subset: Ids of the documents to choose from; all of them are scored.

        Returns:
            One list of hits a query, best first.

        Raises:
            InvalidInputError: There is no index, or an argument breaks its rule.
        """
        index = self.index
        if index is None:
            raise InvalidInputError("retrieve needs an index, got Retriever(encoder, index=None).")
        check_texts(queries)
        if len(queries) == 1:
            encoded = [self._encoded_query(queries[0])]
        else:
            encoded = self.encoder.encode_query(queries)
        return index.search(
            encoded, k, parameters=parameters, where=where, subset=subset, texts=queries
        )

    def add(
        self,
        documents: Sequence[Document],
        *,
        passages: Sequence[Sequence[Passage]] | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Encode documents of any length, as the index's settings say, and add them to it.

        An index in a folder shows them after its `commit`.

        Args:
            documents: The documents; one without a text is found by its title.
            passages: What `encode` has made of them, by default made now.
            progress: Called with the number of documents done and of all.

        Returns:
            The number of token vectors.

        Raises:
            InvalidInputError: There is no index, or see `Index.add`.
            DuplicateIdError: See `Index.add`; `upsert` replaces.
            IndexConflictError: See `Index.add`.
        """
        return self._write("add", _checked(documents), passages, progress)

    def upsert(
        self,
        documents: Sequence[Document],
        *,
        passages: Sequence[Sequence[Passage]] | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Encode documents and put them in the place of those that have their ids; see `add`."""
        return self._write("upsert", _checked(documents), passages, progress)

    def encode(
        self, documents: Sequence[Document], *, progress: Progress | None = None
    ) -> list[list[Passage]]:
        """Encode documents as `add` does, and leave the index as it is.

        Another thread can store some documents while these are encoded.

        Args:
            documents: The documents.
            progress: Called with the number of documents done and of all.

        Returns:
            The passages of each document.

        Raises:
            InvalidInputError: There is no index to write to.
        """
        config = self._writable("encode").config
        documents = _checked(documents)
        return self.encoder.encode_passages(
            [document.text or "" for document in documents],
            titles=[document.title for document in documents],
            splitting=config.splitting,
            pruning=config.pruning,
            progress=progress,
        )

    def _writable(self, method: str) -> Index:
        if not isinstance(self.index, Index):
            raise InvalidInputError(f"{method} needs an Index to write to, got {self.index!r}.")
        return self.index

    def _write(
        self,
        method: str,
        documents: Sequence[Document],
        passages: Sequence[Sequence[Passage]] | None,
        progress: Progress | None,
    ) -> int:
        index = self._writable(method)
        if passages is None:
            passages = self.encode(documents, progress=progress)
        getattr(index, method)(
            [document.document_id for document in documents],
            passages,
            **columns_of(documents),
        )
        return sum(len(item.embedding) for parts in passages for item in parts)

    def rerank(
        self,
        query: str,
        documents: Sequence[str] | Mapping[str, str],
        k: int | None = None,
        *,
        progress: Progress | None = None,
        encoded: Callable[[int], None] | None = None,
    ) -> list[Hit]:
        """Order texts of any length by their MaxSim with a query; no index is needed.

        A long text has the score of its best passage.

        Documents that are in the index need no encoding: see `rerank_ids`.

        Args:
            query: The query.
            documents: Texts, whose ids are then "0", "1", ..., or a mapping of ids to texts.
            k: How many to return at most, all by default.
            progress: Called with the number of texts done and of all. What it raises stops the
                work.
            encoded: Called once with the number of token vectors that were made, the query's
                included.

        Returns:
            Hits with texts, best first, equal scores in the order given.

        Raises:
            InvalidInputError: An argument breaks its rule.
        """
        check_text("query", query)
        check_whole_number("k", k, optional=True)
        if isinstance(documents, Mapping):
            ids, texts = list(documents), list(documents.values())
        else:
            texts = documents if isinstance(documents, str) else list(documents)  # type: ignore[assignment]
            ids = [str(position) for position in range(len(texts))]
        asked = self._encoded_query(query)
        passages = self.encoder.encode_passages(texts, progress=progress)
        embeddings = [item.embedding for parts in passages for item in parts]
        if encoded is not None:
            encoded(len(asked) + sum(map(len, embeddings)))
        flat = maxsim_pairwise(asked, embeddings)
        ends = np.cumsum([len(parts) for parts in passages], dtype=np.int64)
        each = np.split(flat, ends[:-1])[: len(passages)]
        scores = np.array([part.max() for part in each], dtype=np.float32)
        hits = []
        for n in top_k(scores, len(texts) if k is None else k):
            parts, order = passages[n], top_k(each[n], SearchParameters().passages)
            found = [PassageHit(parts[p].start, parts[p].end, float(each[n][p])) for p in order]
            hits.append(Hit(ids[n], float(scores[n]), texts[n], passages=tuple(found)))
        return hits

    def rerank_ids(
        self, query: str, document_ids: Iterable[str], k: int | None = None
    ) -> list[Hit]:
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
            InvalidInputError: There is no index, an id is not in it, or an argument breaks its
                rule.
        """
        check_text("query", query)
        if isinstance(document_ids, str):
            raise InvalidInputError("document_ids must be a list of strings, got one string.")
        wanted = list(document_ids)
        if not wanted:
            return []
        return self.retrieve([query], k if k is not None else len(wanted), subset=wanted)[0]

    def explain(self, query: str, hit: Hit) -> Explanation:
        """Say why a document was found: what each query token matched in its best passage.

        Token vectors are those the index holds; where it holds fewer than there are tokens, the
        passage is encoded again, and similarities are a little other than when it was found.

        Args:
            query: The query.
            hit: What `retrieve` or `rerank` returned for it, with its text.

        Returns:
            The explanation, with one match for every query token.

        Raises:
            InvalidInputError: The hit has no text, or the model merges token vectors itself.
        """
        part, tokens, embedding = self._passage(hit)
        return explain_match(
            hit.document_id,
            self.encoder.query_tokens(query),
            self._encoded_query(query),
            tokens,
            embedding,
            start=part.start,
            end=part.end,
        )

    def snippets(self, query: str, hits: Sequence[Hit], length: int = 160) -> list[tuple[int, int]]:
        """Find the part of each document that shows best why it was found.

        Args:
            query: The query.
            hits: What `retrieve` or `rerank` returned for it, with their texts.
            length: Characters of a snippet at most.

        Returns:
            First character and the one after the last, in the document's text, one pair a hit.

        Raises:
            InvalidInputError: See `explain`.
        """
        query_tokens = self.encoder.query_tokens(query)
        encoded = self._encoded_query(query)
        found = []
        for hit in hits:
            part, tokens, embedding = self._passage(hit)
            weights = snippet_weights(query_tokens, encoded, tokens, embedding)
            spans = np.array([token.span or (-1, -1) for token in tokens]).reshape(-1, 2)
            text = (hit.text or "")[part.start : part.end]
            start, end = best_window(text, spans, weights, length)
            found.append((part.start + start, part.start + end))
        return found

    def _encoded_query(self, query: str) -> NDArray[np.float32]:
        """Return a query's token vectors, (query_tokens, dim) float32.

        Who searches then asks for snippets and explanations of each hit, in the same thread.
        """
        known: tuple[Encoder, str, NDArray[np.float32]] | None = getattr(self._last, "query", None)
        if known is None or known[0] is not self.encoder or known[1] != query:
            known = self.encoder, query, self.encoder.encode_query([query])[0]
            known[2].flags.writeable = False
            self._last.query = known
        return known[2]

    def _passage(self, hit: Hit) -> _Passage:
        """Return a hit's best passage, its tokens and their vectors.

        Who asks for a snippet of a hit then asks for an explanation, in the same thread, and a
        store on another engine is asked over the network.
        """
        known: tuple[Encoder, Hit, _Passage] | None = getattr(self._last, "passage", None)
        if known is None or known[0] is not self.encoder or known[1] is not hit:
            known = self.encoder, hit, self._passage_of(hit)
            self._last.passage = known
        return known[2]

    def _passage_of(self, hit: Hit) -> _Passage:
        if hit.text is None:
            raise InvalidInputError(
                f"{hit.document_id!r} has no text to explain; add documents with their texts."
            )
        part = hit.passages[0] if hit.passages else PassageHit(0, len(hit.text), hit.score)
        text = hit.text[part.start : part.end]
        tokens = self.encoder.document_tokens(text, title=hit.title)
        if self.index is not None and self.index.config.pruning == Pruning():
            try:
                stored = self.index.passages(hit.document_id, part.start)
            except (DocumentNotFoundError, InvalidInputError):
                # a text that was reranked, or one deleted since
                stored = []
            for item in stored:
                same = (item.start, item.end) == (part.start, part.end)
                if same and len(item.embedding) == len(tokens):
                    return part, tokens, item.embedding
        return part, tokens, self.encoder.encode_document([with_title(text, hit.title)])[0]


def _checked(documents: object) -> list[Document]:
    """Return documents as a list, once it is known that they are documents."""
    found: list[Any] = list(documents) if isinstance(documents, Iterable) else []
    if not isinstance(documents, Iterable) or not all(isinstance(x, Document) for x in found):
        raise InvalidInputError(
            f"documents must be a list of Document(...), got {documents!r:.60}; put a single one "
            "in a list."
        )
    return found
