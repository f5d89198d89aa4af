"""How likely a hit is right, from 0 to 1, whatever the length of the query and the kind of search.

Three measures of a hit's best passage go through a logistic curve that is fitted for each model:
how near the words of the query are to it, its MaxSim, and how far it leads over the hits beside it
by the words that are in it. Words count by their rarity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.config import RelevanceCurve
from pocket_colbert.types import Hit, Query

NEIGHBOURS = 8
"""Other hits that a hit's lead is measured over, the best ones."""

_WORD = re.compile(r"\w+")
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]+")
"""Scripts that put no spaces between words: Thai, Lao, Burmese, Khmer, Japanese and Chinese."""

_ENDINGS = ("ing", "ed", "es", "s", "ly")
_SAY_NOTHING = frozenset(
    "a about after again all also am an and any are as at be because been before being "
    "between both but by can could did do does doing done down during each else ever few for "
    "from further get had has have having he her here hers him his how i if in into is it its "
    "just like made make many may me might more most much must my no nor not now of off on "
    "once only or other our ours out over own please same shall she should so some such tell "
    "than that the their theirs them then there these they this those through to too under "
    "until up us very was way we were what when where which while who whom whose why will "
    "with would you your yours".split()
)
"""Words of English that say nothing about what is asked; the bundled models are for English."""

_IN_OTHER_WORDS = 0.2
"""What a lead counts for that no word of the query is behind."""

_NOTHING_SAID = 0.1
"""Most that a hit's relevance can be for a query of such words alone."""

_MOST_LEAD = 0.015
"""A larger lead says no more: in a small collection all other hits are far behind."""

_PASSAGES = 100
"""Passages of the language at large that the index is taken together with: in a small index the
number of passages that a word is in says little about its rarity."""

_COMMON = 0.02
"""Weight of the most frequent words, see `rarities`."""

_MOST_WORDS = 64
"""Words of a query whose rarity in an index is looked up."""


@dataclass(frozen=True)
class Evidence:
    """What is known of a hit.

    Attributes:
        text: The passage, with the title and headings that it was encoded with.
        similarities: The best cosine of each token of the query; () without token vectors.
        score: MaxSim of the passage.
    """

    text: str
    similarities: Sequence[float]
    score: float


class Measures(NamedTuple):
    """What is measured of a hit.

    Attributes:
        similarity: How near the query's words are to it, at most 1: one minus the root mean square
            of their distances, by weight, so that one far word counts more than two half as far.
        score: MaxSim per token of the query.
        lead: How far that lies above the mean of the hits beside it; it counts the more, the more
            of the query's words, by weight, are in it.
        plain_lead: The same whatever words are in it.
    """

    similarity: float
    score: float
    lead: float
    plain_lead: float


@dataclass(frozen=True)
class _Word:
    """A word of a query.

    Attributes:
        text: The word as it is written.
        tokens: Its tokens.
        rarity: How rare it is in the language, from 0 to 1.
    """

    text: str
    tokens: tuple[int, ...]
    rarity: float


@dataclass(frozen=True, eq=False)
class WeighedQuery:
    """A query whose words are weighed, for the relevance of its hits.

    Attributes:
        query: The query.
        says: Most that the relevance of a hit can be, by what the query's words say.
        token_weights: (query_tokens,) float64, what each token counts.
        word_weights: What each word counts, by its stem.
        pattern: Finds the words in a text; None where none is to be found so.
        runs: Words of scripts without spaces, which are found anywhere.
    """

    query: Query
    says: float
    token_weights: NDArray[np.float64]
    word_weights: Mapping[str, float]
    pattern: re.Pattern[str] | None
    runs: tuple[str, ...]

    def measures(self, hit: Evidence, others: Sequence[float], usual_lead: float = 0) -> Measures:
        """Measure a hit that has token vectors, for a query that has words.

        Args:
            hit: The hit.
            others: MaxSim of the best `NEIGHBOURS` hits beside it; may be none.
            usual_lead: The lead that is taken without others.
        """
        distances = np.maximum(1 - np.asarray(hit.similarities), 0) ** 2
        mean = float(self.token_weights @ distances) / float(self.token_weights.sum())
        tokens = len(hit.similarities)
        lead = (hit.score - sum(others) / len(others)) / tokens if others else usual_lead
        lead = max(min(lead, _MOST_LEAD), -_MOST_LEAD)
        counts = _IN_OTHER_WORDS + (1 - _IN_OTHER_WORDS) * self._shared(hit.text)
        return Measures(1 - math.sqrt(mean), hit.score / tokens, lead * counts, lead)

    def relevance(self, hit: Evidence, others: Sequence[float], curve: RelevanceCurve) -> float:
        """Say how likely a hit is right, see `measures`; 0 without token vectors or words."""
        if not self.says or not len(hit.similarities):
            return 0.0
        measured = self.measures(hit, others, curve.usual_lead)
        value = (
            curve.offset
            + curve.similarity * measured.similarity
            + curve.score * measured.score
            + curve.lead * measured.lead
        )
        return self.says / (1 + math.exp(-min(max(value, -500), 500)))

    def _shared(self, text: str) -> float:
        """Return the share of the query's words, by weight, that are in a text."""
        found = set(self.pattern.findall(text)) if self.pattern else set()
        there = {_stem(word) for word in found}
        there.update(run for run in self.runs if run in text)
        total = sum(self.word_weights.values())
        return sum(w for word, w in self.word_weights.items() if word in there) / (total or 1)


def asked_words(query: Query) -> list[str]:
    """Return the words of a query whose rarity in an index is worth looking up."""
    rare = sorted(
        (word for word in _words(query) if word.text not in _SAY_NOTHING), key=lambda w: -w.rarity
    )
    return list(dict.fromkeys(word.text for word in rare))[:_MOST_WORDS]


def weigh(
    query: Query, counts: Mapping[str, float] | None = None, passages: int = 0
) -> WeighedQuery | None:
    """Weigh the words of a query by their rarity.

    Args:
        query: The query.
        counts: In how many passages of the index each of `asked_words` is; None without an index.
        passages: Passages of the index.

    Returns:
        The weighed query; None for one without `Query.weights`.
    """
    if query.weights is None:
        return None
    counts = counts or {}
    token_weights = np.zeros(len(query.tokens))
    word_weights: dict[str, float] = {}
    words = _words(query)
    for word in words:
        # A vocabulary lists words by frequency; this is about the share of passages they are in.
        usual = 0.19 * math.exp(-6.1 * word.rarity)
        if word.rarity <= _COMMON or word.text in _SAY_NOTHING:
            usual = 0.9
        share = usual
        if word.text in counts:
            share = (counts[word.text] + _PASSAGES * usual) / (passages + _PASSAGES)
        weight = -math.log(min(share, 0.99))
        stem = _stem(word.text)
        word_weights[stem] = max(word_weights.get(stem, 0.0), weight)
        tokens = list(word.tokens)
        token_weights[tokens] = np.maximum(token_weights[tokens], weight)
    says = 0.0
    if words:
        says = _NOTHING_SAID if all(word.text in _SAY_NOTHING for word in words) else 1.0
    runs = tuple(stem for stem in word_weights if _WITHOUT_SPACES.fullmatch(stem))
    pattern = _pattern(stem for stem in word_weights if stem not in runs)
    return WeighedQuery(query, says, token_weights, word_weights, pattern, runs)


def with_relevance(
    weighed: WeighedQuery | None,
    hits: Sequence[Hit],
    evidence: Sequence[Evidence | None],
    curve: RelevanceCurve | None,
) -> list[Hit]:
    """Return hits with their relevance.

    Args:
        weighed: The query; None where its words have no weights.
        hits: The hits, best first, at least `NEIGHBOURS` + 1 where there are so many: a hit's
            relevance then does not depend on how many are asked for.
        evidence: What is known of each of the first of them, None for nothing.
        curve: The model's; None for one without.

    Returns:
        Those of the hits that there is evidence for.
    """
    if weighed is None or curve is None:
        return list(hits[: len(evidence)])
    scores = [
        hit.passages[0].score if hit.passages else -math.inf for hit in hits[: NEIGHBOURS + 1]
    ]
    return [
        hit
        if known is None
        else replace(hit, relevance=weighed.relevance(known, neighbours(scores, n), curve))
        for n, (hit, known) in enumerate(zip(hits, evidence, strict=False))
    ]


def falling(relevances: Sequence[float]) -> list[float]:
    """Return relevances that do not rise down a list: those out of order share their mean.

    Clients of rerankers take it that results are ordered by the score they see. Pooling
    neighbours that are out of order moves them as little as it can (isotonic regression), and
    keeps what they say in the mean.
    """
    pools: list[tuple[float, int]] = []
    for value in relevances:
        total, size = value, 1
        while pools and pools[-1][0] / pools[-1][1] < total / size:
            before, count = pools.pop()
            total, size = total + before, size + count
        pools.append((total, size))
    return [total / size for total, size in pools for _ in range(size)]


def neighbours(scores: Sequence[float], position: int) -> list[float]:
    """Return the first `NEIGHBOURS` of some scores without that of one position.

    Scores of texts without words, which lie below zero, are left out.
    """
    others = [score for n, score in enumerate(scores) if n != position]
    return [score for score in others[:NEIGHBOURS] if score > 0]


def _words(query: Query) -> list[_Word]:
    """Return the words of a query that it has tokens of."""
    if query.weights is None:
        return []
    weights = query.weights.tolist()
    spans = [token.span for token in query.tokens]
    words = []
    for start, end in _word_spans(query.text):
        tokens = tuple(
            n for n, span in enumerate(spans) if span and span[0] < end and span[1] > start
        )
        if tokens:
            rarity = max(weights[n] for n in tokens)
            words.append(_Word(query.text[start:end].lower(), tokens, rarity))
    return words


def _word_spans(text: str) -> list[tuple[int, int]]:
    """Return where words are; in a script without spaces every two characters are one."""
    spans = []
    for word in _WORD.finditer(text):
        start, end = word.span()
        for run in _WITHOUT_SPACES.finditer(text, start, end):
            if run.start() > start:
                spans.append((start, run.start()))
            last = max(run.end() - 1, run.start() + 1)
            spans += [(n, min(n + 2, run.end())) for n in range(run.start(), last)]
            start = run.end()
        if start < end:
            spans.append((start, end))
    return spans


def _pattern(stems: Iterable[str]) -> re.Pattern[str] | None:
    """Return what finds words with these stems: quicker than taking a text apart."""
    words = "|".join(map(re.escape, stems))
    endings = "|".join(_ENDINGS)
    return re.compile(rf"\b(?:{words})(?:{endings})?\b", re.IGNORECASE) if words else None


def _stem(word: str) -> str:
    word = word.lower()
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word[: -len(ending)]
    return word
