"""LangChain: a retriever and a reranker. Needs the `langchain` extra (langchain-core alone)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from pocket_colbert.config import Hybrid, SearchParameters
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.integrations.common import combine_filters, rerank, search, search_parameters
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever

try:
    from langchain_core.callbacks import (
        AsyncCallbackManagerForRetrieverRun,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
    from pydantic import ConfigDict
except ImportError as error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.langchain", "langchain") from (
        error
    )


class PocketColbertRetriever(BaseRetriever):
    """Retrieves documents from an index by late interaction.

        >>> retriever = PocketColbertRetriever(retriever=Retriever(encoder, index), k=4)
        >>> retriever.invoke("a question", where={"year": {"$gte": 2020}})

    Each document has the id it has in the index, its metadata, the score as "relevance_score", and
    the keys that `integrations.common.SearchResult` describes. `ainvoke` searches in a thread and
    does not block the event loop.

    An invalid setting raises pydantic's ValidationError with our message, an invalid argument of a
    call InvalidInputError. Both are ValueErrors.

    Attributes:
        retriever: A retriever with an index whose documents have texts.
        k: Maximum number of documents.
        where: A filter on metadata, see `filters.parse_filter`.
        hybrid: "rrf", "weighted" or "keywords" to use keywords too, see `SearchParameters`.
        parameters: All search settings, instead of `hybrid`.
        passages: 0 for whole documents, n for the best n passages of each document, one LangChain
            document per passage, best document first.
    """

    retriever: Retriever
    k: int = 10
    where: Mapping[str, Any] | None = None
    hybrid: Hybrid | None = None
    parameters: SearchParameters | None = None
    passages: int = 0

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings; pydantic turns an error raised here into a ValidationError."""
        if self.retriever.index is None:
            raise InvalidInputError("retriever must have an index, got one with index=None.")
        search_parameters(self.k, self.where, self.hybrid, self.parameters, self.passages)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Search; `k` replaces the retriever's own, `where` must match in addition to it."""
        return self._search(query, k, where)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        where: Mapping[str, Any] | None = None,
    ) -> list[Document]:
        """Search in a thread; see `_get_relevant_documents`."""
        return await asyncio.to_thread(self._search, query, k, where)

    def _search(self, query: str, k: int | None, where: Mapping[str, Any] | None) -> list[Document]:
        k, where = self.k if k is None else k, combine_filters(self.where, where)
        parameters = search_parameters(k, where, self.hybrid, self.parameters, self.passages)
        results = search(
            self.retriever, query, k=k, where=where, parameters=parameters, passages=self.passages
        )
        return [
            Document(
                page_content=item.text,
                id=item.result_id,
                metadata={**item.metadata, "relevance_score": item.score},
            )
            for item in results
        ]


class PocketColbertReranker(BaseDocumentCompressor):
    """Reranks documents from any source by MaxSim with the query.

    Returns copies with the score as "relevance_score" in their metadata. The async method is
    LangChain's own and runs in a thread.

    Attributes:
        encoder: Encodes the query and the documents.
        k: Maximum number of documents to return, all by default.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    encoder: Encoder
    k: int | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings; pydantic turns an error raised here into a ValidationError."""
        if self.k is not None:
            search_parameters(self.k, None, None, None, 0)

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
                    "metadata": {**documents[position].metadata, "relevance_score": score},
                }
            )
            for position, score in rerank(self.encoder, query, texts, self.k)
        ]
