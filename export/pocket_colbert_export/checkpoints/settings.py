"""What every layout boils down to: how texts are encoded, and which weights do it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

LayoutName = Literal["pylate", "sentence-transformers", "stanford", "dense"]


@dataclass(frozen=True, kw_only=True)
class QueryExpansion:
    """How short queries are filled up, in sentence-transformers' words.

    Attributes:
        strategy: "fixed" or "min", see `ModelConfig.query_expansion_strategy`.
        length: Tokens a query is filled up to.
        attend: Whether real tokens attend to the expansion tokens.
        token: What it is filled up with; None for the mask token.
    """

    strategy: Literal["fixed", "min"]
    length: int
    attend: bool = False
    token: str | None = None


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """One Dense layer: where its weights are and what they must be.

    Attributes:
        folder: Where the weights are.
        described_in: The file that describes it, for messages.
        widths: (key of `described_in`, width) of inputs and outputs; None for any width.
        bias: Whether it has a bias.
        activation: Name of a module of torch.nn.
        residual: Whether its inputs are added to its outputs.
    """

    folder: Path
    described_in: Path
    inputs: tuple[str, int] | None = None
    outputs: tuple[str, int] | None = None
    bias: bool = False
    activation: str = "Identity"
    residual: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckpointSettings:
    """What a layout says about a checkpoint, in words that all layouts share.

    Attributes:
        layout: Its layout.
        described_in: The file that says most of it, for messages.
        heads: The projections, first one first.
        prefixes: Text before a query and before a document, by task; "" for none.
        markers: Texts that the tokenizer must take for one token.
        required_markers: Those of them that the vocabulary must have, by the key they stand at.
        lower_case: Whether texts are lower-cased before the tokenizer sees them.
        expansion: Query expansion, None where there is none.
        query_length: Tokens of a query; None for as many as tokenizer and backbone take.
        document_length: The same for documents.
        cut_lengths: Whether lengths are cut to the positions of the backbone; otherwise it must
            have as many.
        skiplist_words: Words whose tokens are dropped.
        skiplist_tasks: Which of "query" and "document" lose them.
        keep_only_token_ids: When not empty, documents keep no other tokens.
        pool_factor: Pooling that is part of the model; 1.0 for none.
        num_protected_tokens: First tokens that this pooling leaves alone.
        matryoshka_dims: Widths that token vectors may be cut to.
        notes: What a reader of the model card should know.
    """

    layout: LayoutName
    described_in: Path
    heads: tuple[HeadSettings, ...] = ()
    prefixes: Mapping[str, str]
    markers: tuple[str, ...] = ()
    required_markers: Mapping[str, str] | None = None
    lower_case: bool = False
    expansion: QueryExpansion | None = None
    query_length: int | None
    document_length: int | None
    cut_lengths: bool = False
    skiplist_words: tuple[str, ...] = ()
    skiplist_tasks: tuple[str, ...] = ("document",)
    keep_only_token_ids: tuple[int, ...] = ()
    pool_factor: float = 1.0
    num_protected_tokens: int = 1
    matryoshka_dims: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
