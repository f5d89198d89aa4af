"""Dense encoders: a transformer without a projection, whose vectors are given a fitted one."""

from __future__ import annotations

import string

from pocket_colbert_export.checkpoints.raw import RawCheckpoint
from pocket_colbert_export.checkpoints.sentence_transformers import check_transformer
from pocket_colbert_export.checkpoints.settings import CheckpointSettings
from pocket_colbert_export.errors import CheckpointError

DOCUMENT_LENGTH = 300
"""Tokens of a document of what was a dense encoder, where it has that many positions."""

QUERY_LENGTH = 64


def read_dense(raw: RawCheckpoint) -> CheckpointSettings:
    """Read the settings of a dense encoder, with or without modules.

    Raises:
        CheckpointError: Its modules do not start with a Transformer, or it says that it is a
            Stanford ColBERT.
    """
    if raw.modules is not None:
        check_transformer(raw, [module.kind for module in raw.modules])
    elif raw.metadata.exists:
        raise CheckpointError(
            f"{raw.metadata.path} says Stanford ColBERT, but key 'architectures' of "
            f"{raw.config.path} is {raw.config.values.get('architectures')!r}, not "
            "['HF_ColBERT']."
        )
    kind = "dense" if raw.modules is None else "sentence-transformers"
    lower_case = raw.modules is not None and raw.transformer_settings.values.get("do_lower_case")
    prompts = raw.settings.values.get("prompts") or {}
    return CheckpointSettings(
        layout="dense",
        described_in=raw.config.path,
        prefixes={task: prompts.get(task) or "" for task in ("query", "document")},
        lower_case=bool(lower_case),
        query_length=QUERY_LENGTH,
        document_length=DOCUMENT_LENGTH,
        cut_lengths=True,
        skiplist_words=tuple(string.punctuation),
        notes=(
            f"The source is a dense encoder ({kind}): its pooling is left out, its token vectors "
            "are scored by MaxSim.",
        ),
    )
