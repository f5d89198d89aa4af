"""Text in, hits out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pocket_colbert.config import SearchParameters
from pocket_colbert.encoder import Encoder
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.index import Index
from pocket_colbert.maxsim import maxsim_pairwise
from pocket_colbert.results import Hit
from pocket_colbert.selection import top_k


class Retriever:
    """An encoder and, for `retrieve`, an index whose documents it encoded."""

    def __init__(self, encoder: Encoder, index: Index | None = None) -> None:
        """Put the two together.

        Args:
            encoder: Encodes queries, and documents to rerank.
            index: Holds documents that this encoder's model encoded; not needed for `rerank`.

        Raises:
            InvalidInputError: The index holds vectors of another width or another model.
        """
        if index is not None:
            if index.dim != encoder.dim:
                raise InvalidInputError(
                    f"the index must hold vectors of {encoder.dim} dimensions, got {index.dim}."
                )
            models = {index.config.model, encoder.card.fingerprint}
            if "" not in models and len(models) > 1:
                raise InvalidInputError(
                    "the index was made with another model: it has fingerprint "
                    f"{index.config.model[:12]}, this encoder {encoder.card.fingerprint[:12]}. "
                    "Load the model it was made with, or index the documents again."
                )
        self.encoder = encoder
        self.index = index

    def retrieve(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        parameters: SearchParameters | None = None,
        subset: Iterable[str] | None = None,
    ) -> list[list[Hit]]:
        """Find the best documents of the index for each query.

        Args:
            queries: The queries.
            k: How many documents a query at most.
            parameters: How to search.
            subset: Ids of the documents to choose from; all of them are scored.

        Returns:
            One list of hits a query, best first.

        Raises:
            InvalidInputError: There is no index, or an argument breaks its rule.
        """
        if self.index is None:
            raise InvalidInputError("retrieve needs an index, got Retriever(encoder, index=None).")
        return self.index.search(
            self.encoder.encode_query(queries), k, parameters=parameters, subset=subset
        )

    def rerank(
        self, query: str, documents: Sequence[str] | Mapping[str, str], k: int | None = None
    ) -> list[Hit]:
        """Order texts by their MaxSim with a query; no index is needed.

        Documents that are in the index need no encoding: see `rerank_ids`.

        Args:
            query: The query.
            documents: Texts, whose ids are then "0", "1", ..., or a mapping of ids to texts.
            k: How many to return at most, all by default.

        Returns:
            Hits with texts, best first, equal scores in the order given.

        Raises:
            InvalidInputError: An argument breaks its rule.
        """
        if not isinstance(query, str):
            raise InvalidInputError(f"query must be a string, got {type(query).__name__}.")
        if k is not None and (not isinstance(k, int) or k < 1):
            raise InvalidInputError(f"k must be a whole number >= 1, got {k!r}.")
        if isinstance(documents, Mapping):
            ids, texts = list(documents), list(documents.values())
        else:
            texts = documents if isinstance(documents, str) else list(documents)  # type: ignore[assignment]
            ids = [str(position) for position in range(len(texts))]
        embeddings = self.encoder.encode_document(texts)
        scores = maxsim_pairwise(self.encoder.encode_query([query])[0], embeddings)
        best = top_k(scores, len(texts) if k is None else k)
        return [Hit(ids[n], float(scores[n]), texts[n]) for n in best]

    def rerank_ids(
        self, query: str, document_ids: Iterable[str], k: int | None = None
    ) -> list[Hit]:
        """Order documents of the index, as another search found them, by MaxSim with a query.

        Only the query is encoded; the documents' stored token vectors are scored.

        Args:
            query: The query.
            document_ids: Their ids.
            k: How many to return at most, all by default.

        Returns:
            Hits, best first, equal scores in the order of insertion into the index. Documents
            without token vectors are left out.

        Raises:
            InvalidInputError: There is no index, an id is not in it, or an argument breaks its
                rule.
        """
        if not isinstance(query, str):
            raise InvalidInputError(f"query must be a string, got {type(query).__name__}.")
        if isinstance(document_ids, str):
            raise InvalidInputError("document_ids must be a list of strings, got one string.")
        wanted = list(document_ids)
        if not wanted:
            return []
        return self.retrieve([query], k if k is not None else len(wanted), subset=wanted)[0]
