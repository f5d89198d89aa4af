"""Haystack: a retriever and a ranker component. Needs the `haystack` extra (haystack-ai alone).

Both take plain settings only, so pipelines can be saved as YAML and loaded again. Haystack asks for
permission to import this module when loading:

    Pipeline.loads(text, allowed_modules=["pocket_colbert.integrations.haystack"])
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pocket_colbert.backend import Backend
from pocket_colbert.backends import open_backend
from pocket_colbert.backends.address import is_address
from pocket_colbert.checks import check_whole_number
from pocket_colbert.config import Hybrid
from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.index.index import Index
from pocket_colbert.integrations.common import combine_filters, rerank, search, search_parameters
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import DEFAULT_MODEL
from pocket_colbert.retriever import Retriever

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.document_stores.types import FilterPolicy
except ImportError as _error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.haystack", "haystack") from _error

_COMPARISONS = {
    "==": "$eq", "!=": "$ne", ">": "$gt", ">=": "$gte", "<": "$lt", "<=": "$lte", "in": "$in",
    "not in": "$nin",
}  # fmt: skip
_COMPARISON_KEYS = ("field", "operator", "value")
_COMBINATION_KEYS = ("operator", "conditions")
_FIELDS = ("content", "blob", "score", "embedding", "sparse_embedding", "meta")


@component
class PocketColbertRetriever:
    """Retrieves documents from an index by late interaction.

        >>> pipeline.add_component("retriever", PocketColbertRetriever("docs.index", top_k=4))
        >>> pipeline.run({"retriever": {"query": "a question"}})["retriever"]["documents"]

    A Haystack document has the id it has in the index, its metadata and score, and the keys that
    `integrations.common.SearchResult` describes.

    Attributes:
        retriever: The loaded model and open index, None until `warm_up`. The index shows what was
            committed when it was opened; `retriever.index.refresh()` shows later commits.
    """

    def __init__(
        self,
        index: str | Path,
        *,
        model: str | Path | None = None,
        top_k: int = 10,
        filters: dict[str, Any] | None = None,
        filter_policy: str | FilterPolicy = FilterPolicy.REPLACE,
        hybrid: Hybrid = "auto",
        passages: int = 0,
        min_relevance: float | None = None,
    ) -> None:
        """Set what to search and how; `warm_up`, which pipelines call, loads model and index.

        Args:
            index: The index folder, or the address of a backend. Its documents must have texts.
            model: The model the index was made with: a folder, a bundled name or a hub id.
                Defaults to the bundled model that made it.
            top_k: Maximum number of documents.
            filters: Haystack filters on metadata, see `to_where`.
            filter_policy: Whether a run's filters replace these ("replace", Haystack's default)
                or both must match ("merge"). Haystack's own document stores may drop these when
                merging; this retriever never does.
            hybrid: "rrf", "weighted" or "keywords" to use keywords too, see `SearchParameters`.
            passages: 0 for whole documents, n for the best n passages of each document, one
                Haystack document per passage, best document first.
            min_relevance: Relevance that documents have at least, from 0 to 1; a run raises
                InvalidInputError if the model does not say it.

        Raises:
            InvalidInputError: An argument breaks its rule.
        """
        search_parameters(top_k, _where(filters), hybrid, None, passages)
        self.index: str = str(index)
        self.model: str | None = None if model is None else str(model)
        self.top_k = top_k
        self.filters = filters
        self.hybrid = hybrid
        self.passages = passages
        self.min_relevance = min_relevance
        if isinstance(filter_policy, str):
            filter_policy = FilterPolicy.from_str(filter_policy)
        self.filter_policy = filter_policy
        self.retriever: Retriever | None = None
        self._opening = threading.Lock()

    def warm_up(self) -> None:
        """Load the model and open the index, once.

        Raises:
            PocketColbertError: See `Encoder.for_index`, `Index.load` and `Retriever`.
        """
        self._opened()

    def _opened(self) -> Retriever:
        with self._opening:
            if self.retriever is None:
                index: Backend
                if is_address(self.index):
                    index = open_backend(self.index)
                else:
                    index = Index.load(self.index)
                self.retriever = Retriever(Encoder.for_index(index.config, self.model), index)
            return self.retriever

    def close(self) -> None:
        """Close the index; the next run opens it again. Must not be called during a search."""
        with self._opening:
            if self.retriever is not None and self.retriever.index is not None:
                self.retriever.index.close()
            self.retriever = None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for saving a pipeline."""
        settings: dict[str, Any] = default_to_dict(
            self, index=self.index, model=self.model, top_k=self.top_k, filters=self.filters,
            filter_policy=self.filter_policy.value, hybrid=self.hybrid, passages=self.passages,
            min_relevance=self.min_relevance,
        )  # fmt: skip
        return settings

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PocketColbertRetriever:
        """Create a component from what `to_dict` returned."""
        made: PocketColbertRetriever = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search.

        Args:
            query: The query.
            filters: Haystack filters; see `filter_policy`.
            top_k: Maximum number of documents, instead of the component's own.

        Returns:
            "documents", best first.

        Raises:
            InvalidInputError: An argument breaks its rule.
            PocketColbertError: See `warm_up`.
        """
        where = _where(filters)
        if where is None or self.filter_policy == FilterPolicy.MERGE:
            where = combine_filters(_where(self.filters), where)
        k = self.top_k if top_k is None else top_k
        results = search(
            self._opened(),
            query,
            k=k,
            where=where,
            parameters=search_parameters(k, where, self.hybrid, None, self.passages),
            passages=self.passages,
            min_relevance=self.min_relevance,
        )
        documents = [
            Document(id=item.result_id, content=item.text, meta=item.metadata, score=item.score)
            for item in results
        ]
        return {"documents": documents}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search in a thread without blocking the event loop; see `run`."""
        output: dict[str, list[Document]] = await asyncio.to_thread(self.run, query, filters, top_k)
        return output


@component
class PocketColbertRanker:
    """Reranks documents from any source by MaxSim with the query."""

    def __init__(self, *, model: str | Path = DEFAULT_MODEL, top_k: int | None = None) -> None:
        """Set the model; `warm_up`, which pipelines call, loads it.

        Args:
            model: A model folder, the name of a bundled model, or a hub id.
            top_k: Maximum number of documents to return, all by default.

        Raises:
            InvalidInputError: top_k is below 1.
        """
        check_whole_number("top_k", top_k, optional=True)
        self.model: str = str(model)
        self.top_k = top_k
        self._encoder: Encoder | None = None
        self._loading = threading.Lock()

    def warm_up(self) -> None:
        """Load the model, once.

        Raises:
            PocketColbertError: See `Encoder.load`.
        """
        self._loaded()

    def _loaded(self) -> Encoder:
        with self._loading:
            if self._encoder is None:
                self._encoder = Encoder.load(self.model)
            return self._encoder

    def to_dict(self) -> dict[str, Any]:
        """Return the settings for saving a pipeline."""
        settings: dict[str, Any] = default_to_dict(self, model=self.model, top_k=self.top_k)
        return settings

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PocketColbertRanker:
        """Create a component from what `to_dict` returned."""
        made: PocketColbertRanker = default_from_dict(cls, data)
        return made

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Order documents.

        Args:
            query: The query.
            documents: The documents. Of several with the same id, only the first is kept.
            top_k: Maximum number to return, instead of the component's own.

        Returns:
            "documents": copies with their scores and, as "relevance" in `meta`, how likely each is
            right, from 0 to 1; best first, equal scores in the order given.
            Those without text, such as images, come last, with a score of None.

        Raises:
            InvalidInputError: An argument breaks its rule.
            PocketColbertError: See `warm_up`.
        """
        by_id: dict[str, Document] = {}
        for item in documents:
            by_id.setdefault(item.id, item)
        k = self.top_k if top_k is None else top_k
        check_whole_number("top_k", k, optional=True)
        texts = {item.id: item.content for item in by_id.values() if (item.content or "").strip()}
        ids, ranked = list(texts), rerank(self._loaded(), query, list(texts.values()), k)
        found = [
            replace(by_id[ids[n]], score=score, meta={**by_id[ids[n]].meta, "relevance": relevance})
            for n, score, relevance in ranked
        ]
        found += [replace(item, score=None) for item in by_id.values() if item.id not in texts]
        return {"documents": found[:k]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Order documents in a thread without blocking the event loop; see `run`."""
        output: dict[str, list[Document]] = await asyncio.to_thread(
            self.run, query, documents, top_k
        )
        return output


def _where(filters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Translate filters; Haystack passes on {} for none."""
    return None if filters is None or filters == {} else to_where(filters)


def to_where(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Translate Haystack filters to the form that `filters.parse_filter` reads.

    "meta.author.name" becomes "author.name", and "id" the document's id. Texts compare as texts,
    which orders dates in the same ISO format by time. Unlike in Haystack's own document stores, a
    list in the metadata matches if any of its items does.

    Args:
        filters: A comparison (field, operator, value) or a combination (operator, conditions).

    Returns:
        The filter.

    Raises:
        InvalidInputError: It is neither, or uses a field that an index cannot filter by.
    """
    if not isinstance(filters, Mapping):
        raise InvalidInputError(f"Haystack filters must be an object, got {filters!r}.")
    operator = filters.get("operator")
    known = _COMPARISON_KEYS if "field" in filters else _COMBINATION_KEYS
    unknown = [key for key in filters if key not in known]
    if unknown:
        raise InvalidInputError(
            f"a Haystack filter of this kind has {', '.join(known)}, got {unknown[0]!r:.40}."
        )
    if "field" not in filters:
        conditions = filters.get("conditions")
        if operator not in ("AND", "OR", "NOT") or not isinstance(conditions, list):
            raise InvalidInputError(
                "Haystack filters must have field, operator and value, or conditions and the "
                f"operator AND, OR or NOT, got {dict(filters)!r}."
            )
        parts = [to_where(item) for item in conditions]
        return {"$not": {"$and": parts}} if operator == "NOT" else {f"${operator.lower()}": parts}
    field = filters["field"]
    texts = isinstance(operator, str) and isinstance(field, str)
    if not texts or operator not in _COMPARISONS or "value" not in filters:
        raise InvalidInputError(
            f"a comparison must have a field, a value and one of {list(_COMPARISONS)}, "
            f"got {dict(filters)!r}."
        )
    if field in _FIELDS:
        raise InvalidInputError(f"a filter's field must be id or meta.NAME, got {field!r}.")
    name = "$id" if field == "id" else field.removeprefix("meta.")
    if filters["value"] is None and operator in ("==", "!="):
        return {name: {"$exists": operator == "!="}}
    return {name: {_COMPARISONS[operator]: filters["value"]}}
