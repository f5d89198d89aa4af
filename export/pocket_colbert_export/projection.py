"""A projection for an encoder that has none, fitted on token vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.checkpoints.transformer import Head
from pocket_colbert_export.errors import CalibrationError

DEFAULT_DIM = 96
_BATCH = 16


def fit_projection(checkpoint: Checkpoint, dim: int, texts: Sequence[str]) -> Checkpoint:
    """Give a dense encoder a head that keeps the dot products of its token vectors.

    MaxSim reads nothing but dot products of unit vectors; among all projections to `dim`
    dimensions, the one on the leading eigenvectors of their uncentred second moment keeps these
    best in the mean square (Eckart & Young 1936). Every vocabulary entry weighs the same however
    often it occurs in the calibration text: otherwise stop words and punctuation decide.

    Args:
        checkpoint: A checkpoint without heads.
        dim: Width of the projected vectors.
        texts: Calibration texts.

    Returns:
        The checkpoint with that head.

    Raises:
        InvalidInputError: dim is not from 1 to the backbone's width.
        CalibrationError: The texts have too few different tokens to fit so many dimensions.
    """
    check_whole_number("fit_dim", dim, most=int(checkpoint.backbone.config.hidden_size))
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
    head = Head(torch.from_numpy(leading.T.astype(np.float32).copy()))
    note = (
        f"The projection to {dim} dimensions was fitted on {len(texts)} texts ({len(ids)} tokens, "
        f"{len(entries)} different ones); it keeps {100 * kept:.1f} % of the vectors' energy."
    )
    return dataclasses.replace(
        checkpoint,
        heads=(head,),
        config=dataclasses.replace(checkpoint.config, embedding_dim=dim),
        notes=(*checkpoint.notes, note),
    )


def _token_vectors(
    checkpoint: Checkpoint, texts: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return ids (tokens,) and unit hidden states (tokens, width) of all texts."""
    tokenizer, backbone = checkpoint.tokenizer, checkpoint.backbone
    limit, prefix = checkpoint.config.document_length, checkpoint.config.document_prefix
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
