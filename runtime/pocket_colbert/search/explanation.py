"""Why a document matched: which of its tokens, and where they stand."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.tokenizer import Token
from pocket_colbert.text_splitting import SENTENCE, borders


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
    similarities = _similarities(query_tokens, query, document_tokens, embedding)
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


def snippet_weights(
    query_tokens: Sequence[Token],
    query: NDArray[np.float32],
    document_tokens: Sequence[Token],
    embedding: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Weigh what a window of a passage would show of each query token.

    Only query tokens that are part of the query's text count, and by how far a similarity lies
    above the token's mean one: what is near to all of the passage is no reason to show one part
    of it.

    Args:
        query_tokens: See `explain_match`.
        query: See `explain_match`.
        document_tokens: See `explain_match`.
        embedding: See `explain_match`.

    Returns:
        (query tokens with a span, num_tokens) float32, >= 0.

    Raises:
        InvalidInputError: See `explain_match`.
    """
    similarities = _similarities(query_tokens, query, document_tokens, embedding)
    similarities = similarities[[token.span is not None for token in query_tokens]]
    return np.asarray(np.maximum(similarities - similarities.mean(axis=1, keepdims=True), 0))


def best_window(
    text: str, spans: NDArray[np.int64], weights: NDArray[np.float32], length: int
) -> tuple[int, int]:
    """Find the part of a text that shows best why it matched.

    That is the window with the largest MaxSim of weights: of each row the largest weight inside,
    summed. It starts at a sentence if it still holds these tokens then, else at a word, and ends
    at a word.

    Args:
        text: The passage's text.
        spans: (num_tokens, 2) int64, where tokens stand in it; negative for those that do not.
        weights: (rows, num_tokens) float32, >= 0, such as of `snippet_weights`.
        length: Characters it has at most, >= 1.

    Returns:
        (start, end) in the text; of equally good windows the first.

    Raises:
        InvalidInputError: length is below 1.
    """
    if length < 1:
        raise InvalidInputError(f"length must be >= 1, got {length}.")
    if len(text) <= length:
        return 0, len(text)
    low, high = _best_tokens(spans, weights, length)
    before, after, kinds = borders(text, 0, len(text))
    slack = length - (high - low)
    # The last sentence that will do, so that as much as can be follows, or the word that puts the
    # tokens in the middle; earlier where the text ends before the window would.
    sentences, tail = [0, *after[kinds >= SENTENCE].tolist()], len(text) - length
    start = low
    for places, wanted in (
        (sentences, tail),
        ([0, *after.tolist()], min(low - slack // 2, tail)),
    ):
        inside = places[bisect_left(places, low - slack) : bisect_right(places, low)]
        if inside:
            start = inside[min(bisect_left(inside, wanted), len(inside) - 1)]
            break
    ends = [*before.tolist(), len(text)]
    end = ends[bisect_right(ends, start + length) - 1] if ends[0] <= start + length else 0
    return start, max(end, high) if end > start else start + length


def _best_tokens(
    spans: NDArray[np.int64], weights: NDArray[np.float32], length: int
) -> tuple[int, int]:
    """Return where the tokens to show start and end, which `length` has room for."""
    shown = np.flatnonzero(spans[:, 0] >= 0)
    spans, weights = spans[shown], weights[:, shown]
    best, place = 0.0, (0, 0)
    for first, start in enumerate(spans[:, 0]):
        last = int(np.searchsorted(spans[:, 1], start + length, side="right"))
        if last > first:
            window = weights[:, first:last]
            total = float(window.max(axis=1).sum())
            if total > best:
                best = total
                used = first + window.argmax(axis=1)[window.max(axis=1) > 0]
                place = int(spans[used.min(), 0]), int(spans[used.max(), 1])
    return place


def _similarities(
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
