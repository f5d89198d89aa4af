"""Proof that the exported graph computes what the checkpoint computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from pocket_colbert.normalization import for_model
from pocket_colbert.vectors.padding import pad
from pocket_colbert_export.errors import ParityError
from pocket_colbert_export.proof.report import Fidelity, FloatParity, TokenParity

TOLERANCE = 1e-4
"""Largest difference of a component between torch and the float32 graph."""

INT8_GATE = {
    "mean_cosine": 0.98,
    "low_cosine": 0.93,
    "rank_correlation": 0.97,
    "top_overlap": 0.85,
    "same_first": 0.90,
}
"""Least fidelity of an int8 graph to its float32 one, on texts it was not calibrated on."""

FP16_GATE = {
    "mean_cosine": 0.9999,
    "low_cosine": 0.9995,
    "worst_cosine": 0.998,
    "rank_correlation": 0.999,
    "top_overlap": 0.98,
    "same_first": 0.98,
}
"""Least fidelity of a float16 graph to its float32 one."""

FP16_BATCH_TOLERANCE = 5e-3
"""Largest difference of a component between a text alone and in a padded float16 batch."""


def passes(fidelity: Fidelity) -> bool:
    """Say whether an int8 graph passes its gate."""
    return not failures(fidelity, INT8_GATE)


def failures(fidelity: Fidelity, gate: Mapping[str, float]) -> tuple[str, ...]:
    """Return what of a gate a graph fails, in words; what is not a number fails."""
    return tuple(
        f"{name} is {getattr(fidelity, name):.4f}, the gate is {least}"
        for name, least in gate.items()
        if not getattr(fidelity, name) >= least
    )


def batch_difference(
    graph: Path, tokenizer: Tokenizer, config: ModelConfig, texts: Sequence[str]
) -> float:
    """Encode texts alone and in padded batches.

    Returns:
        The largest difference of a component; NaN where padding makes vectors NaN.
    """
    session = Session(graph, config.embedding_dim)
    items = [tokenizer.tokenize_document(text) for text in texts]
    worst = [0.0]
    for start in range(0, len(items), 8):
        batch = items[start : start + 8]
        ids = pad([item.input_ids for item in batch], 0)
        together = session.run(ids, pad([item.attention_mask for item in batch], 0))
        for item, rows in zip(batch, together, strict=True):
            alone = session.run(item.input_ids[None], item.attention_mask[None])[0]
            worst.append(float(np.abs(alone - rows[: len(alone)]).max()))
    return float(np.max(worst))


@dataclass(frozen=True)
class Batch:
    """Inputs of a graph, padded to one length.

    Attributes:
        input_ids: (n, length) int64.
        attention_mask: (n, length) int64; expansion tokens may be masked, padding is.
        real: (n, length) bool, False for padding, whose vectors nobody reads.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    real: NDArray[np.bool_]


@dataclass(frozen=True)
class ParityInputs:
    """What torch and the float32 graph are both run on.

    Attributes:
        texts: Number of texts, queries and documents counted apart.
        batches: Each of them alone, then some of them padded.
    """

    texts: int
    batches: Sequence[Batch]


def check_tokens(
    reference: Any, config: ModelConfig, tokenizer: Tokenizer, texts: Sequence[str]
) -> tuple[TokenParity, ParityInputs]:
    """Compare the runtime's token ids with those of transformers' own tokenizer.

    The runtime reads invisible characters and compatibility forms as plain letters, whatever the
    tokenizer would make of them, so transformers is given the plain text.

    Args:
        reference: The tokenizer of transformers.
        config: The recipe.
        tokenizer: The tokenizer of the runtime.
        texts: What is tokenised, as queries and as documents.

    Returns:
        How many texts were compared, and what they become as inputs of a graph.

    Raises:
        ParityError: They differ on a text.
    """
    documents = [tokenizer.tokenize_document(text) for text in texts]
    queries = [tokenizer.tokenize_query(text) for text in texts]
    for text, query, document in zip(texts, queries, documents, strict=True):
        plain = for_model(text)[0]
        expected = reference(
            config.query_prefix + plain,
            truncation=True,
            max_length=config.query_max_length or config.query_length,
        )["input_ids"]
        if config.do_query_expansion:
            padding = max(config.query_length - len(expected), 0)
            expected = expected + [config.mask_token_id] * padding
        _check_ids("query", text, query, expected)
        expected = reference(
            config.document_prefix + plain, truncation=True, max_length=config.document_length
        )["input_ids"]
        _check_ids("document", text, document, expected)
    items = [*documents, *queries]
    groups = [[item] for item in items] + [documents[:8], queries[:8]]
    inputs = ParityInputs(len(items), [_batch(group) for group in groups])
    return TokenParity(texts=len(texts)), inputs


def _check_ids(task: str, text: str, item: TokenizedText, expected: Sequence[int]) -> None:
    ids = item.input_ids.tolist()
    if ids != expected:
        raise ParityError(
            f"the runtime reads a {task} differently from transformers: {text[:60]!r} is "
            f"{ids[:12]}..., not {expected[:12]}..."
        )


def _batch(items: Sequence[TokenizedText]) -> Batch:
    return Batch(
        pad([item.input_ids for item in items], 0),
        pad([item.attention_mask for item in items], 0),
        pad([np.ones_like(item.input_ids) for item in items], 0).astype(bool),
    )


def check_float(
    graph: Path, dim: int, inputs: ParityInputs, expected: Sequence[NDArray[np.float32]]
) -> FloatParity:
    """Compare torch with the float32 graph, text by text and in padded batches.

    Args:
        graph: The ONNX file.
        dim: Width of a token vector.
        inputs: What torch was run on.
        expected: torch's vectors, (n, length, dim) for each batch.

    Returns:
        What was compared, and the largest difference.

    Raises:
        ParityError: A component differs by more than TOLERANCE.
    """
    session = Session(graph, dim)
    worst = 0.0
    for batch, vectors in zip(inputs.batches, expected, strict=True):
        actual = session.run(batch.input_ids, batch.attention_mask)
        difference = float(np.abs(vectors - actual)[batch.real].max())
        if not difference <= TOLERANCE:
            raise ParityError(
                f"the float32 graph differs from torch by {difference:.2e} on a text of "
                f"{batch.input_ids.shape[1]} tokens; the gate is {TOLERANCE:.0e}."
            )
        worst = max(worst, difference)
    return FloatParity(texts=inputs.texts, max_abs_difference=worst, tolerance=TOLERANCE)
