"""Proof that the exported graph computes what the checkpoint computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.session import Session
from pocket_colbert.model.tokenizer import TokenizedText, Tokenizer
from pocket_colbert.vectors.padding import pad
from pocket_colbert_export.checkpoints.checkpoint import Checkpoint
from pocket_colbert_export.errors import ParityError
from pocket_colbert_export.graph.export_graph import ColBERTForONNX
from pocket_colbert_export.proof.fidelity import Fidelity

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
    """Say whether an int8 graph passes the gate."""
    return not failures(fidelity, INT8_GATE)


def failures(fidelity: Fidelity, gate: Mapping[str, float]) -> list[str]:
    """Say what of a gate a graph fails; what is not a number fails."""
    return [
        f"{name} is {getattr(fidelity, name):.4f}, the gate is {least}"
        for name, least in gate.items()
        if not getattr(fidelity, name) >= least
    ]


def batch_difference(
    graph: Path, tokenizer: Tokenizer, config: ModelConfig, texts: Sequence[str]
) -> float:
    """Encode texts alone and in padded batches.

    Returns:
        The largest difference of a component; NaN where padding turns vectors into that.
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


def check_tokens(checkpoint: Checkpoint, tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Compare the runtime's token ids with those of transformers' own tokenizer.

    Returns:
        How many texts were compared, each as a query and as a document.

    Raises:
        ParityError: They differ on a text.
    """
    reference, recipe = checkpoint.tokenizer, checkpoint.recipe
    for text in texts:
        for task, tokenize, limit in (
            (
                "query",
                tokenizer.tokenize_query,
                recipe["query_max_length"] or recipe["query_length"],
            ),
            ("document", tokenizer.tokenize_document, recipe["document_length"]),
        ):
            wanted = reference(recipe[f"{task}_prefix"] + text, truncation=True, max_length=limit)[
                "input_ids"
            ]
            found = tokenize(text).input_ids.tolist()
            if task == "query" and recipe["do_query_expansion"]:
                padding = max(recipe["query_length"] - len(wanted), 0)
                wanted = wanted + [recipe["mask_token_id"]] * padding
            if found != wanted:
                raise ParityError(
                    f"the runtime reads a {task} differently from transformers: {text[:60]!r} is "
                    f"{found[:12]}..., not {wanted[:12]}..."
                )
    return len(texts)


def check_float(
    module: ColBERTForONNX,
    graph: Path,
    tokenizer: Tokenizer,
    config: ModelConfig,
    texts: Sequence[str],
) -> Mapping[str, Any]:
    """Compare torch with the float32 graph, text by text and in a padded batch.

    Returns:
        What was compared, and the largest difference.

    Raises:
        ParityError: A component differs by more than TOLERANCE.
    """
    session = Session(graph, config.embedding_dim)
    items: list[TokenizedText] = [tokenizer.tokenize_document(text) for text in texts]
    items += [tokenizer.tokenize_query(text) for text in texts]
    batches = [[item] for item in items] + [items[: len(texts)][:8], items[len(texts) :][:8]]
    worst = 0.0
    for batch in batches:
        ids = pad([item.input_ids for item in batch], 0)
        mask = pad([item.attention_mask for item in batch], 0)
        with torch.no_grad():
            wanted = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        found = session.run(ids, mask)
        # Padding is no token of any text: what it becomes is nobody's business.
        real = pad([np.ones_like(item.input_ids) for item in batch], 0).astype(bool)
        difference = float(np.abs(wanted - found)[real].max())
        if not difference <= TOLERANCE:
            raise ParityError(
                f"the float32 graph differs from torch by {difference:.2e} on a text of "
                f"{ids.shape[1]} tokens; the gate is {TOLERANCE:.0e}."
            )
        worst = max(worst, difference)
    return {"texts": len(items), "max_abs_difference": worst, "tolerance": TOLERANCE}
