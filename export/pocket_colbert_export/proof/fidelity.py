"""Measuring how near one graph's vectors and rankings are to another's."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.hardware import usable_cores
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise
from pocket_colbert_export.proof.report import Fidelity

TOP = 10
"""Documents at the head of a ranking that `Fidelity.top_overlap` looks at."""


@dataclass(frozen=True)
class Encoded:
    """A small collection encoded by one graph."""

    queries: Sequence[NDArray[np.float32]]
    documents: Sequence[NDArray[np.float32]]

    def scores(self) -> NDArray[np.float32]:
        """Return MaxSim of all pairs, (queries, documents) float32."""
        return np.stack([maxsim_pairwise(query, self.documents) for query in self.queries])


@dataclass(frozen=True, kw_only=True)
class Collection:
    """Texts to compare graphs on, and what turns them into a graph's inputs.

    Attributes:
        tokenizer: The tokenizer file.
        config: The recipe.
        queries: Texts encoded as queries.
        documents: Texts encoded as documents.
    """

    tokenizer: Path
    config: ModelConfig
    queries: Sequence[str]
    documents: Sequence[str]

    def encode(self, graph: Path) -> Encoded:
        """Encode the texts by the runtime's own tokenizer and session."""
        session = Session(graph, self.config.embedding_dim)
        texts = Tokenizer(self.tokenizer, self.config)

        def vectors(item: TokenizedText) -> NDArray[np.float32]:
            rows = session.run(item.input_ids[None], item.attention_mask[None])[0]
            return np.asarray(rows[item.keep])

        with ThreadPoolExecutor(usable_cores()) as pool:
            return Encoded(
                list(pool.map(lambda text: vectors(texts.tokenize_query(text)), self.queries)),
                list(pool.map(lambda text: vectors(texts.tokenize_document(text)), self.documents)),
            )


class FidelityMeter:
    """Measures how near graphs are to one of them."""

    def __init__(self, reference: Path, collection: Collection) -> None:
        """Encode a collection with the graph that others are compared with."""
        self._collection = collection
        self._reference = collection.encode(reference)

    def measure(self, graph: Path) -> Fidelity:
        """Return how near a graph is to the reference."""
        return compare(self._reference, self._collection.encode(graph))


def compare(reference: Encoded, other: Encoded) -> Fidelity:
    """Measure how near `other` is to `reference`; both encode the same collection."""
    cosines = np.concatenate(
        [
            np.einsum("td,td->t", a, b)
            for a, b in zip(
                [*reference.queries, *reference.documents],
                [*other.queries, *other.documents],
                strict=True,
            )
        ]
    )
    expected, actual = reference.scores(), other.scores()
    top = min(TOP, expected.shape[1])
    expected_order = np.argsort(-expected, axis=1, kind="stable")
    actual_order = np.argsort(-actual, axis=1, kind="stable")
    overlaps = [
        len(set(a[:top]) & set(b[:top])) / top
        for a, b in zip(expected_order.tolist(), actual_order.tolist(), strict=True)
    ]
    return Fidelity(
        mean_cosine=float(cosines.mean()),
        low_cosine=float(np.quantile(cosines, 0.01)),
        worst_cosine=float(cosines.min()),
        rank_correlation=float(
            np.mean([_spearman(a, b) for a, b in zip(expected, actual, strict=True)])
        ),
        top_overlap=float(np.mean(overlaps)),
        same_first=float((expected_order[:, 0] == actual_order[:, 0]).mean()),
        tokens=len(cosines),
        queries=len(expected),
        documents=expected.shape[1],
    )


def _spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if len(first) > 1 else 1.0
