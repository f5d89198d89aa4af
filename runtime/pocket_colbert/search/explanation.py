"""Why a document matched: which of its tokens, and where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.described_tokens import DescribedTokens
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.search.highlights import Words, match_weights
from pocket_colbert.types import Query, Span, Token
from pocket_colbert.vectors.products import product


@dataclass(frozen=True)
class TokenMatch:
    """A query token and the document token that is nearest to it.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add("The landlord repairs the roof.")
        1
        >>> explanation = notes.retriever.explain("roof", notes.search("roof")[0])
        >>> match = next(item for item in explanation.matches if item.query_token == "roof")
        >>> match.document_token, match.document_span
        ('roof', (25, 29))

    Attributes:
        query_token: Its part of the query, or its name, for example "[CLS]" or "[MASK]".
        query_span: Where it is in the query, in characters; None for one that only has a name.
        document_token: The document token's part of the text or title, or its name.
        document_span: Where it is in the document's text, in characters; None for one that is in
            the title or only has a name.
        similarity: Their cosine, which is what it adds to the score.
        share: Its part, from 0 to 1, of what the words of the query add to the score. It is 0 for
            tokens that are not in the query's text: markers, and the [MASK] tokens that some
            models pad queries with, add most of many scores and say nothing about the words.
        weight: How strongly to mark it in a text, from 0 to 1: by how rare the query token's word
            is. 0 for markers, and for stop words and punctuation on either side unless the query
            has nothing else.
    """

    query_token: str
    query_span: Span | None
    document_token: str
    document_span: Span | None
    similarity: float
    share: float
    weight: float = 1.0


@dataclass(frozen=True)
class Explanation:
    """What the score of a document is made of.

    Examples:
        >>> from pocket_colbert import Collection
        >>> notes = Collection(model="tiny")
        >>> notes.add("The landlord repairs the roof.")
        1
        >>> hit = notes.search("roof repairs")[0]
        >>> explanation = notes.retriever.explain("roof repairs", hit)
        >>> [item.document_token for item in explanation.matches if item.query_span]
        ['roof', 'repairs']

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


@dataclass(frozen=True, eq=False)
class MatchedPassage:
    """A passage of a document with all that explains it: its tokens, and a vector for each.

    Attributes:
        document_id: The document's id.
        start: Where the passage starts in the document's text, in characters.
        text: The passage's text.
        tokens: Its tokens, their spans being in `text`.
        embedding: (num_tokens, dim) float32, one row a token.
        headings: The heading path that it stands under, outermost first.
    """

    document_id: str
    start: int
    text: str
    tokens: Sequence[Token]
    embedding: NDArray[np.float32]
    headings: tuple[str, ...] = ()
    _compared: dict[int, tuple[Query, NDArray[np.float32]]] = field(
        default_factory=dict, init=False, repr=False
    )

    @cached_property
    def spans(self) -> NDArray[np.int64]:
        """Where the tokens are in `text`, (num_tokens, 2); negative for those that are not."""
        if isinstance(self.tokens, DescribedTokens):
            return self.tokens.spans
        spans = [token.span or (-1, -1) for token in self.tokens]
        return np.array(spans, dtype=np.int64).reshape(-1, 2)


def explain_match(query: Query, passage: MatchedPassage) -> Explanation:
    """Take a MaxSim apart.

    Args:
        query: The query.
        passage: What it matched.

    Returns:
        The explanation. Of equally near tokens it names the first.

    Raises:
        InvalidInputError: There is not one vector a token, or there are no document tokens.
    """
    similarities = similarities_of(query, passage)
    nearest = similarities.argmax(axis=1).tolist()
    best = similarities.max(axis=1)
    score = float(best.sum(dtype=np.float32))
    shares = _shares(query.tokens, best)
    words = Words(passage.tokens)
    matched = np.array([words.weight(position) for position in nearest], dtype=np.float32)
    weights = match_weights(query.tokens, matched)
    matches = []
    for token, position, similarity, share, weight in zip(
        query.tokens, nearest, best.tolist(), shares.tolist(), weights.tolist(), strict=True
    ):
        match = words.token(position)
        span = match.span and (passage.start + match.span[0], passage.start + match.span[1])
        matches.append(
            TokenMatch(token.label, token.span, match.label, span, similarity, share, weight)
        )
    end = passage.start + len(passage.text)
    return Explanation(passage.document_id, score, passage.start, end, tuple(matches))


def similarities_of(query: Query, passage: MatchedPassage) -> NDArray[np.float32]:
    """Return the dot products of a query's tokens and a passage's, which are computed once.

    Returns:
        (query_tokens, num_tokens) float32.

    Raises:
        InvalidInputError: See `explain_match`.
    """
    known = passage._compared.get(id(query))
    if known is not None:
        return known[1]
    embedding = passage.embedding
    if len(query.tokens) != len(query.embedding) or len(passage.tokens) != len(embedding):
        raise InvalidInputError(
            f"there must be one vector a token, got {len(query.embedding)} for "
            f"{len(query.tokens)} query tokens and {len(embedding)} for {len(passage.tokens)} "
            "document tokens: pruned or pooled vectors cannot be explained, encode the passage "
            "again."
        )
    if not len(embedding):
        raise InvalidInputError("the document has no token vectors, so nothing matched.")
    similarities = np.ascontiguousarray(product(embedding, query.embedding.T).T)
    similarities.flags.writeable = False
    passage._compared[id(query)] = query, similarities  # the query, so that the id stays its own
    return similarities


def _shares(query_tokens: Sequence[Token], best: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of each query token, (query_tokens,) float64; see `TokenMatch.share`."""
    words = np.array([token.span is not None for token in query_tokens], dtype=bool)
    # What is unlike all of a passage lowers the score; it is no reason why the passage matched.
    parts = np.where(words, np.maximum(best, 0), 0).astype(np.float64)
    total = parts.sum()
    return parts / total if total else parts
