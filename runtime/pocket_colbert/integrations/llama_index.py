"""LlamaIndex: a retriever and a reranker. Needs the `llama-index` extra: its core alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, ClassVar

from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import Hybrid, SearchParameters
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.integrations.common import (
    OWN_KEYS,
    SearchResult,
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
    from llama_index.core.bridge.pydantic import ConfigDict, Field
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
    from llama_index.core.vector_stores import FilterCondition, FilterOperator, MetadataFilters
except ImportError as _error:
    raise OptionalDependencyError.of(
        "pocket_colbert.integrations.llama_index", "llama-index"
    ) from _error


_DEFAULT_K = 10
_COMPARISONS = {
    FilterOperator.EQ: "$eq", FilterOperator.NE: "$ne", FilterOperator.GT: "$gt",
    FilterOperator.GTE: "$gte", FilterOperator.LT: "$lt", FilterOperator.LTE: "$lte",
    FilterOperator.IN: "$in", FilterOperator.NIN: "$nin", FilterOperator.ANY: "$in",
    FilterOperator.CONTAINS: "$eq",
}  # fmt: skip


class FoundNode(TextNode):
    """A node that a search has found.

    Its hash is that of the same node found by another query, whose scores are others, so that
    retrievers that ask several queries return it once.
    """

    @property
    def hash(self) -> str:
        """Return a hash of id, text and metadata, except what depends on the query."""
        metadata = without_query_keys(self.metadata)
        node = TextNode(id_=self.id_, text=f"{self.id_}\n{self.text}", metadata=metadata)
        return str(node.hash)


class PocketColbertRetriever(BaseRetriever):
    """Retrieves documents from an index by late interaction, as nodes with scores.

        >>> retriever = PocketColbertRetriever(Retriever(encoder, index), k=4)
        >>> query_engine = RetrieverQueryEngine.from_args(retriever)

    A node has the id its document has in the index, its metadata, and the keys that
    `integrations.common.SearchResult` describes; of those keys LlamaIndex shows a language model
    only the title. `aretrieve` searches in a thread and does not block the event loop.

    Attributes:
        retriever: See `__init__`, as all others; a search uses the values that they have then.
        similarity_top_k: Maximum number of documents; `k` is the same.
        where: A filter on metadata.
        filters: LlamaIndex's filters on metadata.
        hybrid: How to use keywords.
        parameters: All search settings, instead of `hybrid`.
        passages: How many passages of each document to return, 0 for whole documents.
        min_relevance: Relevance that documents have at least.
    """

    def __init__(
        self,
        retriever: Retriever,
        *,
        k: int | None = None,
        where: Mapping[str, Any] | None = None,
        hybrid: Hybrid | None = None,
        parameters: SearchParameters | None = None,
        passages: int = 0,
        similarity_top_k: int | None = None,
        filters: MetadataFilters | None = None,
        min_relevance: float | None = None,
        callback_manager: CallbackManager | None = None,
        verbose: bool = False,
    ) -> None:
        """Set what to search and how.

        Args:
            retriever: A retriever with an index whose documents have texts.
            k: Maximum number of documents, 10 by default.
            where: A filter on metadata, see `filters.parse_filter`.
            hybrid: "rrf", "weighted" or "keywords" to use keywords too, see `SearchParameters`.
            parameters: All search settings, instead of `hybrid`.
            passages: 0 for whole documents, n for the best n passages of each document, one node
                per passage with the document as its source, best document first.
            similarity_top_k: `k` under LlamaIndex's name; give one of them.
            filters: LlamaIndex's filters on metadata, see `to_where`. If `where` is given too,
                both must match.
            min_relevance: Relevance that documents have at least, from 0 to 1.
            callback_manager: See LlamaIndex's `BaseRetriever`.
            verbose: See LlamaIndex's `BaseRetriever`.

        Raises:
            InvalidInputError: An argument breaks its rule, or the retriever has no index.
        """
        if retriever.index is None:
            raise InvalidInputError("retriever must have an index, got one with index=None.")
        limit = only_one({"k": k, "similarity_top_k": similarity_top_k})
        self.retriever = retriever
        self.similarity_top_k: int = _DEFAULT_K if limit is None else limit
        self.where = where
        self.filters = filters
        self.hybrid = hybrid
        self.parameters = parameters
        self.passages = passages
        self.min_relevance = min_relevance
        check_min_relevance(min_relevance, retriever.encoder.relevance_curve)
        self._settings()
        super().__init__(callback_manager=callback_manager, verbose=verbose)

    @property
    def k(self) -> int:
        """Maximum number of documents, as `similarity_top_k` is."""
        return self.similarity_top_k

    @k.setter
    def k(self, value: int) -> None:
        self.similarity_top_k = value

    def _settings(self) -> tuple[dict[str, Any] | None, SearchParameters]:
        """Return filter and parameters as the attributes are now."""
        filters = None if self.filters is None else to_where(self.filters)
        where = combine_filters(self.where, filters)
        return where, search_parameters(
            self.similarity_top_k, where, self.hybrid, self.parameters, self.passages
        )

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        where, parameters = self._settings()
        results = search(
            self.retriever,
            query_bundle.query_str,
            k=self.similarity_top_k,
            where=where,
            parameters=parameters,
            passages=self.passages,
            min_relevance=self.min_relevance,
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
        top_n: The same under the name that LlamaIndex's rerankers use; give one of them.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    encoder: Encoder = Field(exclude=True)
    k: int | None = None
    top_n: int | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings; pydantic turns an error raised here into a ValidationError."""
        self._limit()

    def _limit(self) -> int | None:
        limit: int | None = only_one({"k": self.k, "top_n": self.top_n})
        check_whole_number("k", limit, optional=True)
        return limit

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
            for position, score, _ in rerank(
                self.encoder, query_bundle.query_str, texts, self._limit()
            )
        ]


def to_where(filters: MetadataFilters) -> dict[str, Any]:
    """Translate LlamaIndex's filters to the form that `filters.parse_filter` reads.

    A list in the metadata matches if any of its items does, for "all" if it has all of them.

    Args:
        filters: Filters, and whether all, any or none of them must match.

    Returns:
        The filter.

    Raises:
        InvalidInputError: It is something else, or uses an operator that an index does not have.
    """
    if not isinstance(filters, MetadataFilters):
        raise InvalidInputError(
            f"filters must be LlamaIndex's MetadataFilters, got {type(filters).__name__}; use "
            "where= for a filter as pocket_colbert has them."
        )
    parts = [
        to_where(item) if isinstance(item, MetadataFilters)
        else _comparison(item.key, getattr(item, "operator", FilterOperator.EQ), item.value)
        for item in filters.filters
    ]  # fmt: skip
    if not parts:
        return {}
    if filters.condition == FilterCondition.NOT:
        return {"$not": {"$or": parts}}
    return {"$or" if filters.condition == FilterCondition.OR else "$and": parts}


def _comparison(key: str, operator: FilterOperator, value: Any) -> dict[str, Any]:
    if operator == FilterOperator.IS_EMPTY:
        return {"$or": [{key: {"$exists": False}}, {key: ""}]}
    if operator == FilterOperator.ALL and isinstance(value, list) and value:
        return {"$and": [{key: item} for item in value]}
    if operator not in _COMPARISONS:
        raise InvalidInputError(
            f"the filter on {key!r} must use {', '.join(o.value for o in _COMPARISONS)}, all with "
            f"a list, or is_empty, got {operator.value!r}."
        )
    return {key: {_COMPARISONS[operator]: value}}


def _node(item: SearchResult) -> TextNode:
    start, end = item.span or (None, None)
    source = RelatedNodeInfo(node_id=item.document_id)
    return FoundNode(
        id_=item.result_id,
        text=item.text,
        metadata=item.metadata,
        start_char_idx=start,
        end_char_idx=end,
        relationships={NodeRelationship.SOURCE: source} if item.span else {},
        excluded_embed_metadata_keys=list(OWN_KEYS),
        excluded_llm_metadata_keys=list(OWN_KEYS),
    )
