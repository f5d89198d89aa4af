"""Search what was pushed to another engine, with an index's methods and ranking."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.backends.engine import Engine, PassageMatch
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
from pocket_colbert.sections import headings_of
from pocket_colbert.storage.filters import is_unicode, parse_filter
from pocket_colbert.types import Document, Hit, Passage, PassageHit, Span

_INDEX_ONLY = ("hybrid", "word_starts", "lookups", "query_tokens", "query_tolerance")
"""Search parameters for keywords and inverted files, which only an index has."""

_CANDIDATES = 100
"""Least number of documents that an approximate search scores exactly by default."""

_BATCH = 500


class RemoteBackend:
    """A read-only backend that searches what `push` wrote to an engine.

    It ranks as the pushed index does in exact search, up to the rounding of the engine's
    arithmetic. Any number can be open at once.

    Attributes:
        config: Settings of the pushed index.
        record: The backend's record.
    """

    def __init__(self, engine: Engine, *, incomplete: bool = False) -> None:
        """Open a backend; `close` closes the engine.

        Args:
            engine: The engine, see `engine_at`.
            incomplete: Search even while a push is under way or after one was interrupted, when
                any document may be missing, old or new.

        Raises:
            BackendNotFoundError: Nothing has been pushed to the engine.
            BackendError: The engine cannot be reached, or what is there is incomplete or damaged.
        """
        self._open: Engine | None = engine
        self._incomplete = incomplete
        self.record: Record = _record_of(engine)
        self.config: IndexConfig = self.record.config
        if not self.record.complete and not incomplete:
            raise BackendError(
                f"{engine} is incomplete: a push to it is under way or was interrupted. Wait, or "
                "push again to resume. To search what is there so far, open it with "
                "incomplete=True (--incomplete)."
            )

    def __enter__(self) -> RemoteBackend:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        engine = self._open or "closed"
        return f"<RemoteBackend {engine}: {len(self)} documents of {self.dim} dimensions>"

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
        """The address, without any key."""
        return str(self._engine)

    def refresh(self) -> bool:
        """Show what was pushed since.

        LanceDB shows the last complete state until this is called, and keeps showing it while a
        push is under way or after one was interrupted (unless opened with `incomplete`). A Qdrant
        server shows documents as they arrive; `record` is as of the last call and says whether
        they are complete.

        Returns:
            True if anything changed.

        Raises:
            ClosedError: The backend is closed.
            BackendNotFoundError: See `__init__`. What was shown before is still shown.
            BackendError: See `__init__`; also if it was created again with another model.
                What was shown before is still shown.
        """
        latest = self._engine.latest()
        record = _record_of(latest)
        if record.config.model != self.config.model or record.config.dim != self.dim:
            raise BackendError(f"{latest} was created again with another model; open it again.")
        if not (record.complete or self._incomplete or latest is self._engine):
            return False
        changed = record != self.record
        self._open, self.record, self.config = latest, record, record.config
        return changed

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
            k: Maximum number of documents per query.
            parameters: Mode "exact" scores every document. "approximate" and "auto" use the
                engine's own index if it was pushed with one, then score the best `candidates`
                documents exactly (by default ten times k, at least 100). `passages` works as in
                an index.
            where: See `filters.parse_filter`.
            subset: Ids of the only documents to consider; all of them are scored.
            texts: Ignored: engines hold no keywords.

        Returns:
            One list of hits per query, best first, equal scores in the order in which the
            documents were pushed.

        Raises:
            ClosedError: The backend is closed.
            UnsupportedError: The engine has no such filter, or a parameter is for keywords or
                inverted files.
            InvalidInputError: See `Index.search`.
            BackendError: The engine cannot be reached or rejects the request.
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
            check_present(ids, self._present(ids), "backend")
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
            ClosedError: The backend is closed.
            DocumentNotFoundError: There is no document with that id.
            BackendError: See `search`.
        """
        documents = self.find([document_id])
        if document_id not in documents:
            raise self._not_found(document_id)
        return documents[document_id]

    def find(self, document_ids: Sequence[str]) -> dict[str, Document]:
        """Return the documents with these ids in one request, leaving out ids that are not there.

        Raises:
            ClosedError: The backend is closed.
            BackendError: See `search`.
        """
        return self._engine.documents([item for item in document_ids if is_unicode(item)])

    def passages(self, document_id: str) -> list[Passage]:
        """Return a document's passages with their token vectors as the engine holds them.

        Args:
            document_id: Id of the document.

        Raises:
            ClosedError: The backend is closed.
            DocumentNotFoundError: There is no document with that id.
            BackendError: See `search`.
        """
        engine, passages = self._engine, None
        if is_unicode(document_id):
            passages = engine.passages(document_id, self.dim)
        if passages is None:
            raise self._not_found(document_id)
        return passages

    def passage_embeddings(
        self, passages: Sequence[tuple[str, Span]]
    ) -> list[NDArray[np.float32] | None]:
        """Return the token vectors of some passages, fetched together.

        Args:
            passages: The id of a document and the span of one of its passages, each, as in `Hit`.

        Returns:
            One (num_tokens, dim) float32 array per passage, None if there is no such passage.

        Raises:
            ClosedError: The backend is closed.
            BackendError: See `search`.
        """
        valid = [(name, span) for name, span in passages if is_unicode(name)]
        stored = self._engine.passages_at(valid, self.dim)
        return [stored[item].embedding if item in stored else None for item in passages]

    def word_counts(self, words: Sequence[str]) -> tuple[dict[str, float], int]:
        """Return no counts: engines do not say them; relevance takes words as a language does."""
        return {}, 0

    def close(self) -> None:
        """Close the engine. Using the backend afterwards raises ClosedError; closing again is fine.

        A `with` block closes it too.
        """
        if self._open is not None:
            self._open.close()
            self._open = None

    @property
    def _engine(self) -> Engine:
        if self._open is None:
            raise ClosedError("the backend is closed; open it again to use it.")
        return self._open

    def _not_found(self, document_id: object) -> DocumentNotFoundError:
        return DocumentNotFoundError(f"no document {document_id!r} in {self._engine}.")

    def _check_parameters(self, parameters: SearchParameters) -> None:
        defaults = {item.name: item.default for item in fields(SearchParameters)}
        for name in _INDEX_ONLY:
            value = getattr(parameters, name)
            if value != defaults[name] and (name, value) != ("hybrid", "off"):
                raise UnsupportedError(
                    f"{name} works only for an index in this process, not for "
                    f"{self._engine.name}, got {value!r}. Leave it out, or search an index folder."
                )

    def _present(self, document_ids: Sequence[str]) -> set[str]:
        """Return the ids whose documents are there."""
        present: set[str] = set()
        for first in range(0, len(document_ids), _BATCH):
            batch = document_ids[first : first + _BATCH]
            present.update(
                self._engine.document_states([item for item in batch if is_unicode(item)])
            )
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
        matches = {item.document_id: [item] for item in best}
        # Score again where the first search may have missed passages or scored approximately.
        again = [item for item in best if item.passages > 1 or not exact]
        if again:
            only = self._engine.documents_in([item.document_id for item in again])
            matches |= {item.document_id: [] for item in again}
            limit = sum(item.passages for item in again)
            for item in self._engine.nearest(query, limit, only, True):
                matches[item.document_id].append(item)
        ranked = [
            sorted(passages, key=lambda item: (-item.score, item.passage))
            for passages in matches.values()
            if passages  # none if the document has been deleted in between
        ]
        ranked = sorted(ranked, key=lambda passages: _rank(passages[0]))[:k]
        documents = self._engine.documents([passages[0].document_id for passages in ranked])
        return [
            _hit(documents[passages[0].document_id], passages[: parameters.passages])
            for passages in ranked
            if passages[0].document_id in documents
        ]

    def _best(
        self, query: NDArray[np.float32], k: int, condition: Any, exact: bool
    ) -> list[PassageMatch]:
        """Return the best passage of each of the best k documents.

        Engines rank passages, so ask for more and more of them until no document left out can be
        among the best k: the last passage scores less than the k-th document, or there are no more.
        """
        limit = 1 + k * -(-self.record.passages // max(self.record.documents, 1))
        while True:
            matches = self._engine.nearest(query, limit, condition, exact)
            best: dict[str, PassageMatch] = {}
            for item in matches:
                if item.document_id not in best or item.score > best[item.document_id].score:
                    best[item.document_id] = item
            ranked = sorted(best.values(), key=_rank)
            if len(matches) < limit or (
                len(ranked) >= k and min(item.score for item in matches) < ranked[k - 1].score
            ):
                return ranked[:k]
            limit *= 2


def _record_of(engine: Engine) -> Record:
    text = engine.read_record()
    if text is None:
        raise BackendNotFoundError(
            f"nothing has been pushed to {engine}; push an index to it, or correct the address."
        )
    return Record.from_text(text, str(engine))


def _rank(match: PassageMatch) -> tuple[float, int]:
    return -match.score, match.position


def _hit(document: Document, matches: Sequence[PassageMatch]) -> Hit:
    return Hit(
        document.document_id, matches[0].score, document.text, document.title, document.metadata,
        tuple(
            PassageHit(
                item.start, item.end, item.score,
                headings_of(document.sections, item.start, item.end),
            )
            for item in matches
        ),
    )  # fmt: skip
