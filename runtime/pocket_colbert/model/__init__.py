"""Text to token vectors: a model folder, its recipe, tokenizer, sessions and the encoder."""

from __future__ import annotations
