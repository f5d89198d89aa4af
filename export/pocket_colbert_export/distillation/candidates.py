"""Which passages each query is ranked against: by words, by the start's vectors, at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer

_K1, _B = 1.2, 0.75


class KeywordIndex:
    """BM25 over token ids (Robertson & Zaragoza 2009, section 3.2)."""

    def __init__(self, passages: Sequence[NDArray[np.int64]]) -> None:
        """Index passages.

        Args:
            passages: (length,) token ids each.
        """
        self.num_passages = len(passages)
        lengths = np.array([len(ids) for ids in passages], dtype=np.float64)
        numbers = np.repeat(np.arange(len(passages)), lengths.astype(np.int64))
        ids = np.concatenate([np.asarray(item, dtype=np.int64) for item in passages])
        size = int(ids.max(initial=0)) + 1
        cells, counts = np.unique(ids * len(passages) + numbers, return_counts=True)
        terms, self._holders = np.divmod(cells, len(passages))
        self._starts = np.searchsorted(terms, np.arange(size + 1))
        holding = np.diff(self._starts)
        rarity = np.log1p((len(passages) - holding + 0.5) / (holding + 0.5))
        length = _K1 * (1 - _B + _B * lengths / max(float(lengths.mean()), 1e-9))
        weights = counts * (_K1 + 1) / (counts + length[self._holders]) * rarity[terms]
        self._weights = weights.astype(np.float32)
        self._rarity = rarity

    def scores(self, query: NDArray[np.int64]) -> NDArray[np.float32]:
        """Score all passages for a query's token ids, (num_passages,) float32."""
        scores = np.zeros(self.num_passages, dtype=np.float32)
        for term in self._known(query):
            span = slice(self._starts[term], self._starts[term + 1])
            scores[self._holders[span]] += self._weights[span]
        return scores

    def score(self, query: NDArray[np.int64], number: int) -> float:
        """Score one passage for a query's token ids."""
        total = 0.0
        for term in self._known(query):
            span = slice(self._starts[term], self._starts[term + 1])
            position = int(np.searchsorted(self._holders[span], number))
            if position < span.stop - span.start and self._holders[span][position] == number:
                total += float(self._weights[span][position])
        return total

    def coverage(self, query: NDArray[np.int64]) -> float:
        """Return how much of a query's rare words the best passage has, about 0 to 2.

        A word that is in no passage counts as the rarest.
        """
        different = np.unique(query)
        known = self._known(query)
        highest = float(np.log1p(2 * self.num_passages + 1))
        total = float(self._rarity[known].sum()) + highest * (len(different) - len(known))
        return float(self.scores(query).max(initial=0)) / max(total, 1e-9)

    def _known(self, query: NDArray[np.int64]) -> NDArray[np.int64]:
        terms = np.unique(query)
        terms = terms[terms < len(self._rarity)]
        return terms[self._starts[terms + 1] > self._starts[terms]]


def word_ids(item: TokenizedText) -> NDArray[np.int64]:
    """Return the token ids of a text without expansion; markers, in all texts, weigh nothing."""
    ids: NDArray[np.int64] = item.input_ids[item.attention_mask.astype(bool) & item.keep]
    return ids


def keyword_index(tokenizer: Tokenizer, passages: Sequence[str]) -> KeywordIndex:
    """Index passages by the tokens that a model has vectors of."""
    return KeywordIndex([word_ids(tokenizer.tokenize_document(text)) for text in passages])


def candidate_lists(
    queries: Sequence[NDArray[np.int64]],
    keywords: KeywordIndex,
    query_vectors: NDArray[np.float32],
    passage_vectors: NDArray[np.float32],
    own: NDArray[np.int64],
    count: int,
    seed: int,
) -> NDArray[np.int64]:
    """Choose the passages that each query is ranked against.

    A query's own passage comes first. Half of the list are the best by BM25, a third the nearest
    by one vector, the rest are drawn at random, so that a ranking also says what is far away.

    Args:
        queries: Token ids of each query.
        keywords: An index of the passages.
        query_vectors: (queries, dim) float32 unit rows.
        passage_vectors: (passages, dim) float32 unit rows.
        own: (queries,) position of the passage that belongs to each query, -1 for none.
        count: Passages a query, at most as many as there are.
        seed: Decides the random ones.

    Returns:
        (queries, count) positions of passages, different ones in each row.
    """
    generator = np.random.default_rng(seed)
    lists = np.empty((len(queries), count), dtype=np.int64)
    for row, ids in enumerate(queries):
        scores = keywords.scores(ids)
        by_words = np.argsort(-scores, kind="stable")
        by_words = by_words[scores[by_words] > 0][:count]
        by_vector = np.argsort(-(passage_vectors @ query_vectors[row]), kind="stable")[:count]
        chosen: dict[int, None] = {int(own[row]): None} if own[row] >= 0 else {}
        for source, limit in ((by_words, count // 2), (by_vector, count // 2 + count // 3)):
            for number in source.tolist():
                if len(chosen) >= max(limit, 1):
                    break
                chosen[number] = None
        while len(chosen) < count:
            chosen[int(generator.integers(keywords.num_passages))] = None
        lists[row] = list(chosen)
    return lists
