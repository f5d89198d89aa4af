"""A checkpoint as a torch module and a recipe, whatever its layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert_export.checkpoints.build_config import build_config
from pocket_colbert_export.checkpoints.dense import read_dense
from pocket_colbert_export.checkpoints.raw import RawCheckpoint, read_raw
from pocket_colbert_export.checkpoints.sentence_transformers import read_sentence_transformers
from pocket_colbert_export.checkpoints.settings import CheckpointSettings, LayoutName
from pocket_colbert_export.checkpoints.stanford import read_stanford
from pocket_colbert_export.checkpoints.transformer import Head, load_transformer
from pocket_colbert_export.errors import CheckpointError
from pocket_colbert_export.quiet import quiet

Reader = Callable[[RawCheckpoint], CheckpointSettings | None]

LAYOUTS: tuple[Reader, ...] = (read_sentence_transformers, read_stanford, read_dense)
"""Readers of the layouts, tried in this order; each returns None for a folder of another layout.

The last one takes whatever is left.
"""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What an export starts from.

    Attributes:
        folder: The checkpoint folder.
        layout: "pylate", "sentence-transformers", "stanford" or "dense".
        backbone: The transformer, float32, in eval mode.
        positions: How many tokens it takes.
        tokenizer: Its fast tokenizer.
        heads: The projections, first one first; empty for a dense encoder.
        config: The recipe.
        notes: What a reader of the model card should know.
        license: SPDX expression from the checkpoint's own card, or "unknown".
        languages: Codes of the languages from its card, () when it names none.
        distilled: What `distill` or `shrink` wrote about its making, None for others.
    """

    folder: Path
    layout: LayoutName
    backbone: Any
    positions: int
    tokenizer: Any
    heads: tuple[Head, ...]
    config: ModelConfig
    notes: tuple[str, ...] = ()
    license: str = "unknown"
    languages: tuple[str, ...] = ()
    distilled: Mapping[str, Any] | None = None


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        source: A folder, or a hub id `owner/name`.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: It is of an unknown layout, incomplete or contradicts itself; or the hub
            cannot be reached.
    """
    raw = read_raw(source)
    settings = None
    for read in LAYOUTS:
        settings = settings or read(raw)
    if settings is None:
        raise CheckpointError(f"{raw.folder} is of no layout that this exporter reads.")
    with quiet():
        parts = load_transformer(raw, settings)
    config, notes = build_config(settings, parts.tokenizer, parts.positions, parts.dim, raw.name)
    return Checkpoint(
        folder=raw.folder,
        layout=settings.layout,
        backbone=parts.backbone,
        positions=parts.positions,
        tokenizer=parts.tokenizer,
        heads=parts.heads,
        config=config,
        notes=settings.notes + notes,
        license=raw.license,
        languages=raw.languages,
        distilled=raw.distilled,
    )
