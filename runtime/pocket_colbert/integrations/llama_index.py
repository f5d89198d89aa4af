"""LlamaIndex: a retriever and a reranker. Needs the `llama-index` extra: its core alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pocket_colbert.config import Hybrid, SearchParameters
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.integrations.common import (
    OWN_KEYS,
    SearchResult,
    rerank,
    search,
    search_parameters,
)
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.retriever import Retriever

try:
    from llama_index.core.bridge.pydantic import Field
    from llama_index.core.callbacks import CallbackManager
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import (
        MetadataMode,
        NodeRelationship,
        NodeWithScore,
        QueryBundle,
        RelatedNodeInfo,
        TextNode,
    )
except ImportError as error:
    raise OptionalDependencyError.of(
        "pocket_colbert.integrations.llama_index", "llama-index"
    ) from error


class PocketColbertRetriever(BaseRetriever):
    """Retrieves documents from an index by late interaction, as nodes with scores.

        >>> retriever = PocketColbertRetriever(Retriever(encoder, index), k=4)
        >>> query_engine = RetrieverQueryEngine.from_args(retriever)

    A node has the id its document has in the index, its metadata, and the keys that
    `integrations.common.SearchResult` describes; of those keys LlamaIndex shows a language model
    only the title. `aretrieve` searches in a thread and does not block the event loop.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        k: int = 10,
        where: Mapping[str, Any] | None = None,
        hybrid: Hybrid | None = None,
        parameters: SearchParameters | None = None,
        passages: int = 0,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        """Set what to search and how.

        Args:
            retriever: A retriever with an index whose documents have texts.
            k: Maximum number of documents.
            where: A filter on metadata, see `filters.parse_filter`.
            hybrid: "rrf", "weighted" or "keywords" to use keywords too, see `SearchParameters`.
            parameters: All search settings, instead of `hybrid`.
            passages: 0 for whole documents, n for the best n passages of each document, one node
                per passage with the document as its source, best document first.
            callback_manager: See LlamaIndex's `BaseRetriever`.
            verbose: See LlamaIndex's `BaseRetriever`.

        Raises:
            InvalidInputError: An argument breaks its rule, or the retriever has no index.
        """
        if retriever.index is None:
            raise InvalidInputError("retriever must have an index, got one with index=None.")
        self._parameters = search_parameters(k, where, hybrid, parameters, passages)
        self._retriever, self._k, self._where, self._passages = retriever, k, where, passages
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        results = search(
            self._retriever,
            query_bundle.query_str,
            k=self._k,
            where=self._where,
            parameters=self._parameters,
            passages=self._passages,
        )
        return [NodeWithScore(node=_node(item), score=item.score) for item in results]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        # LlamaIndex's default would block the event loop.
        return await asyncio.to_thread(self._retrieve, query_bundle)


class PocketColbertReranker(BaseNodePostprocessor):
    """Reranks nodes from any source by MaxSim with the query.

    Reads a node as LlamaIndex would embed it: its text with all metadata except the
    `excluded_embed_metadata_keys`. Returns the same nodes with new scores. The async method is
    LlamaIndex's own and runs in a thread.

    Attributes:
        encoder: Encodes the query and the nodes.
        k: Maximum number of nodes to return, all by default.
    """

    encoder: Encoder = Field(exclude=True)
    k: int | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings; pydantic turns an error raised here into a ValidationError."""
        if self.k is not None:
            search_parameters(self.k, None, None, None, 0)

    @classmethod
    def class_name(cls) -> str:
        """Return the name LlamaIndex knows the class by."""
        return "PocketColbertReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidInputError("reranking needs a query, got query_bundle=None.")
        texts = [item.node.get_content(metadata_mode=MetadataMode.EMBED) for item in nodes]
        return [
            NodeWithScore(node=nodes[position].node, score=score)
            for position, score in rerank(self.encoder, query_bundle.query_str, texts, self.k)
        ]


def _node(item: SearchResult) -> TextNode:
    start, end = item.span or (None, None)
    source = RelatedNodeInfo(node_id=item.document_id)
    return TextNode(
        id_=item.result_id,
        text=item.text,
        metadata=item.metadata,
        start_char_idx=start,
        end_char_idx=end,
        relationships={NodeRelationship.SOURCE: source} if item.span else {},
        excluded_embed_metadata_keys=list(OWN_KEYS),
        excluded_llm_metadata_keys=list(OWN_KEYS),
    )
