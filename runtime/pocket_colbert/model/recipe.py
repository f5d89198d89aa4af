"""The recipe of a model: what turning text into token vectors needs beside graph and tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pocket_colbert.checks import (
    are_strings,
    are_token_ids,
    check_choice,
    check_pool_factor,
    check_protected_tokens,
    check_whole_number,
    is_whole_number,
    require,
)

RECIPE_VERSION = 1
"""Version of the `pocket_colbert` section of `onnx_config.json` that this release writes."""


_MOST = 1 << 17
"""A query is padded to the length that a recipe says, so a damaged one must not say millions."""

OWN_SECTION = "pocket_colbert"
"""Key of `onnx_config.json` under which everything lies that other tools do not know."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The recipe: all that turning text into token vectors needs beside graph and tokenizer.

    Field names are PyLate's where PyLate has one. `to_json` writes those at the top level of
    `onnx_config.json`, where next-plaid looks for them, and the rest under `pocket_colbert`.

    Examples:
        >>> from pocket_colbert import Encoder, ModelConfig
        >>> config: ModelConfig = Encoder.load("tiny").config
        >>> config.embedding_dim, config.document_length
        (96, 300)

    Attributes:
        embedding_dim: Width of a token vector.
        query_length: Tokens a query is padded to when it is expanded, and cut to when it is not
            or when `query_expansion_strategy` is "fixed"; markers and special tokens included.
        document_length: Tokens a document is cut to, markers and special tokens included.
        query_prefix: Marker text before a query, "" for none.
        document_prefix: Marker text before a document, "" for none.
        query_prefix_id: Token id that is put behind the first special token for `query_prefix`;
            None means that the prefix is put before the text instead and tokenised with it.
        document_prefix_id: The same for documents.
        do_query_expansion: Whether short queries are padded with `mask_token_id` to
            `query_length` and the padding is scored (Khattab & Zaharia 2020, section 3.2).
        query_expansion_strategy: "fixed" cuts longer queries to `query_length`, "min" lets them
            grow to `query_max_length`.
        query_max_length: The longest query under "min".
        attend_to_expansion_tokens: Whether real tokens attend to the expansion tokens.
        mask_token_id: Token id of the expansion tokens, None when there is no expansion.
        skiplist_words: Words whose tokens are dropped, as the checkpoint lists them.
        skiplist_ids: Their token ids.
        skiplist_tasks: Which of "query" and "document" lose the skiplist tokens.
        keep_only_token_ids: When not empty, documents keep no other tokens than these.
        pool_factor: Pooling that is part of the model (1.0 is none); see `pruning.pool_tokens`.
        num_protected_tokens: First tokens that this pooling leaves alone.
        do_lower_case: Whether texts are lower-cased before the tokenizer sees them.
        matryoshka_dims: Widths that token vectors may be cut to, largest first: the model was
            trained so that so many first components, normalised again, serve on their own
            (Kusupati et al. 2022, arXiv 2205.13147).
        model_name: Where the model comes from, for people.
    """

    embedding_dim: int
    query_length: int
    document_length: int
    query_prefix: str = ""
    document_prefix: str = ""
    query_prefix_id: int | None = None
    document_prefix_id: int | None = None
    do_query_expansion: bool = False
    query_expansion_strategy: Literal["fixed", "min"] = "fixed"
    query_max_length: int | None = None
    attend_to_expansion_tokens: bool = False
    mask_token_id: int | None = None
    skiplist_words: tuple[str, ...] = ()
    skiplist_ids: tuple[int, ...] = ()
    skiplist_tasks: tuple[str, ...] = ("document",)
    keep_only_token_ids: tuple[int, ...] = ()
    pool_factor: float = 1.0
    num_protected_tokens: int = 1
    do_lower_case: bool = False
    matryoshka_dims: tuple[int, ...] = ()
    model_name: str = ""

    def __post_init__(self) -> None:
        for name in ("embedding_dim", "query_length", "document_length"):
            check_whole_number(name, getattr(self, name), most=_MOST)
        for name in ("query_prefix_id", "document_prefix_id", "mask_token_id"):
            value = getattr(self, name)
            require(
                value is None or is_whole_number(value, 0),
                f"{name} must be a token id >= 0 or null, got {value!r}.",
            )
        for name in ("query_prefix", "document_prefix", "model_name"):
            value = getattr(self, name)
            require(isinstance(value, str), f"{name} must be a text, got {value!r}.")
        for name in ("do_query_expansion", "attend_to_expansion_tokens", "do_lower_case"):
            value = getattr(self, name)
            require(isinstance(value, bool), f"{name} must be true or false, got {value!r}.")
        for name, check in (
            ("skiplist_words", are_strings),
            ("skiplist_tasks", are_strings),
            ("skiplist_ids", are_token_ids),
            ("keep_only_token_ids", are_token_ids),
            ("matryoshka_dims", are_token_ids),
        ):
            value = getattr(self, name)
            require(check(value), f"{name} must be a list of the right kind, got {value!r}.")
        require(
            set(self.skiplist_tasks) <= {"query", "document"},
            f"skiplist_tasks may hold 'query' and 'document', got {list(self.skiplist_tasks)}.",
        )
        check_choice("query_expansion_strategy", self.query_expansion_strategy, ("fixed", "min"))
        require(
            not self.do_query_expansion or self.mask_token_id is not None,
            "mask_token_id must be given when do_query_expansion is true, got null.",
        )
        require(
            self.query_max_length is None
            or (
                is_whole_number(self.query_max_length, self.query_length)
                and self.query_max_length <= _MOST
            ),
            f"query_max_length must be null or from query_length ({self.query_length}) to {_MOST}, "
            f"got {self.query_max_length!r}.",
        )
        widths = (self.embedding_dim, *self.matryoshka_dims, 0)
        require(
            all(high > low for high, low in zip(widths, widths[1:], strict=False)),
            f"matryoshka_dims must fall from below embedding_dim ({self.embedding_dim}) to 1 or "
            f"more, got {list(self.matryoshka_dims)}.",
        )
        check_pool_factor(self.pool_factor)
        check_protected_tokens(self.num_protected_tokens)

    def to_json(self) -> dict[str, Any]:
        """Return the recipe as `onnx_config.json` holds it, ecosystem keys at the top."""
        values = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
        top = {key: values.pop(key) for key in _ECOSYSTEM_KEYS}
        top["model_type"] = "ColBERT"
        top[OWN_SECTION] = {"format_version": RECIPE_VERSION, **values}
        return top

    @classmethod
    def from_json(cls, recipe: Mapping[str, Any], own_keys: Mapping[str, Any]) -> ModelConfig:
        """Read a recipe.

        Args:
            recipe: The whole of `onnx_config.json`. Keys at its top level that are not ours
                belong to other tools and are left alone.
            own_keys: The fields of the `pocket_colbert` section, or what stands in for it when
                another tool wrote the folder. An unknown key here is an error.

        Returns:
            The checked recipe.

        Raises:
            InvalidInputError: A key is missing, unknown or of the wrong kind; the message names it.
        """
        names = {item.name for item in fields(cls)}
        unknown = sorted(set(own_keys) - names)
        require(not unknown, f"{OWN_SECTION} has unknown keys {unknown}.")
        values = {key: recipe[key] for key in _ECOSYSTEM_KEYS if key in recipe} | dict(own_keys)
        for item in fields(cls):
            if item.name in ("embedding_dim", "query_length", "document_length"):
                require(item.name in values, f"key {item.name!r} is missing.")
        for key, value in values.items():
            if isinstance(value, list):
                values[key] = tuple(value)
            if value is None and key in ("query_prefix", "document_prefix", "skiplist_words"):
                values[key] = () if key == "skiplist_words" else ""
        return cls(**values)


_ECOSYSTEM_KEYS = (
    "model_name",
    "query_prefix",
    "document_prefix",
    "query_prefix_id",
    "document_prefix_id",
    "query_length",
    "document_length",
    "do_query_expansion",
    "attend_to_expansion_tokens",
    "skiplist_words",
    "embedding_dim",
    "mask_token_id",
    "do_lower_case",
)
"""The keys of PyLate's and next-plaid's `onnx_config.json` that this package reads and writes."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the `pocket_colbert` section says about a model beside its recipe.

    Attributes:
        precision: "int8", "fp16" or "fp32".
        model_file: Name of the ONNX file in the folder.
        source: Where the weights came from.
        license: SPDX expression of the weights, or "unknown".
        languages: Codes of the languages that the model was made for, such as "en"; () when that
            is not known.
        fingerprint: sha256 over graph, tokenizer and recipe: models that give a text the same
            vectors have the same one, whatever their cards say.
        quantization: What was chosen and measured, empty for fp32.
    """

    precision: str
    model_file: str
    source: str = ""
    license: str = "unknown"
    languages: tuple[str, ...] = ()
    fingerprint: str = ""
    quantization: Mapping[str, Any] = field(default_factory=dict)
