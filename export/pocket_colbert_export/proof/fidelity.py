"""How near one graph's vectors and rankings are to another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.hardware import usable_cores
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise

TOP = 10


@dataclass(frozen=True)
class Encoded:
    """A small collection encoded by one graph."""

    queries: Sequence[NDArray[np.float32]]
    documents: Sequence[NDArray[np.float32]]

    def scores(self) -> NDArray[np.float32]:
        """Return MaxSim of all pairs, (queries, documents) float32."""
        return np.stack([maxsim_pairwise(query, self.documents) for query in self.queries])


@dataclass(frozen=True)
class Fidelity:
    """What was measured.

    Attributes:
        mean_cosine: Mean cosine of a token vector with its counterpart.
        low_cosine: The cosine that 1 % of the token vectors stay below.
        worst_cosine: The smallest cosine.
        rank_correlation: Spearman's correlation of a query's scores over all documents, mean.
        top_overlap: Share of a query's first 10 documents that both graphs agree on, mean.
        same_first: Share of queries with the same first document.
        tokens: Token vectors compared.
        queries: Queries compared.
        documents: Documents they were ranked over.
    """

    mean_cosine: float
    low_cosine: float
    worst_cosine: float
    rank_correlation: float
    top_overlap: float
    same_first: float
    tokens: int
    queries: int
    documents: int

    def to_json(self) -> Mapping[str, float]:
        """Return the figures, rounded to six digits."""
        return {key: round(value, 6) for key, value in asdict(self).items()}


def encode(
    graph: Path,
    tokenizer: Path,
    config: ModelConfig,
    queries: Sequence[str],
    documents: Sequence[str],
) -> Encoded:
    """Encode a collection by the runtime's own tokenizer and session."""
    session, texts = Session(graph, config.embedding_dim), Tokenizer(tokenizer, config)

    def vectors(item: TokenizedText) -> NDArray[np.float32]:
        rows = session.run(item.input_ids[None], item.attention_mask[None])[0]
        return np.asarray(rows[item.keep])

    with ThreadPoolExecutor(usable_cores()) as pool:
        return Encoded(
            list(pool.map(lambda text: vectors(texts.tokenize_query(text)), queries)),
            list(pool.map(lambda text: vectors(texts.tokenize_document(text)), documents)),
        )


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
    wanted, found = reference.scores(), other.scores()
    top = min(TOP, wanted.shape[1])
    order_wanted = np.argsort(-wanted, axis=1, kind="stable")
    order_found = np.argsort(-found, axis=1, kind="stable")
    overlaps = [
        len(set(a[:top]) & set(b[:top])) / top
        for a, b in zip(order_wanted.tolist(), order_found.tolist(), strict=True)
    ]
    return Fidelity(
        mean_cosine=float(cosines.mean()),
        low_cosine=float(np.quantile(cosines, 0.01)),
        worst_cosine=float(cosines.min()),
        rank_correlation=float(
            np.mean([_spearman(a, b) for a, b in zip(wanted, found, strict=True)])
        ),
        top_overlap=float(np.mean(overlaps)),
        same_first=float((order_wanted[:, 0] == order_found[:, 0]).mean()),
        tokens=len(cosines),
        queries=len(wanted),
        documents=wanted.shape[1],
    )


def _spearman(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    ranks = [np.argsort(np.argsort(values, kind="stable")) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) if len(first) > 1 else 1.0
