"""AnswerDotAI's rerankers: a ranker. Needs the `rerankers` extra (rerankers alone, no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pocket_colbert.errors import InvalidInputError, OptionalDependencyError
from pocket_colbert.integrations.common import rerank
from pocket_colbert.model.encoder import Encoder

try:
    from rerankers import Document
    from rerankers.models import AVAILABLE_RANKERS
    from rerankers.models.ranker import BaseRanker
    from rerankers.results import RankedResults, Result
except ImportError as _error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.rerankers", "rerankers") from (
        _error
    )

MODEL_TYPE = "pocket-colbert"
"""The ranker's name in `Reranker(model, model_type=...)` once this module is imported."""


class PocketColbertRanker(BaseRanker):
    """Reranks documents by MaxSim with the query, with the interface of rerankers' own models.

        >>> import pocket_colbert.integrations.rerankers
        >>> ranker = rerankers.Reranker("small", model_type="pocket-colbert", verbose=0)
        >>> ranker.rank("When do bees swarm?", ["Bees swarm in May.", "Knead the dough."])

    It also works on its own: `PocketColbertRanker("small")`, or with a loaded encoder.
    `rank_async` is rerankers' own and runs in a thread.

    Attributes:
        encoder: Encodes the query and the documents.
    """

    def __init__(
        self,
        model_name_or_path: str | Path | Encoder = "small",
        verbose: int = 0,
        *,
        threads: int | None = None,
    ) -> None:
        """Load the model.

        Args:
            model_name_or_path: See `Encoder.load`; or a loaded encoder.
            verbose: Ignored, but `Reranker` passes it; nothing is printed.
            threads: See `Encoder.load`; only without a loaded encoder.

        Raises:
            InvalidInputError: `threads` is given with a loaded encoder; see also `Encoder.load`.
            ModelNotFoundError: See `Encoder.load`.
            ModelFormatError: See `Encoder.load`.
        """
        if isinstance(model_name_or_path, Encoder):
            if threads is not None:
                raise InvalidInputError(
                    f"threads must be None for a loaded encoder, which has its own, got {threads}."
                )
            self.encoder: Encoder = model_name_or_path
        else:
            self.encoder = Encoder.load(model_name_or_path, threads=threads)

    def rank(
        self,
        query: str,
        docs: str | Document | Sequence[str] | Sequence[Document],
        doc_ids: Sequence[str] | Sequence[int] | None = None,
        metadata: Sequence[Mapping[str, object]] | None = None,
    ) -> RankedResults:
        """Order documents of any length; a long one gets the score of its best passage.

        Args:
            query: The query.
            docs: Texts or rerankers' documents, or a single one of either.
            doc_ids: Their ids; defaults to a document's own id, then to its position.
            metadata: Their metadata; defaults to a document's own.

        Returns:
            All documents with score and rank, best first, equal scores in the order given.
            They are copies; the documents passed in do not change.

        Raises:
            InvalidInputError: `query` is not a string, a document is neither a text nor a text
                document, or the number of ids or metadata differs from that of documents.
        """
        single = isinstance(docs, str | Document)
        items = [docs] if single else docs
        documents = [_document(item, position) for position, item in enumerate(items)]
        for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
            if values is not None and len(values) != len(documents):
                raise InvalidInputError(
                    f"{name} must have one item for each of {len(documents)} documents, "
                    f"got {len(values)}."
                )
        for position, document in enumerate(documents):
            if doc_ids is not None:
                document.doc_id = doc_ids[position]
            if metadata is not None:
                document.metadata = dict(metadata[position])
        ranked = rerank(self.encoder, query, [document.text for document in documents], None)
        results = [
            Result(document=documents[position], score=score, rank=rank)
            for rank, (position, score, _) in enumerate(ranked, start=1)
        ]
        return RankedResults(results=results, query=query, has_scores=True)

    def score(self, query: str, doc: str) -> float:
        """Return the MaxSim of one document with a query.

        Args:
            query: The query.
            doc: The document's text.

        Returns:
            The score; for a long text, that of its best passage.

        Raises:
            InvalidInputError: An argument is not a string.
        """
        return rerank(self.encoder, query, [doc], None)[0][1]


def _document(item: object, position: int) -> Document:
    if isinstance(item, str):
        return Document(item, doc_id=position)
    if isinstance(item, Document) and item.document_type == "text":
        doc_id = position if item.doc_id is None else item.doc_id
        return Document(item.text, doc_id=doc_id, metadata=dict(item.metadata))
    kind = getattr(item, "document_type", type(item).__name__)
    raise InvalidInputError(
        f"docs must be texts or text documents, got {kind} at position {position}."
    )


# The only way to register a ranker: `Reranker` looks model types up in this dict.
AVAILABLE_RANKERS[MODEL_TYPE] = PocketColbertRanker
