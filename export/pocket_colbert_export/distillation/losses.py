"""What a student is pulled towards: a teacher's token vectors and an ensemble's ranking."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

SHARPNESS = 2.5
"""How many logits a standard deviation of scores is worth."""


def token_loss(vectors: torch.Tensor, targets: torch.Tensor, spread: float) -> torch.Tensor:
    """Return the share of the targets' variance that vectors miss, 1 - R squared.

    Token vectors of a ColBERT point much the same way (the mean of answerai-colbert-small's has a
    length of .9): a cosine of .95 with them can be less than half of what tells them apart.

    Args:
        vectors: (tokens, dim) unit rows.
        targets: (tokens, dim) unit rows.
        spread: Mean squared distance of the teacher's vectors from their mean.
    """
    return (vectors - targets).pow(2).sum(dim=-1).mean() / spread


def maxsim_matrix(
    queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor], dim: int | None = None
) -> torch.Tensor:
    """Score every query of a batch against every document.

    MaxSim (Khattab & Zaharia 2020, section 3.3), differentiable.

    Args:
        queries: One (num_tokens, width) tensor each.
        documents: One (num_tokens, width) tensor each, at least one token.
        dim: Score the first `dim` components, normalised again; None for all of them as they are.

    Returns:
        (queries, documents).
    """
    query_rows, rows = torch.cat(list(queries)), pad_sequence(list(documents), batch_first=True)
    if dim is not None:
        query_rows = functional.normalize(query_rows[:, :dim], dim=-1)
        rows = functional.normalize(rows[..., :dim], dim=-1)
    lengths = torch.tensor([len(item) for item in documents], device=rows.device)
    padding = torch.arange(rows.shape[1], device=rows.device)[None, :] >= lengths[:, None]
    # The best token is chosen without a gradient, as the choice has none: keeping track of all
    # similarities would cost more than the transformer does.
    with torch.no_grad():
        similarities = (query_rows @ rows.flatten(0, 1).T).view(len(query_rows), *rows.shape[:2])
        similarities.masked_fill_(padding, -torch.inf)
        best = similarities.argmax(dim=2)
    starts = torch.arange(len(rows), device=rows.device) * rows.shape[1]
    chosen = rows.flatten(0, 1)[(best + starts)]
    products = torch.einsum("td,tnd->tn", query_rows, chosen)
    sums = [part.sum(dim=0) for part in products.split([len(query) for query in queries])]
    return torch.stack(sums)


def standardised(scores: torch.Tensor) -> torch.Tensor:
    """Shift and scale each row to mean 0 and standard deviation 1.

    Scores of different scorers live on different scales, and MaxSim's grows with the query; a
    ranking is no more than this.
    """
    centred = scores - scores.mean(dim=1, keepdim=True)
    return centred / centred.pow(2).mean(dim=1, keepdim=True).sqrt().clamp_min(1e-6)


def ensemble(scores: Sequence[torch.Tensor], weights: Sequence[float]) -> torch.Tensor:
    """Return the weighted sum of standardised (queries, documents) scores, standardised."""
    weighted = [
        weight * standardised(item) for item, weight in zip(scores, weights, strict=True) if weight
    ]
    return standardised(torch.stack(weighted).sum(dim=0))


def score_loss(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of the student's ranking from the target's.

    Args:
        student: (queries, documents) scores.
        target: (queries, documents) standardised scores.
    """
    return functional.kl_div(
        functional.log_softmax(SHARPNESS * standardised(student), dim=1),
        functional.log_softmax(SHARPNESS * target, dim=1),
        reduction="batchmean",
        log_target=True,
    )


def list_loss(student: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of rankings of which only parts are known.

    The student's scores are brought to the spread that the target's known ones have: two
    passages that the teachers hold for equal are not to be told apart because no others are known.

    Args:
        student: (queries, documents) scores.
        target: (queries, documents) scores, standardised over whole lists.
        known: (queries, documents) bool, which of the target's scores there are.
    """
    wished, given = (_centred(item, known) for item in (target, student))
    spreads = [_spread(item, known) for item in (wished, given)]
    given = given / spreads[1].clamp_min(1e-6) * spreads[0]
    wanted, found = (
        functional.log_softmax((SHARPNESS * item).masked_fill(~known, -1e4), dim=1)
        for item in (wished, given)
    )
    return (wanted.exp() * (wanted - found) * known).sum(dim=1).mean()


def _centred(scores: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    count = known.sum(dim=1, keepdim=True).clamp_min(1)
    return (scores - (scores * known).sum(dim=1, keepdim=True) / count) * known


def _spread(centred: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    count = known.sum(dim=1, keepdim=True).clamp_min(1)
    return (centred.pow(2).sum(dim=1, keepdim=True) / count).sqrt()


def contrastive_loss(student: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of (n, n) scores whose diagonal are the pairs."""
    labels = torch.arange(len(student), device=student.device)
    return functional.cross_entropy(SHARPNESS * standardised(student), labels)


class BM25:
    """BM25 of a batch over token ids, with the rarity of tokens in all passages.

    Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework", section 3.2, with k1 1.2
    and b 0.75.
    """

    def __init__(self, passages: Sequence[NDArray[np.int64]]) -> None:
        """Count in how many passages (token ids) each token occurs."""
        self._lengths = float(np.mean([len(ids) for ids in passages]))
        size = max(int(ids.max(initial=0)) for ids in passages) + 1
        counts = np.zeros(size, dtype=np.int64)
        for ids in passages:
            counts[np.unique(ids)] += 1
        self._rarity = np.log1p((len(passages) - counts + 0.5) / (counts + 0.5))

    def matrix(
        self, queries: Sequence[NDArray[np.int64]], passages: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        """Return the (queries, passages) float32 scores."""
        terms = np.unique(np.concatenate(queries))
        terms = terms[terms < len(self._rarity)]
        counts = np.stack([_counts(ids, terms) for ids in passages])
        lengths = np.array([[len(ids)] for ids in passages]) / self._lengths
        weights = counts * 2.2 / (counts + 1.2 * (0.25 + 0.75 * lengths)) * self._rarity[terms]
        asked = np.stack([_counts(ids, terms) for ids in queries])
        scores: NDArray[np.float32] = (asked @ weights.T).astype(np.float32)
        return scores


def _counts(ids: NDArray[np.int64], terms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how often each of the sorted terms occurs in ids, (terms,)."""
    positions = np.searchsorted(terms, ids)
    known = positions < len(terms)
    known[known] = terms[positions[known]] == ids[known]
    return np.bincount(positions[known], minlength=len(terms)).astype(np.float64)
