"""A projection for an encoder that has none, fitted on token vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert_export.checkpoints.checkpoint import Checkpoint, Head
from pocket_colbert_export.errors import CalibrationError

DEFAULT_DIM = 96
_BATCH = 16


def fit_projection(checkpoint: Checkpoint, dim: int, texts: Sequence[str]) -> None:
    """Give a dense encoder a head that keeps the dot products of its token vectors.

    MaxSim reads nothing but dot products of unit vectors; among all projections to `dim`
    dimensions, the one on the leading eigenvectors of their uncentred second moment keeps these
    best in the mean square (Eckart & Young 1936). Every vocabulary entry weighs the same however
    often it occurs in the calibration text: otherwise stop words and punctuation decide.

    Args:
        checkpoint: A checkpoint without heads; it gets one.
        dim: Width of the projected vectors.
        texts: Calibration texts.

    Raises:
        CalibrationError: dim is not below the backbone's width, or the texts have too few
            different tokens to fit it.
    """
    width = int(checkpoint.backbone.config.hidden_size)
    if not 1 <= dim <= width:
        raise CalibrationError(
            f"the projection must have 1 to {width} dimensions for this backbone, got {dim}."
        )
    ids, vectors = _token_vectors(checkpoint, texts)
    entries, entry_of, counts = np.unique(ids, return_inverse=True, return_counts=True)
    if len(entries) < 2 * dim:
        raise CalibrationError(
            f"fitting {dim} dimensions needs texts with at least {2 * dim} different tokens, "
            f"got {len(entries)}; give more text with --calibration."
        )
    weighted = vectors * (1.0 / counts[entry_of])[:, None]
    moment = weighted.T.astype(np.float64) @ vectors.astype(np.float64)
    values, basis = np.linalg.eigh((moment + moment.T) / 2)
    leading = basis[:, ::-1][:, :dim]
    # An eigenvector's sign is arbitrary: fix it, so that a rebuild gives the same model.
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(dim)])
    kept = float(values[::-1][:dim].sum() / values.sum())
    checkpoint.heads.append(Head(torch.from_numpy(leading.T.astype(np.float32).copy())))
    checkpoint.notes.append(
        f"The projection to {dim} dimensions was fitted on {len(texts)} texts ({len(ids)} tokens, "
        f"{len(entries)} different ones); it keeps {100 * kept:.1f} % of the vectors' energy."
    )


def _token_vectors(
    checkpoint: Checkpoint, texts: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids (tokens,) and unit hidden states (tokens, width) of all texts."""
    tokenizer, backbone = checkpoint.tokenizer, checkpoint.backbone
    limit = int(checkpoint.recipe["document_length"])
    prefix = checkpoint.recipe["document_prefix"]
    all_ids: list[NDArray[np.int64]] = []
    all_vectors: list[NDArray[np.float32]] = []
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), _BATCH):
        batch = tokenizer(
            [prefix + text for text in ordered[start : start + _BATCH]],
            truncation=True, max_length=limit, padding=True, return_tensors="pt",
        )  # fmt: skip
        mask = batch["attention_mask"]
        with torch.no_grad():
            hidden = backbone(input_ids=batch["input_ids"], attention_mask=mask).last_hidden_state
        hidden = torch.nn.functional.normalize(hidden, p=2.0, dim=-1)
        all_ids.append(batch["input_ids"][mask.bool()].numpy())
        all_vectors.append(hidden[mask.bool()].numpy())
    return np.concatenate(all_ids), np.concatenate(all_vectors)
