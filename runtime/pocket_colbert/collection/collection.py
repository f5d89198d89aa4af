"""A collection: documents in a folder, added and searched by one object."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, overload

from pocket_colbert.checks import check_query, shown
from pocket_colbert.collection.records import Columns, documents_of, id_of_text, is_sized
from pocket_colbert.collection.results import SNIPPET_LENGTH, FindSnippets, Results
from pocket_colbert.collection.values import id_of, ids_of, is_one, plain_filter, scalar
from pocket_colbert.config import HYBRID, Hybrid, IndexConfig, SearchParameters
from pocket_colbert.errors import ClosedError, DuplicateIdError, IndexExistsError, InvalidInputError
from pocket_colbert.index.directory import is_index
from pocket_colbert.index.index import Index
from pocket_colbert.ingest.folder_walk import FileRules
from pocket_colbert.ingest.indexing import sync_files
from pocket_colbert.ingest.left_out import LeftOut
from pocket_colbert.ingest.readers import Reading
from pocket_colbert.ingest.sources import counts_by_source, ids_where
from pocket_colbert.model.encoder import Encoder, Progress
from pocket_colbert.model.folder import DEFAULT_MODEL, bundled_model_of
from pocket_colbert.retriever import Retriever
from pocket_colbert.search.explanation import explain_match
from pocket_colbert.search.highlights import whole_word
from pocket_colbert.search.snippets import snippet
from pocket_colbert.types import Document, Hit, Query, Span

_BATCH = 256
"""Documents encoded at a time."""

_SECONDS = 10.0
"""Time between two commits while documents come in one after the other."""


@dataclass(frozen=True)
class FilesReport:
    """What `Collection.add_files` did.

    Examples:
        >>> from pathlib import Path
        >>> from pocket_colbert import Collection
        >>> Path("bees.txt").write_text("Bees swarm in May.")
        18
        >>> report = Collection(model="tiny").add_files("bees.txt")
        >>> report.added, report.left_out
        (1, ())

    Attributes:
        added: Number of new documents.
        changed: Number of documents that have changed.
        unchanged: Number of documents left as they were.
        deleted: Number of documents whose files are gone.
        left_out: The files that were not read, each with its reason.
    """

    added: int
    changed: int
    unchanged: int
    deleted: int
    left_out: tuple[LeftOut, ...] = ()


class Collection:
    """Documents that can be searched, kept in a folder.

    Every call that adds or deletes has committed when it returns. It opens the folder for reading;
    the first such call makes it the folder's writer, of which there is one at a time, until
    `close` or the end of a `with` block. Any number of collections, in any number of processes, may
    search the folder meanwhile. Any number of threads may use one collection.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection("notes.index")
        >>> notes.add(["The roof is repaired by the landlord.", "Rent is due on the first."])
        2
        >>> notes.search("who fixes the roof?")[0].text
        'The roof is repaired by the landlord.'

    What is underneath can be reached: `retriever`, `encoder` and `index`.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        model: str | os.PathLike[str] | Encoder | None = None,
        config: IndexConfig | None = None,
        threads: int | None = None,
    ) -> None:
        """Open a folder, or make it when there is none.

        Args:
            folder: Where the collection is, or is to be. None keeps it in memory.
            model: A bundled model's name, a model folder, or an encoder; by default the one that
                the folder was made with, for a new one "small".
            config: The settings of a new collection; its `dim` and `model` must be the model's.
            threads: Threads to use, by default one a usable core.

        Raises:
            IndexExistsError: There is something else at `folder`.
            IndexFormatError: The folder is damaged.
            InvalidInputError: The folder was made with another model; or with one that is not
                bundled, and none is given.
            ModelError: The model cannot be used.
        """
        self._folder = None if folder is None else Path(folder)
        self._lock = threading.Lock()  # for what the attributes below are
        self._writing = threading.Lock()  # for one addition or deletion at a time
        self._closed = False
        self._former: Index | None = None
        index = self._existing(threads)
        encoder = model if isinstance(model, Encoder) else _encoder(model, index, threads)
        if index is None:
            index = self._new(encoder, config, threads)
        elif config is not None and config != index.config:
            index.close()
            raise InvalidInputError(
                f"{folder} was made with other settings; leave config out, or use another folder."
            )
        try:
            self._retriever = Retriever(encoder, index)
        except BaseException:
            index.close()
            raise
        self._writable = self._folder is None

    def add(
        self,
        documents: object,
        *,
        ids: object = None,
        titles: object = None,
        metadata: object = None,
        text: str | None = None,
        id: str | None = None,  # noqa: A002
        title: str | None = None,
        replace: bool = False,
        progress: Progress | None = None,
    ) -> int:
        """Add documents, and commit.

        Args:
            documents: A text, a `Document` or a dictionary, or many of them: any iterable, a table
                of pandas, polars or Arrow, a column of one, or a dataset of Hugging Face. Keys and
                columns besides text, id and title become metadata; dates become ISO 8601.
            ids: An id each, texts or whole numbers. By default an id is made from the text, and a
                text that is there already is passed over.
            titles: A title each, or None.
            metadata: A dictionary each, or one for all.
            text: Name of the key or column that holds the text; by default `text`, `content`,
                `body`, `page_content`, `document` or `passage`, whichever there is.
            id: Name of the one that holds the id; by default `id`, `_id`, `document_id` or
                `doc_id`.
            title: Name of the one that holds the title; by default `title`.
            replace: Whether documents take the place of those that have their ids.
            progress: Called with the number of documents done and of all that are known.

        Returns:
            How many documents were added or replaced.

        Raises:
            InvalidInputError: A document is of no such kind, or a list has another length. Of
                lists and tables nothing is added then; what an iterator gave before stays, as does
                what was added before an interruption.
            DuplicateIdError: An id is there already, or comes twice; see `replace`.
            IndexLockedError: Another process writes to the folder.
            ClosedError: The collection is closed.
        """
        columns = Columns(text=text, document_id=id, title=title)
        made = documents_of(documents, columns=columns, ids=ids, titles=titles, metadata=metadata)
        listed = list(made) if is_sized(documents) else None
        with self._writing:
            retriever, index = self._for_writing()
            if listed is not None and not replace:
                listed = _new_ones(listed, index)
            total = None if listed is None else len(listed)
            added, since = 0, monotonic()
            remaining = iter(made if listed is None else listed)
            try:
                while batch := list(islice(remaining, _BATCH)):
                    if replace:
                        retriever.upsert(batch)
                    else:
                        batch = _new_ones(batch, index)
                        retriever.add(batch)
                    added += len(batch)
                    if progress is not None:
                        progress(added, added if total is None else total)
                    if monotonic() - since >= _SECONDS:
                        index.commit()
                        since = monotonic()
            finally:
                index.commit()
        return added

    def upsert(self, documents: object, **options: Any) -> int:
        """Add documents in place of those that have their ids; `add` with `replace=True`."""
        return self.add(documents, replace=True, **options)

    def add_files(
        self,
        paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        keep_missing: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> FilesReport:
        """Add files and folders, or bring them up to date when they were added before.

        Args:
            paths: Files and folders of any kind that `pocket-colbert index` reads.
            include: If there are any, only files that match one of these patterns, as in
                .gitignore.
            exclude: Files and folders that match one of these are left out.
            keep_missing: Keep documents whose files are gone.
            progress: Called with the number of documents done.

        Returns:
            How many documents were added, changed, left as they were and deleted, and which files
            were left out and why.

        Raises:
            CorpusError: A path does not exist or has no documents.
            IndexLockedError: Another process writes to the folder.
            ClosedError: The collection is closed.
        """
        listed = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
        rules = FileRules(include=_patterns(include), exclude=_patterns(exclude))
        reading = Reading(rules=rules)
        with self._writing:
            retriever, _ = self._for_writing()
            report = sync_files(
                retriever, [Path(path) for path in listed], self._folder or Path.cwd() / "memory",
                reading, keep_missing=keep_missing, progress=progress,
            )  # fmt: skip
        return FilesReport(
            report.added, report.changed, report.unchanged, report.deleted, tuple(reading.left_out)
        )

    @overload
    def search(
        self,
        query: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        min_relevance: float | None = None,
        parameters: SearchParameters | None = None,
    ) -> Results: ...

    @overload
    def search(
        self,
        query: list[str] | tuple[str, ...],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        min_relevance: float | None = None,
        parameters: SearchParameters | None = None,
    ) -> list[Results]: ...

    @overload
    def search(
        self,
        query: Iterable[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        min_relevance: float | None = None,
        parameters: SearchParameters | None = None,
    ) -> Results | list[Results]: ...

    def search(
        self,
        query: Iterable[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        min_relevance: float | None = None,
        parameters: SearchParameters | None = None,
    ) -> Results | list[Results]:
        """Find the best documents for a query, or for each of several.

        Args:
            query: One text, or several: a list, a column, any iterable.
            k: How many documents a query at most.
            where: What the metadata must be: `{"year": 2020}`, `{"tag": {"$in": ["a", "b"]}}`,
                `{"published": {"$gte": date(2024, 1, 1)}}`.
            hybrid: Whether keywords count too; or how, see `SearchParameters.hybrid`.
            min_relevance: Relevance that hits have at least, from 0 to 1.
            parameters: How to search, instead of `hybrid`.

        Returns:
            The hits, best first; a list of such lists for several queries.

        Raises:
            InvalidInputError: A query is blank, or an argument breaks its rule.
            ClosedError: The collection is closed.
        """
        single = isinstance(query, str) or not isinstance(query, Iterable)
        queries: list[Any] = [query] if single else list(query)
        if not isinstance(hybrid, bool) and hybrid not in HYBRID:
            raise InvalidInputError(
                f"hybrid must be true, false or one of {', '.join(HYBRID)}, got {shown(hybrid)}."
            )
        if parameters is None:
            mode: Hybrid = ("rrf" if hybrid else "auto") if isinstance(hybrid, bool) else hybrid
            parameters = SearchParameters(hybrid=mode)
        elif hybrid is not False:
            raise InvalidInputError("give hybrid or parameters, got both.")
        retriever = self._for_reading()
        asked = retriever.encoder.queries(queries)
        found = retriever.retrieve(
            asked, scalar(k), parameters=parameters, where=plain_filter(where),
            min_relevance=scalar(min_relevance),
        )  # fmt: skip
        results = [
            Results(str(each.text), hits, hits.truncated, self._snippets_for(each))
            for each, hits in zip(asked, found, strict=True)
        ]
        return results[0] if single else results

    async def asearch(
        self,
        query: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        hybrid: bool | Hybrid = False,
        min_relevance: float | None = None,
        parameters: SearchParameters | None = None,
    ) -> Results:
        """Search for one query in another thread, so that an event loop goes on; see `search`."""
        check_query(query)
        return await asyncio.to_thread(
            lambda: self.search(
                query, k, where=where, hybrid=hybrid, min_relevance=min_relevance,
                parameters=parameters,
            )
        )  # fmt: skip

    async def aadd(self, documents: object, **options: Any) -> int:
        """Add documents in another thread; see `add`."""
        return await asyncio.to_thread(self.add, documents, **options)

    @overload
    def get(self, ids: str | int) -> Document: ...

    @overload
    def get(self, ids: list[str] | list[int] | tuple[str | int, ...]) -> list[Document]: ...

    @overload
    def get(self, ids: Iterable[str | int]) -> Document | list[Document]: ...

    def get(self, ids: str | int | Iterable[str | int]) -> Document | list[Document]:
        """Return a document by its id, or a list of them by several ids.

        Raises:
            DocumentNotFoundError: There is no document of an id.
            InvalidInputError: An id is neither a text nor a whole number.
        """
        index = self.index
        found = [index.get(item) for item in ids_of(ids)]
        return found[0] if is_one(ids) else found

    def delete(
        self,
        ids: str | int | Iterable[str | int | Document | Hit] | None = None,
        *,
        where: Mapping[str, Any] | None = None,
    ) -> int:
        """Delete documents, and commit.

        Args:
            ids: An id, or several; documents and hits stand for their ids. One that is not there
                is passed over.
            where: What the metadata of those to be deleted must be, see `search`; of files, `path`
                is their path in the folder that was added.

        Returns:
            How many were deleted.

        Raises:
            InvalidInputError: Neither or both are given, an id is neither a text nor a whole
                number, or `where` is empty or no filter.
            IndexLockedError: Another process writes to the folder.
        """
        if (ids is None) == (where is None):
            raise InvalidInputError("delete needs ids or where, one of the two.")
        if where is not None and not where:
            raise InvalidInputError(
                "where must name what to delete, got an empty filter, which matches everything."
            )
        with self._writing:
            _, index = self._for_writing()
            wanted = plain_filter(where)
            chosen = ids_of(ids) if wanted is None else ids_where(index, wanted)
            deleted = index.delete(chosen)
            index.commit()
        return deleted

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self.index)

    def __contains__(self, document_id: object) -> bool:
        try:
            return id_of(document_id, "an id") in self.index
        except InvalidInputError:
            return False

    def __iter__(self) -> Iterator[Document]:
        """Iterate over the documents in the order in which they were added."""
        return iter(self.index)

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *error: object) -> None:
        """Close; every call has committed what it did."""
        self.close()

    def __repr__(self) -> str:
        where = "in memory" if self._folder is None else str(self._folder)
        size = "closed" if self._closed else f"{len(self)} documents"
        return f"<Collection {where}: {size}>"

    @property
    def folder(self) -> Path | None:
        """Where the collection is; None in memory."""
        return self._folder

    @property
    def encoder(self) -> Encoder:
        """The encoder."""
        return self._retriever.encoder

    @property
    def retriever(self) -> Retriever:
        """The retriever, which searches the index with the encoder."""
        return self._for_reading()

    @property
    def index(self) -> Index:
        """The index as it is now."""
        index = self._for_reading().index
        assert isinstance(index, Index)
        return index

    @property
    def sources(self) -> Mapping[str, int]:
        """How many documents there are from each folder or file; "" for those from elsewhere."""
        return counts_by_source(self.index)

    def close(self) -> None:
        """Let searches and additions end, and let the next writer in; twice does no harm."""
        with self._writing, self._lock:
            self._closed = True
            for index in (self._former, self._retriever.index):
                if isinstance(index, Index):
                    index.close()

    def _existing(self, threads: int | None) -> Index | None:
        folder = self._folder
        if folder is None or not os.path.lexists(folder):
            return None
        if is_index(folder):
            return Index.load(folder, threads=threads)
        if not folder.is_dir() or any(folder.iterdir()):
            raise IndexExistsError(
                f"{folder} is there already and is no collection; use another path."
            )
        return None

    def _new(self, encoder: Encoder, config: IndexConfig | None, threads: int | None) -> Index:
        fingerprint = encoder.card.fingerprint
        config = config or IndexConfig(dim=encoder.dim, model=fingerprint)
        if self._folder is None:
            return Index(encoder.dim, config=config, threads=threads)
        Index.create(self._folder, config, threads=threads).close()
        return Index.load(self._folder, threads=threads)

    def _for_reading(self) -> Retriever:
        """Return the retriever, its index showing what was committed last."""
        with self._lock:
            self._check_open()
            index = self._retriever.index
            assert isinstance(index, Index)
            if not self._writable:
                index.refresh()
            return self._retriever

    def _for_writing(self) -> tuple[Retriever, Index]:
        """Return the retriever and its index, which is the folder's writer from now on."""
        with self._lock:
            self._check_open()
            index = self._retriever.index
            assert isinstance(index, Index)
            if not self._writable:
                assert self._folder is not None
                writer = Index.load(self._folder, writable=True, threads=index.threads)
                # Searches that began with it may still be on their way.
                self._former = index
                self._retriever = Retriever(self._retriever.encoder, writer)
                self._writable = True
                index = writer
            return self._retriever, index

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self._folder or 'the collection'} is closed; open it again.")

    def _snippets_for(self, query: Query) -> FindSnippets:
        def find(hits: Sequence[Hit]) -> Sequence[tuple[Span, Sequence[Span]]]:
            with_text = [hit for hit in hits if hit.text]  # others have only a title
            passages = iter(self._for_reading().matched_passages(with_text) if with_text else [])
            found: list[tuple[Span, Sequence[Span]]] = []
            for hit in hits:
                if not hit.text:
                    found.append(((0, 0), ()))
                    continue
                passage = next(passages)
                marks = [
                    whole_word(hit.text, match.document_span)
                    for match in explain_match(query, passage).matches
                    if match.document_span is not None and match.share * match.weight > 0
                ]
                found.append((snippet(query, passage, SNIPPET_LENGTH), marks))
            return found

        return find


def _encoder(
    model: str | os.PathLike[str] | None, index: Index | None, threads: int | None
) -> Encoder:
    """Load the model that is asked for, or else the one an index was made with."""
    if model is None and index is not None and index.config.model:
        model = bundled_model_of(index.config.model)
        if model is None:
            folder = index.folder
            index.close()
            raise InvalidInputError(
                f"{folder} was made with a model that is not bundled; name its folder, as in "
                "model='my-model'."
            )
    try:
        name = os.fspath(model) if model is not None else DEFAULT_MODEL
        return Encoder.load(name, threads=threads)
    except BaseException:
        if index is not None:
            index.close()
        raise


def _new_ones(documents: list[Document], index: Index) -> list[Document]:
    """Leave out texts that are in the index already, or twice, under ids made from themselves.

    Raises:
        DuplicateIdError: Any other id is there already, or comes twice.
    """
    seen: set[str] = set()
    new = []
    for document in documents:
        name = document.document_id
        if name in seen or name in index:
            if name == id_of_text(document.text or "", document.title):
                continue
            raise DuplicateIdError(
                f"document id {name!r} is {'given twice' if name in seen else 'there already'}; "
                "upsert replaces documents."
            )
        seen.add(name)
        new.append(document)
    return new


def _patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)
