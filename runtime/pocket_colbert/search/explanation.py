"""Why a document matched: which of its tokens, and where they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.types import Token


@dataclass(frozen=True)
class TokenMatch:
    """A query token and the document token that is nearest to it.

    Attributes:
        query_token: Its part of the query, or its name, such as "[CLS]" or "[MASK]".
        query_span: Where it stands in the query, in characters; None for one with a name only.
        document_token: The document token's part of the text or title, or its name.
        document_span: Where it stands in the document's text, in characters; None when it is of
            the title or has a name only.
        similarity: Their cosine, which is what it adds to the score.
        share: Its part, from 0 to 1, of what the words of the query add to the score. The tokens
            without a place in the query have none: markers, and the [MASK] tokens that some
            models fill queries up with, add most of many scores and say nothing of the words.
    """

    query_token: str
    query_span: tuple[int, int] | None
    document_token: str
    document_span: tuple[int, int] | None
    similarity: float
    share: float


@dataclass(frozen=True)
class Explanation:
    """What the score of a document is made of.

    Attributes:
        document_id: The document's id.
        score: Its MaxSim, the sum of all similarities.
        start: Where the passage that was scored starts in the document's text, in characters.
        end: Where it ends.
        matches: One a query token, in order; the shares add up to 1 unless no word matched.
    """

    document_id: str
    score: float
    start: int
    end: int
    matches: tuple[TokenMatch, ...]


def explain_match(
    document_id: str,
    query_tokens: Sequence[Token],
    query: NDArray[np.float32],
    document_tokens: Sequence[Token],
    embedding: NDArray[np.float32],
    *,
    start: int,
    end: int,
) -> Explanation:
    """Take a MaxSim apart.

    Args:
        document_id: The document's id.
        query_tokens: From `Encoder.query_tokens`.
        query: (query_tokens, dim) float32, what `Encoder.encode_query` gives.
        document_tokens: From `Encoder.document_tokens` for the passage, its spans being in that.
        embedding: (num_tokens, dim) float32, the passage's vectors, one a document token.
        start: Where the passage starts in the document's text.
        end: Where it ends.

    Returns:
        The explanation. Of equally near tokens it names the first.

    Raises:
        InvalidInputError: There is not one vector a token, or there are no document tokens.
    """
    similarities = similarities_of(query_tokens, query, document_tokens, embedding)
    nearest = similarities.argmax(axis=1)
    best = similarities.max(axis=1)
    score = float(best.sum(dtype=np.float32))
    shares = _shares(query_tokens, best)
    matches = []
    for token, place, similarity, share in zip(
        query_tokens, nearest, best.tolist(), shares.tolist(), strict=True
    ):
        match = document_tokens[place]
        span = match.span and (start + match.span[0], start + match.span[1])
        matches.append(TokenMatch(token.label, token.span, match.label, span, similarity, share))
    return Explanation(document_id, score, start, end, tuple(matches))


def _shares(query_tokens: Sequence[Token], best: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of each query token, (query_tokens,) float64; see `TokenMatch.share`."""
    words = np.array([token.span is not None for token in query_tokens], dtype=bool)
    # What is unlike all of a passage takes from the score; it is no part of why it was found.
    parts = np.where(words, np.maximum(best, 0), 0).astype(np.float64)
    total = parts.sum()
    return parts / total if total else parts


def similarities_of(
    query_tokens: Sequence[Token],
    query: NDArray[np.float32],
    document_tokens: Sequence[Token],
    embedding: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Check that tokens and vectors fit, and return their dot products."""
    if len(query_tokens) != len(query) or len(document_tokens) != len(embedding):
        raise InvalidInputError(
            f"there must be one vector a token, got {len(query)} for {len(query_tokens)} query "
            f"tokens and {len(embedding)} for {len(document_tokens)} document tokens: pruned or "
            "pooled vectors cannot be explained, encode the passage again."
        )
    if not len(embedding):
        raise InvalidInputError("the document has no token vectors, so nothing matched.")
    return query @ embedding.T
