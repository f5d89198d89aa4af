"""Stanford ColBERT: the head among the backbone's weights, settings in artifact.metadata."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any

from pocket_colbert_export.checkpoints.raw import RawCheckpoint
from pocket_colbert_export.checkpoints.settings import (
    CheckpointSettings,
    HeadSettings,
    QueryExpansion,
)
from pocket_colbert_export.errors import CheckpointError

_DEFAULTS: Mapping[str, Any] = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_maxlen": 32,
    "doc_maxlen": 220,
    "attend_to_mask_tokens": False,
    "mask_punctuation": True,
    "similarity": "cosine",
}
"""What `ColBERTConfig` (stanford-futuredata/ColBERT, infra/config/settings.py) defaults to."""


def read_stanford(raw: RawCheckpoint) -> CheckpointSettings | None:
    """Read the settings of a Stanford ColBERT checkpoint.

    Returns:
        The settings, None for a checkpoint of another class.

    Raises:
        CheckpointError: The metadata is missing, or says what is not supported.
    """
    if not raw.is_stanford:
        return None
    file = raw.metadata
    if not file.exists:
        raise CheckpointError(f"{file.path} is missing.")
    said = {key: value for key, value in file.values.items() if value is not None}
    settings = {**_DEFAULTS, **said}
    if settings["similarity"] != "cosine":
        raise CheckpointError(
            f"{file.path}: key 'similarity' must be 'cosine', got {settings['similarity']!r}."
        )
    markers = {key: str(settings[key]) for key in ("query_token_id", "doc_token_id")}
    return CheckpointSettings(
        layout="stanford",
        described_in=file.path,
        heads=(
            HeadSettings(
                folder=raw.folder,
                described_in=file.path,
                outputs=("dim", said["dim"]) if "dim" in said else None,
            ),
        ),
        prefixes={
            "query": markers["query_token_id"] + " ",
            "document": markers["doc_token_id"] + " ",
        },
        markers=tuple(markers.values()),
        required_markers=markers,
        expansion=QueryExpansion(
            strategy="fixed",
            length=settings["query_maxlen"],
            attend=bool(settings["attend_to_mask_tokens"]),
        ),
        query_length=settings["query_maxlen"],
        document_length=settings["doc_maxlen"],
        skiplist_words=tuple(string.punctuation) if settings["mask_punctuation"] else (),
    )
