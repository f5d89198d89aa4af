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
except ImportError as error:
    raise OptionalDependencyError.of("pocket_colbert.integrations.rerankers", "rerankers") from (
        error
    )

MODEL_TYPE = "pocket-colbert"
"""What `Reranker(model, model_type=...)` knows the ranker as, once this module is imported."""


class PocketColbertRanker(BaseRanker):
    """Orders documents by MaxSim with the query, as rerankers' own models do.

        >>> import pocket_colbert.integrations.rerankers
        >>> ranker = rerankers.Reranker("small", model_type="pocket-colbert", verbose=0)
        >>> ranker.rank("When do bees swarm?", ["Bees swarm in May.", "Knead the dough."])

    It is a class of its own too: `PocketColbertRanker("small")`, or with a loaded encoder.
    `rank_async` is rerankers' own and ranks in a thread.

    Attributes:
        encoder: Encodes query and documents.
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
            model_name_or_path: See `Encoder.load`; or an encoder that is loaded.
            verbose: Taken because `Reranker` passes it; nothing is printed.
            threads: See `Encoder.load`; not with an encoder.

        Raises:
            InvalidInputError: threads is given with an encoder, see also `Encoder.load`.
            ModelNotFoundError: See `Encoder.load`.
            ModelFormatError: See `Encoder.load`.
        """
        if isinstance(model_name_or_path, Encoder):
            if threads is not None:
                raise InvalidInputError("threads is the encoder's own, got both.")
            self.encoder = model_name_or_path
        else:
            self.encoder = Encoder.load(model_name_or_path, threads=threads)

    def rank(
        self,
        query: str,
        docs: str | Document | Sequence[str] | Sequence[Document],
        doc_ids: Sequence[str] | Sequence[int] | None = None,
        metadata: Sequence[Mapping[str, object]] | None = None,
    ) -> RankedResults:
        """Order documents of any length; a long one has the score of its best passage.

        Args:
            query: The query.
            docs: Texts or rerankers' documents, or one of either.
            doc_ids: Their ids; by default a document's own, else its position.
            metadata: Theirs; by default a document's own.

        Returns:
            All documents with score and rank, best first, equal scores in the order given.
            Documents are new ones: those given are not changed.

        Raises:
            InvalidInputError: query is not a string, a document is neither text nor a text
                document, or there are more or fewer ids or metadata than documents.
        """
        one = isinstance(docs, str | Document)
        documents = [_document(item, place) for place, item in enumerate([docs] if one else docs)]
        for name, values in (("doc_ids", doc_ids), ("metadata", metadata)):
            if values is not None and len(values) != len(documents):
                raise InvalidInputError(
                    f"{name} must have one for each of {len(documents)} documents, "
                    f"got {len(values)}."
                )
        for place, document in enumerate(documents):
            if doc_ids is not None:
                document.doc_id = doc_ids[place]
            if metadata is not None:
                document.metadata = dict(metadata[place])
        found = rerank(self.encoder, query, [document.text for document in documents], None)
        results = [
            Result(document=documents[place], score=score, rank=rank)
            for rank, (place, score) in enumerate(found, start=1)
        ]
        return RankedResults(results=results, query=query, has_scores=True)

    def score(self, query: str, doc: str) -> float:
        """Return the MaxSim of one document with a query.

        Args:
            query: The query.
            doc: The document's text.

        Returns:
            The score; of a long text, that of its best passage.

        Raises:
            InvalidInputError: One of the two is not a string.
        """
        return rerank(self.encoder, query, [doc], None)[0][1]


def _document(item: object, place: int) -> Document:
    if isinstance(item, str):
        return Document(item, doc_id=place)
    if isinstance(item, Document) and item.document_type == "text":
        doc_id = place if item.doc_id is None else item.doc_id
        return Document(item.text, doc_id=doc_id, metadata=dict(item.metadata))
    kind = getattr(item, "document_type", type(item).__name__)
    raise InvalidInputError(f"docs must be texts or text documents, got {kind} at place {place}.")


# rerankers has no other way of registering: `Reranker` looks its types up here.
AVAILABLE_RANKERS[MODEL_TYPE] = PocketColbertRanker
