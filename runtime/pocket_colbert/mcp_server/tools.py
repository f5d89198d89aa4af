"""What an agent can do with an index, as texts that cost few tokens."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from pocket_colbert.backend import Backend
from pocket_colbert.checks import check_whole_number
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.index.reader import IndexReader
from pocket_colbert.ingest.extracted import place_in_file
from pocket_colbert.ingest.sources import counts_by_source
from pocket_colbert.retriever import Retriever
from pocket_colbert.types import Hit, Span

SNIPPET = 300
"""Characters of a snippet at most."""

MOST_HITS = 50
MOST_CHARACTERS = 20_000
_CHARACTERS = 4_000


class Tools:
    """The tools, for any number of threads.

    Each shows what was committed to the index last.
    """

    def __init__(self, retriever: Retriever) -> None:
        """Hold a retriever with an index or a backend."""
        self._retriever = retriever
        self._refreshing = threading.Lock()

    def search(self, query: str, k: int = 5, where: Mapping[str, Any] | None = None) -> str:
        """Find passages by meaning.

        Args:
            query: What is asked.
            k: How many documents at most.
            where: A filter on metadata.

        Returns:
            For each document its id, where the passage is, its headings and a snippet.

        Raises:
            InvalidInputError: An argument breaks its rule.
        """
        check_whole_number("k", k, most=MOST_HITS)
        self._refresh()
        asked = self._retriever.encoder.query(query)
        hits = self._retriever.retrieve([asked], k, where=where)[0]
        if not hits:
            return "Nothing found."
        shown = [hit for hit in hits if hit.text is not None]
        spans = dict(
            zip(
                (hit.document_id for hit in shown),
                self._retriever.snippets(asked, shown, SNIPPET),
                strict=True,
            )
        )
        return "\n\n".join(_shown(hit, spans.get(hit.document_id)) for hit in hits)

    def read(self, document: str, start: int = 0, length: int = _CHARACTERS) -> str:
        """Return a part of a document's text.

        Args:
            document: Its id.
            start: The first character.
            length: How many characters at most.

        Raises:
            DocumentNotFoundError: There is no document of that id.
            InvalidInputError: An argument breaks its rule, or start is behind the text's end.
        """
        check_whole_number("start", start, least=0)
        check_whole_number("length", length, most=MOST_CHARACTERS)
        self._refresh()
        text = self._backend.get(document).text or ""
        if start and start >= len(text):
            raise InvalidInputError(f"start must be below {len(text)}, the text's length.")
        part = text[start : start + length]
        left = len(text) - start - len(part)
        more = f"\n\n[{left} more characters: start={start + len(part)}]" if left else ""
        return part + more

    def sources(self) -> str:
        """Return the number of documents, and from which files and folders they are.

        Raises:
            InvalidInputError: The index is on another engine, which does not know.
        """
        self._refresh()
        index = self._backend
        if not isinstance(index, Index):
            return f"{len(index)} documents"
        counts = counts_by_source(index)
        lines = [f"{count} from {source or 'elsewhere'}" for source, count in counts.items()]
        return "\n".join([f"{len(index)} documents", *lines])

    @property
    def _backend(self) -> Backend:
        if self._retriever.index is None:
            raise InvalidInputError("the tools need a retriever with an index.")
        return self._retriever.index

    def _refresh(self) -> None:
        index = self._backend
        if isinstance(index, IndexReader):
            with self._refreshing:
                index.refresh()


def _shown(hit: Hit, span: Span | None) -> str:
    text = hit.text or ""
    start, end = span or (0, min(len(text), SNIPPET))
    place = place_in_file(hit.document_id, text, hit.metadata, start)
    named = hit.document_id if place == hit.document_id else f"{place} (document {hit.document_id})"
    path = [hit.title or "", *(hit.passages[0].headings if hit.passages else ())]
    headings = " > ".join(dict.fromkeys(part for part in path if part))
    lines = [f"{named}, character {start}", headings, " ".join(text[start:end].split())]
    return "\n".join(line for line in lines if line)
