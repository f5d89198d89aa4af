"""LangChain: a retriever and a reranker. Needs the `langchain` extra (langchain-core alone)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import Hybrid, SearchParameters
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.integrations.common import (
    combine_filters,
    only_one,
    rerank,
    search,
    search_parameters,
    without_query_keys,
)
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever, check_min_relevance

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict, Field
except ImportError as _error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.langchain", "langchain") from (
        _error
    )


_DEFAULT_K = 10
_SEARCH_KWARGS = ("k", "filter", "where")


class FoundDocument(Document):
    """A LangChain document that a search has found.

    It equals the same document found by another query, whose scores are others, so that
    retrievers that ask several queries return it once.
    """

    def __eq__(self, other: object) -> bool:
        """Compare id, text and metadata, except what depends on the query."""
        if not isinstance(other, Document):
            return NotImplemented
        return (
            self.id == other.id
            and self.page_content == other.page_content
            and without_query_keys(self.metadata) == without_query_keys(other.metadata)
        )

    @classmethod
    def lc_id(cls) -> list[str]:
        """Return LangChain's own document, which is what a saved one is loaded as."""
        saved_as: list[str] = Document.lc_id()
        return saved_as


class PocketColbertRetriever(BaseRetriever):
    """Retrieves documents from an index by late interaction.

        >>> retriever = PocketColbertRetriever(retriever=Retriever(encoder, index), k=4)
        >>> retriever.invoke("a question", where={"year": {"$gte": 2020}})

    Each document has the id it has in the index, its metadata, how likely it is right, from 0 to 1,
    as "relevance_score", what the list is ordered by as "score", and the keys that
    `integrations.common.SearchResult` describes. `ainvoke` searches in a thread and
    does not block the event loop.

    An invalid or unknown setting raises pydantic's ValidationError with our message, an invalid
    argument of a call InvalidInputError, an unknown one TypeError. The first two are ValueErrors.

    Attributes:
        retriever: A retriever with an index whose documents have texts.
        k: Maximum number of documents.
        where: A filter on metadata, see `filters.parse_filter`.
        filter: The same under LangChain's name. If both are given, both must match.
        search_kwargs: `k`, `filter` and `where` as LangChain's vector stores take them: `k`
            replaces the default, and the filters must match too.
        hybrid: "rrf", "weighted" or "keywords" to use keywords too, see `SearchParameters`.
        parameters: All search settings, instead of `hybrid`.
        passages: 0 for whole documents, n for the best n passages of each document, one LangChain
            document per passage, best document first.
        min_relevance: Relevance that documents have at least, from 0 to 1.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    retriever: Retriever
    k: int = _DEFAULT_K
    where: Mapping[str, Any] | None = None
    filter: Mapping[str, Any] | None = None
    search_kwargs: dict[str, Any] = Field(default_factory=dict)
    hybrid: Hybrid | None = None
    parameters: SearchParameters | None = None
    passages: int = 0
    min_relevance: float | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings; pydantic turns an error raised here into a ValidationError."""
        check_min_relevance(self.min_relevance, self.retriever.encoder.relevance_curve)
        if self.retriever.index is None:
            raise InvalidInputError("retriever must have an index, got one with index=None.")
        if self.k != _DEFAULT_K:
            only_one({"k": self.k, "search_kwargs['k']": self.search_kwargs.get("k")})
        self._settings(None, None, None, None)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Mapping[str, Any] | None = None,
        filter: Mapping[str, Any] | None = None,
        search_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Search; `k` replaces the retriever's own, filters must match in addition to its own."""
        return self._search(query, k, where, filter, search_kwargs)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Mapping[str, Any] | None = None,
        filter: Mapping[str, Any] | None = None,
        search_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Search in a thread; see `_get_relevant_documents`."""
        return await asyncio.to_thread(self._search, query, k, where, filter, search_kwargs)

    def _settings(
        self,
        k: int | None,
        where: Mapping[str, Any] | None,
        filter: Mapping[str, Any] | None,
        search_kwargs: Mapping[str, Any] | None,
    ) -> tuple[int, dict[str, Any] | None, SearchParameters]:
        """Combine a call's settings with the retriever's own, and check them.

        Returns:
            k, the filter, and the search parameters.
        """
        own, called = _checked_kwargs(self.search_kwargs), _checked_kwargs(search_kwargs or {})
        k = only_one({"k": k, "search_kwargs['k']": called.get("k")})
        if k is None:
            k = self.k if own.get("k") is None else own["k"]
        combined = combine_filters(
            self.where, self.filter, own.get("where"), own.get("filter"),
            where, filter, called.get("where"), called.get("filter"),
        )  # fmt: skip
        parameters = search_parameters(k, combined, self.hybrid, self.parameters, self.passages)
        return k, combined, parameters

    def _search(
        self,
        query: str,
        k: int | None,
        where: Mapping[str, Any] | None,
        filter: Mapping[str, Any] | None,
        search_kwargs: Mapping[str, Any] | None,
    ) -> list[Document]:
        k, where, parameters = self._settings(k, where, filter, search_kwargs)
        results = search(
            self.retriever,
            query,
            k=k,
            where=where,
            parameters=parameters,
            passages=self.passages,
            min_relevance=self.min_relevance,
        )
        return [
            FoundDocument(
                page_content=item.text,
                id=item.result_id,
                metadata={
                    **item.metadata,
                    "relevance_score": item.metadata["relevance"],
                    "score": item.score,
                },
            )
            for item in results
        ]


class PocketColbertReranker(BaseDocumentCompressor):
    """Reranks documents from any source by MaxSim with the query.

    Returns copies with how likely each is right, from 0 to 1, as "relevance_score" in their
    metadata (None for a model that does not say it), and MaxSim as "score". The async method is
    LangChain's own and runs in a thread.

    Attributes:
        encoder: Encodes the query and the documents.
        k: Maximum number of documents to return, all by default.
        top_n: The same under the name that LangChain's rerankers use; give one of them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    encoder: Encoder
    k: int | None = None
    top_n: int | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings; pydantic turns an error raised here into a ValidationError."""
        self._limit()

    def _limit(self) -> int | None:
        limit: int | None = only_one({"k": self.k, "top_n": self.top_n})
        check_whole_number("k", limit, optional=True)
        return limit

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """Order documents.

        Args:
            documents: The documents.
            query: The query.
            callbacks: Ignored; reranking reports no progress.

        Returns:
            At most k documents, best first, equal scores in the order given.

        Raises:
            InvalidInputError: query is not a string.
        """
        texts = [document.page_content for document in documents]
        return [
            documents[position].model_copy(
                update={
                    "metadata": {
                        **documents[position].metadata,
                        "relevance_score": relevance,
                        "score": score,
                    },
                }
            )
            for position, score, relevance in rerank(self.encoder, query, texts, self._limit())
        ]


def _checked_kwargs(search_kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in search_kwargs:
        if name not in _SEARCH_KWARGS:
            raise InvalidInputError(
                f"search_kwargs takes {', '.join(_SEARCH_KWARGS)}, got {name!r:.40}; other "
                "settings are the retriever's own."
            )
    return search_kwargs
