"""Search in a store on another engine, with the calls and the ranking of an index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backends.engine import Engine, Found
from pocket_colbert.backends.record import Record
from pocket_colbert.checks import check_ids, check_present
from pocket_colbert.config import IndexConfig, SearchParameters
from pocket_colbert.errors import (
    BackendError,
    BackendNotFoundError,
    ClosedError,
    DocumentNotFoundError,
    UnsupportedError,
)
from pocket_colbert.search.searcher import checked_parameters, checked_queries
from pocket_colbert.storage.filters import is_unicode, parse_filter
from pocket_colbert.types import Document, Hit, Passage, PassageHit, Span

_EMBEDDED_ONLY = ("hybrid", "lookups", "query_tokens", "query_tolerance")
"""Search parameters of the inverted file and of keywords, which stores do not have."""

_CANDIDATES = 100
"""Documents that an approximate search scores exactly by default, or ten times as many as asked."""

_BATCH = 500


class RemoteBackend:
    """What `push` wrote to an engine, to be searched; read-only.

    It ranks as the index that was pushed does in exact search, up to the rounding of the engine's
    arithmetic. Any number may be open.

    Attributes:
        config: The settings of the index that was pushed.
        record: What the store says of itself.
    """

    def __init__(self, engine: Engine, *, incomplete: bool = False) -> None:
        """Open a store; `close` closes the engine.

        Args:
            engine: Where it is, see `opening.engine_at`.
            incomplete: Whether to search it while a push is under way or after one broke off,
                when each document may be missing, old or new.

        Raises:
            BackendNotFoundError: There is nothing that `push` wrote.
            BackendError: The engine cannot be reached, or the store is incomplete or damaged.
        """
        self._open: Engine | None = engine
        self._incomplete = incomplete
        self.record = _record_of(engine)
        self.config: IndexConfig = self.record.config
        if not self.record.complete and not incomplete:
            raise BackendError(
                f"{engine} is incomplete: a push to it is under way or broke off. Wait, or "
                "push again: it goes on where it was. To search what is there so far, open it "
                "with incomplete=True (--incomplete)."
            )

    def __enter__(self) -> RemoteBackend:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        place = self._open or "closed"
        return f"<RemoteBackend {place}: {len(self)} documents of {self.dim} dimensions>"

    def __len__(self) -> int:
        """Return the number of documents that the last push counted."""
        return self.record.documents

    def __contains__(self, document_id: object) -> bool:
        return isinstance(document_id, str) and document_id in self._present([document_id])

    @property
    def dim(self) -> int:
        """Width of a token vector."""
        return self.config.dim

    @property
    def address(self) -> str:
        """Where it is, without any key."""
        return str(self._engine)

    def refresh(self) -> bool:
        """Show what later pushes have brought.

        LanceDB shows the last complete state until this is called, and goes on with it while a
        push is under way or after one broke off (unless the store was opened `incomplete`). A
        Qdrant server shows documents as they come; `record` is as of the last call, and says
        whether they are complete.

        Returns:
            Whether there was anything new.

        Raises:
            BackendNotFoundError: See `__init__`. What was shown before is still shown.
            BackendError: See `__init__`, or the store was made anew with another model; likewise.
        """
        latest = self._engine.latest()
        record = _record_of(latest)
        if record.config.model != self.config.model or record.config.dim != self.dim:
            raise BackendError(f"{latest} was made anew with another model; open it again.")
        if not (record.complete or self._incomplete or latest is self._engine):
            return False
        fresh = record != self.record
        self._open, self.record, self.config = latest, record, record.config
        return fresh

    def search(
        self,
        query_embeddings: Sequence[NDArray[Any]],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        where: Mapping[str, Any] | None = None,
        subset: Iterable[str] | None = None,
        texts: Sequence[str] | None = None,
    ) -> list[list[Hit]]:
        """Find the best documents for each query.

        Args:
            query_embeddings: See `Index.search`.
            k: How many documents a query at most.
            parameters: Mode "exact" scores every document, "approximate" and "auto" use the
                engine's own index where the store was pushed with one; `candidates` of its
                documents, at least 100 by default, are scored exactly then. `passages` is as in
                an index.
            where: See `filters.parse_filter`.
            subset: Ids of the documents to choose from, all of which are scored.
            texts: Not used: stores have no keywords.

        Returns:
            One list a query: hits, best first, equal scores in the order in which documents came
            to the store.

        Raises:
            UnsupportedError: The engine has no such filter, or a parameter is for keywords or
                inverted files.
            InvalidInputError: See `Index.search`.
            BackendError: The engine cannot be reached, or refuses.
        """
        queries = checked_queries(query_embeddings, k, self.dim)
        parameters = checked_parameters(parameters)
        self._check_parameters(parameters)
        conditions = []
        if where is not None:
            conditions.append(self._engine.condition(parse_filter(where)))
        exact = parameters.mode == "exact" or not self.record.approximate
        if subset is not None:
            ids = check_ids(subset, "subset")
            check_present(ids, self._present(ids), "store")
            conditions.append(self._engine.documents_in(ids))
            exact = True
        condition = self._engine.all_of(conditions) if conditions else None
        return [
            self._hits(query, k, condition, exact, parameters) if len(query) else []
            for query in queries
        ]

    def get(self, document_id: str) -> Document:
        """Return a document.

        Raises:
            DocumentNotFoundError: There is no document of that id.
            BackendError: See `search`.
        """
        found = self.find([document_id])
        if document_id not in found:
            raise DocumentNotFoundError(f"no document {document_id!r} in {self._engine}.")
        return found[document_id]

    def find(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Return those of the documents that are there, in one request.

        Raises:
            BackendError: See `search`.
        """
        return self._engine.documents([item for item in document_ids if is_unicode(item)])

    def passages(self, document_id: str) -> list[Passage]:
        """Return a document's passages with their token vectors as the engine holds them.

        Args:
            document_id: Its id.

        Raises:
            DocumentNotFoundError: There is no document of that id.
            BackendError: See `search`.
        """
        passages = None
        if is_unicode(document_id):
            passages = self._engine.passages(document_id, self.dim)
        if passages is None:
            raise DocumentNotFoundError(f"no document {document_id!r} in {self._engine}.")
        return passages

    def passage_embeddings(
        self, passages: Sequence[tuple[str, Span]]
    ) -> list[NDArray[np.float32] | None]:
        """Return the token vectors of some passages, fetched together.

        Args:
            passages: The id of a document and the span of one of its passages, as in `Hit`.

        Returns:
            (num_tokens, dim) float32 each, None where there is no such passage.

        Raises:
            ClosedError: The store is closed.
            BackendError: See `search`.
        """
        valid = [(name, span) for name, span in passages if is_unicode(name)]
        there = self._engine.passages_at(valid, self.dim)
        return [there[item].embedding if item in there else None for item in passages]

    def close(self) -> None:
        """Close the engine; a second time does nothing. Afterwards nothing can be asked."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @property
    def _engine(self) -> Engine:
        if self._open is None:
            raise ClosedError("the store is closed; open it again to use it.")
        return self._open

    def _check_parameters(self, parameters: SearchParameters) -> None:
        defaults = {item.name: item.default for item in fields(SearchParameters)}
        for name in _EMBEDDED_ONLY:
            value = getattr(parameters, name)
            if value != defaults[name]:
                raise UnsupportedError(
                    f"{name} is for an index in this process, {self._engine.name} has nothing of "
                    f"the kind; got {value!r}. Leave it out, or search an index folder."
                )

    def _present(self, document_ids: Sequence[str]) -> set[str]:
        """Return those of the ids whose documents are there."""
        present: set[str] = set()
        for first in range(0, len(document_ids), _BATCH):
            batch = document_ids[first : first + _BATCH]
            present.update(self._engine.known([item for item in batch if is_unicode(item)]))
        return present

    def _hits(
        self,
        query: NDArray[np.float32],
        k: int,
        condition: Any,
        exact: bool,
        parameters: SearchParameters,
    ) -> list[Hit]:
        candidates = k if exact else max(k, parameters.candidates or max(_CANDIDATES, 10 * k))
        best = self._best(query, candidates, condition, exact)
        parts = {item.document_id: [item] for item in best}
        # A search finds some of a document's passages, and an approximate one scores roughly.
        again = [item for item in best if item.passages > 1 or not exact]
        if again:
            only = self._engine.documents_in([item.document_id for item in again])
            parts |= {item.document_id: [] for item in again}
            limit = sum(item.passages for item in again)
            for item in self._engine.nearest(query, limit, only, True):
                parts[item.document_id].append(item)
        ranked = [
            sorted(found, key=lambda item: (-item.score, item.passage))
            for found in parts.values()
            if found  # else it has been deleted since
        ]
        ranked = sorted(ranked, key=lambda found: _rank(found[0]))[:k]
        documents = self._engine.documents([found[0].document_id for found in ranked])
        return [
            _hit(documents[found[0].document_id], found[: parameters.passages])
            for found in ranked
            if found[0].document_id in documents
        ]

    def _best(self, query: NDArray[np.float32], k: int, condition: Any, exact: bool) -> list[Found]:
        """Return the best passages of the best k documents.

        An engine ranks passages. So many are asked for that no document that it left out can be
        among the best k: the last one scores less than the k-th document, or there are no more.
        """
        limit = 1 + k * -(-self.record.passages // max(self.record.documents, 1))
        while True:
            found = self._engine.nearest(query, limit, condition, exact)
            best: dict[str, Found] = {}
            for item in found:
                if item.document_id not in best or item.score > best[item.document_id].score:
                    best[item.document_id] = item
            ranked = sorted(best.values(), key=_rank)
            if len(found) < limit or (
                len(ranked) >= k and min(item.score for item in found) < ranked[k - 1].score
            ):
                return ranked[:k]
            limit *= 2


def _record_of(engine: Engine) -> Record:
    text = engine.read_record()
    if text is None:
        raise BackendNotFoundError(
            f"there is no store at {engine}; push an index to it, or mend the address."
        )
    return Record.from_text(text, str(engine))


def _rank(found: Found) -> tuple[float, int]:
    return -found.score, found.position


def _hit(document: Document, found: Sequence[Found]) -> Hit:
    return Hit(
        document.document_id, found[0].score, document.text, document.title, document.metadata,
        tuple(PassageHit(item.start, item.end, item.score) for item in found),
    )  # fmt: skip
