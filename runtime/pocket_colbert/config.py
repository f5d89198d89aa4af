"""The settings of a model and of an index: frozen, checked, and round-tripping through JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pocket_colbert.errors import InvalidInputError

RECIPE_VERSION = 1
"""Version of the `pocket_colbert` section of `onnx_config.json` that this release writes."""

OWN_SECTION = "pocket_colbert"
"""Key of `onnx_config.json` under which everything lies that other tools do not know."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InvalidInputError(message)


def _is_int(value: object, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= low


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_pool_factor(value: Any) -> None:
    _require(
        _is_number(value) and 1 <= value < float("inf"),
        f"pool_factor must be a finite number >= 1, got {value!r}.",
    )


def _strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _ids(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_int(item, 0) for item in value)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The recipe: all that turning text into token vectors needs beside graph and tokenizer.

    Field names are PyLate's where PyLate has one. `to_json` writes those at the top level of
    `onnx_config.json`, where next-plaid looks for them, and the rest under `pocket_colbert`.

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
            value = getattr(self, name)
            _require(_is_int(value, 1), f"{name} must be a whole number >= 1, got {value!r}.")
        for name in ("query_prefix_id", "document_prefix_id", "mask_token_id"):
            value = getattr(self, name)
            _require(
                value is None or _is_int(value, 0),
                f"{name} must be a token id >= 0 or null, got {value!r}.",
            )
        for name in ("query_prefix", "document_prefix", "model_name"):
            value = getattr(self, name)
            _require(isinstance(value, str), f"{name} must be a text, got {value!r}.")
        for name in ("do_query_expansion", "attend_to_expansion_tokens", "do_lower_case"):
            value = getattr(self, name)
            _require(isinstance(value, bool), f"{name} must be true or false, got {value!r}.")
        for name, check in (
            ("skiplist_words", _strings),
            ("skiplist_tasks", _strings),
            ("skiplist_ids", _ids),
            ("keep_only_token_ids", _ids),
            ("matryoshka_dims", _ids),
        ):
            value = getattr(self, name)
            _require(check(value), f"{name} must be a list of the right kind, got {value!r}.")
        _require(
            set(self.skiplist_tasks) <= {"query", "document"},
            f"skiplist_tasks may hold 'query' and 'document', got {list(self.skiplist_tasks)}.",
        )
        _require(
            self.query_expansion_strategy in ("fixed", "min"),
            "query_expansion_strategy must be 'fixed' or 'min', "
            f"got {self.query_expansion_strategy!r}.",
        )
        _require(
            not self.do_query_expansion or self.mask_token_id is not None,
            "mask_token_id must be given when do_query_expansion is true, got null.",
        )
        _require(
            self.query_max_length is None or _is_int(self.query_max_length, self.query_length),
            f"query_max_length must be null or >= query_length ({self.query_length}), "
            f"got {self.query_max_length!r}.",
        )
        widths = (self.embedding_dim, *self.matryoshka_dims, 0)
        _require(
            all(high > low for high, low in zip(widths, widths[1:], strict=False)),
            f"matryoshka_dims must fall from below embedding_dim ({self.embedding_dim}) to 1 or "
            f"more, got {list(self.matryoshka_dims)}.",
        )
        _check_pool_factor(self.pool_factor)
        _require(
            _is_int(self.num_protected_tokens, 0),
            f"num_protected_tokens must be a whole number >= 0, got {self.num_protected_tokens!r}.",
        )

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
        _require(not unknown, f"{OWN_SECTION} has unknown keys {unknown}.")
        values = {key: recipe[key] for key in _ECOSYSTEM_KEYS if key in recipe} | dict(own_keys)
        for item in fields(cls):
            if item.name in ("embedding_dim", "query_length", "document_length"):
                _require(item.name in values, f"key {item.name!r} is missing.")
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


CODES = ("int8", "int4", "int2", "int1")
"""Names of the schemes token vectors are stored in: bits a component."""

DEFAULT_CODES = "int4"

KEYWORDS = ("english", "words", "trigrams", "none")
"""What counts as a word in keyword search, see `IndexConfig.keywords`."""

HYBRID = ("off", "rrf", "weighted", "keywords")
"""What a search ranks by, see `SearchParameters.hybrid`."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Which token vectors of a document are stored; steps are taken in the order listed here.

    The default stores them all. `pruning.py` holds the steps with their sources, and
    `pocket-colbert tune` measures which setting suits a collection.

    Attributes:
        skiplist_ids: Token ids that are dropped, as `pruning.frequent_token_ids` fits them to a
            collection.
        keep: Share of the token vectors that stays at most, in (0, 1], the least important ones
            being dropped.
        max_tokens: Number of token vectors that stay at most; None for any number.
        max_loss: Dropping stops before MaxSim has lost more than this a query token, on average
            over queries that look for what the document says, in units of cosine; None for no
            bound. Alone it drops all that can be dropped within it.
        pool_factor: Token vectors that become one on average, >= 1, by Ward's clustering.
        num_protected_tokens: First token vectors that neither dropping nor pooling touches.
    """

    skiplist_ids: tuple[int, ...] = ()
    keep: float = 1.0
    max_tokens: int | None = None
    max_loss: float | None = None
    pool_factor: float = 1.0
    num_protected_tokens: int = 1

    def __post_init__(self) -> None:
        _require(
            _ids(self.skiplist_ids),
            f"skiplist_ids must be a tuple of token ids, got {self.skiplist_ids!r}.",
        )
        _require(
            _is_number(self.keep) and 0 < self.keep <= 1,
            f"keep must be a number above 0 and at most 1, got {self.keep!r}.",
        )
        _require(
            self.max_tokens is None or _is_int(self.max_tokens, 1),
            f"max_tokens must be null or a whole number >= 1, got {self.max_tokens!r}.",
        )
        _require(
            self.max_loss is None or (_is_number(self.max_loss) and self.max_loss >= 0),
            f"max_loss must be null or a number >= 0, got {self.max_loss!r}.",
        )
        _check_pool_factor(self.pool_factor)
        _require(
            _is_int(self.num_protected_tokens, 0),
            f"num_protected_tokens must be a whole number >= 0, got {self.num_protected_tokens!r}.",
        )

    @property
    def drops(self) -> bool:
        """Whether token vectors are dropped by importance."""
        return self.keep < 1 or self.max_tokens is not None or self.max_loss is not None

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self) | {"skiplist_ids": list(self.skiplist_ids)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Pruning:
        """Read the settings back; unknown or missing keys raise InvalidInputError."""
        _check_keys(cls, values, "pruning settings")
        return cls(**{**values, "skiplist_ids": tuple(values["skiplist_ids"])})


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How documents that are longer than the model's window become passages.

    Attributes:
        max_tokens: Tokens a passage has at most, title, markers and special tokens included; None
            for as many as the model's window holds, which is the most in any case.
        overlap: About how many tokens neighbouring passages share, so that what stands at a
            border is whole in one of them; at most half a passage.
    """

    max_tokens: int | None = None
    overlap: int = 32

    def __post_init__(self) -> None:
        _require(
            self.max_tokens is None or _is_int(self.max_tokens, 1),
            f"max_tokens must be null or a whole number >= 1, got {self.max_tokens!r}.",
        )
        _require(
            _is_int(self.overlap, 0), f"overlap must be a whole number >= 0, got {self.overlap!r}."
        )

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Splitting:
        """Read the settings back; unknown or missing keys raise InvalidInputError."""
        _check_keys(cls, values, "splitting settings")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How an index stores its token vectors; fixed when the index is made.

    Attributes:
        dim: Width of a token vector.
        codes: How a component is stored: "int8", "int4", "int2" or "int1", by its bits. The cost
            of each is in `benchmarks/README.md`.
        pruning: Which token vectors are stored. Kept so that documents added later are pruned
            the same; `Encoder.encode_document` does the pruning.
        splitting: How long documents become passages. Kept for the same reason;
            `Encoder.encode_passages` does the splitting.
        keywords: What counts as a word in keyword search: "english" folds English endings
            (Porter) and accents, "words" folds accents only, "trigrams" takes any three
            characters, for languages written without spaces (words of one or two characters
            are not found); "none" stores no keywords.
        inverted_file: When a segment gets an inverted file for approximate search: "auto" from
            `inverted_min_tokens` token vectors on, "always" or "never".
        inverted_min_tokens: See `inverted_file`. Exact search over fewer is as fast or faster.
        model: Fingerprint of the model that encoded the documents, "" when unknown.
    """

    dim: int
    codes: str = DEFAULT_CODES
    pruning: Pruning = Pruning()
    splitting: Splitting = Splitting()
    keywords: Literal["english", "words", "trigrams", "none"] = "english"
    inverted_file: Literal["auto", "always", "never"] = "auto"
    inverted_min_tokens: int = 500_000
    model: str = ""

    def __post_init__(self) -> None:
        for name in ("dim", "inverted_min_tokens"):
            value = getattr(self, name)
            _require(_is_int(value, 1), f"{name} must be a whole number >= 1, got {value!r}.")
        _require(self.dim <= 1024, f"dim must be <= 1024, got {self.dim}.")
        _require(self.codes in CODES, f"codes must be one of {list(CODES)}, got {self.codes!r}.")
        _require(
            isinstance(self.pruning, Pruning), f"pruning must be a Pruning, got {self.pruning!r}."
        )
        _require(
            isinstance(self.splitting, Splitting),
            f"splitting must be a Splitting, got {self.splitting!r}.",
        )
        _require(
            self.keywords in KEYWORDS,
            f"keywords must be one of {list(KEYWORDS)}, got {self.keywords!r}.",
        )
        _require(
            self.inverted_file in ("auto", "always", "never"),
            f"inverted_file must be 'auto', 'always' or 'never', got {self.inverted_file!r}.",
        )
        _require(isinstance(self.model, str), f"model must be a text, got {self.model!r}.")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self) | {"pruning": self.pruning.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> IndexConfig:
        """Read the settings back; unknown or missing keys raise InvalidInputError."""
        _check_keys(cls, values, "index settings")
        parts = {
            "pruning": Pruning.from_json(values["pruning"]),
            "splitting": Splitting.from_json(values["splitting"]),
        }
        return cls(**{**values, **parts})

    @classmethod
    def from_json_version_2(cls, values: Mapping[str, Any]) -> IndexConfig:
        """Read the settings of an index of format 2: its documents were not split."""
        defaults = {"splitting": Splitting().to_json(), "keywords": "english"}
        _require(
            isinstance(values, Mapping) and not set(defaults) & set(values),
            "index settings of format 2 must not have splitting or keywords.",
        )
        return cls.from_json({**values, **defaults})

    @classmethod
    def from_json_version_1(cls, values: Mapping[str, Any]) -> IndexConfig:
        """Read the settings of an index of format 1.

        Its int8 codes are read as they are; its graphs are not used any more, and what is added
        to it later gets an inverted file instead.
        """
        expected = {
            "dim", "codes", "pool_factor", "num_protected_tokens", "graph", "graph_min_tokens",
            "connectivity", "expansion_add", "model",
        }  # fmt: skip
        _require(
            set(values) == expected and values["codes"] == "int8",
            f"index settings of format 1 must be int8 codes and have the keys {sorted(expected)}.",
        )
        return cls(
            dim=values["dim"],
            codes="int8",
            pruning=Pruning(
                pool_factor=values["pool_factor"],
                num_protected_tokens=values["num_protected_tokens"],
            ),
            inverted_file=values["graph"],
            inverted_min_tokens=values["graph_min_tokens"],
            model=values["model"],
        )


def _check_keys(cls: Any, values: Mapping[str, Any], what: str) -> None:
    names = {item.name for item in fields(cls)}
    _require(
        isinstance(values, Mapping) and set(values) == names,
        f"{what} must have the keys {sorted(names)}, got {sorted(values)}.",
    )


@dataclass(frozen=True, kw_only=True)
class SearchParameters:
    """How one search is carried out.

    The defaults find at least 99 % of what exact search has among the first 10, on every set of
    real documents in `benchmarks/README.md`.

    Attributes:
        mode: "exact" scores every document, "approximate" only candidates from inverted files
            (segments without one are scored whole), "auto" is whichever has fewer token vectors
            to score, segment by segment.
        lookups: Centroids that are looked up, shared out among the query tokens: at least 8 and
            at most 64 each. Queries of few tokens need more of each to find as much.
        candidates: Documents a segment whose exact MaxSim is computed, at least `k`; by default
            512 where documents have 200 token vectors or more, and more where they have fewer:
            short or pooled ones are estimated less well, and scored faster.
        query_tokens: Query tokens that are looked up, the most informative ones; all by default.
            All of them score in any case.
        query_tolerance: Query token vectors no further apart than this (Euclidean) count as one,
            with its weight, as some [MASK] expansion vectors do; 0 merges none. See
            `pruning.merge_duplicate_query_tokens` for the bound on what it changes.
        hybrid: What documents are ranked by: "off" by MaxSim alone; "rrf" by MaxSim and BM25,
            fused by reciprocal rank (Cormack et al. 2009, SIGIR: 1 / (60 + rank), summed);
            "weighted" by both scores, scaled to 0 to 1 and weighted (Bruch et al. 2023, arXiv
            2210.11934); "keywords" by BM25 alone.
        keyword_weight: Weight of BM25 in "weighted", from 0 to 1.
        depth: Documents that MaxSim and BM25 each bring into a fusion, at least `k`.
        passages: Best passages that come with each document at most.
    """

    mode: Literal["auto", "exact", "approximate"] = "auto"
    lookups: int = 512
    candidates: int | None = None
    query_tokens: int | None = None
    query_tolerance: float = 0.0
    hybrid: Literal["off", "rrf", "weighted", "keywords"] = "off"
    keyword_weight: float = 0.3
    depth: int = 100
    passages: int = 3

    def __post_init__(self) -> None:
        _require(
            self.hybrid in HYBRID,
            f"hybrid must be one of {list(HYBRID)}, got {self.hybrid!r}.",
        )
        _require(
            _is_number(self.keyword_weight) and 0 <= self.keyword_weight <= 1,
            f"keyword_weight must be a number from 0 to 1, got {self.keyword_weight!r}.",
        )
        for name in ("depth", "passages"):
            value = getattr(self, name)
            _require(_is_int(value, 1), f"{name} must be a whole number >= 1, got {value!r}.")
        _require(
            _is_number(self.query_tolerance) and 0 <= self.query_tolerance < float("inf"),
            f"query_tolerance must be a number >= 0, got {self.query_tolerance!r}.",
        )
        _require(
            self.mode in ("auto", "exact", "approximate"),
            f"mode must be 'auto', 'exact' or 'approximate', got {self.mode!r}.",
        )
        _require(
            _is_int(self.lookups, 1), f"lookups must be a whole number >= 1, got {self.lookups!r}."
        )
        for name in ("candidates", "query_tokens"):
            value = getattr(self, name)
            _require(
                value is None or _is_int(value, 1),
                f"{name} must be null or a whole number >= 1, got {value!r}.",
            )


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """What the `pocket_colbert` section says about a model beside its recipe.

    Attributes:
        precision: "int8", "fp16" or "fp32".
        model_file: Name of the ONNX file in the folder.
        source: Where the weights came from.
        licence: SPDX expression of the weights, or "unknown".
        fingerprint: sha256 over graph, tokenizer and recipe: models that give a text the same
            vectors have the same one, whatever their cards say.
        quantization: What was chosen and measured, empty for fp32.
    """

    precision: str
    model_file: str
    source: str = ""
    licence: str = "unknown"
    fingerprint: str = ""
    quantization: Mapping[str, Any] = field(default_factory=dict)
