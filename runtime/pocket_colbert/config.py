"""The settings of a model and of an index: frozen, checked, and round-tripping through JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from pocket_colbert.checks import (
    are_token_ids,
    check_choice,
    check_pool_factor,
    check_protected_tokens,
    check_text,
    check_whole_number,
    is_number,
    require,
)

Codes = Literal["int8", "int4", "int2", "int1"]
Keywords = Literal["english", "words", "trigrams", "none"]
InvertedFileUse = Literal["auto", "always", "never"]
CandidateSource = Literal["auto", "lists", "usearch"]
Mode = Literal["auto", "exact", "approximate"]
Hybrid = Literal["auto", "off", "rrf", "weighted", "keywords"]

CODES: tuple[Codes, ...] = get_args(Codes)
"""How a component of a token vector is stored, by its bits."""

DEFAULT_CODES: Codes = "int4"

KEYWORDS: tuple[Keywords, ...] = get_args(Keywords)
"""What counts as a word in keyword search, see `IndexConfig.keywords`."""

INVERTED_FILE: tuple[InvertedFileUse, ...] = get_args(InvertedFileUse)
"""When a segment gets an inverted file, see `IndexConfig.inverted_file`."""

CANDIDATE_SOURCES: tuple[CandidateSource, ...] = get_args(CandidateSource)
"""What approximate search takes its candidates from, see `IndexConfig.candidates`."""

MODES: tuple[Mode, ...] = get_args(Mode)
"""How documents are chosen for scoring, see `SearchParameters.mode`."""

HYBRID: tuple[Hybrid, ...] = get_args(Hybrid)
"""What a search ranks by, see `SearchParameters.hybrid`."""

UNREAD = 0.35
"""A text of which a model can read less is in a script that the model was not made for."""

READ = 0.75
"""A text of which it can read more is in a language that the model was made for."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Which token vectors of a document are stored; steps are taken in the order listed here.

    The default stores them all. `pruning.py` holds the steps with their sources, and
    `pocket-colbert tune` measures which setting suits a collection.

    Examples:
        >>> from pocket_colbert import Pruning
        >>> Pruning(pool_factor=2).pool_factor  # half as many token vectors
        2
        >>> Pruning(pool_factor=0.5)
        Traceback (most recent call last):
            ...
        pocket_colbert.errors.InvalidInputError: pool_factor must be a finite ...

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
        require(
            are_token_ids(self.skiplist_ids),
            f"skiplist_ids must be a tuple of token ids, got {self.skiplist_ids!r}.",
        )
        require(
            is_number(self.keep) and 0 < self.keep <= 1,
            f"keep must be a number above 0 and at most 1, got {self.keep!r}.",
        )
        check_whole_number("max_tokens", self.max_tokens, optional=True)
        require(
            self.max_loss is None or (is_number(self.max_loss) and self.max_loss >= 0),
            f"max_loss must be null or a number >= 0, got {self.max_loss!r}.",
        )
        check_pool_factor(self.pool_factor)
        check_protected_tokens(self.num_protected_tokens)

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

    Examples:
        >>> from pocket_colbert import Encoder, Splitting
        >>> splitting = Splitting(max_tokens=64, overlap=8)
        >>> texts = ["Bees swarm in May. " * 20]
        >>> len(Encoder.load("tiny").encode_passages(texts, splitting=splitting)[0])
        2

    Attributes:
        max_tokens: Tokens a passage has at most, title, markers and special tokens included; None
            for as many as the model's window holds, which is the most in any case.
        overlap: About how many tokens neighbouring passages share, so that what stands at a
            border is whole in one of them; at most half a passage.
    """

    max_tokens: int | None = None
    overlap: int = 32

    def __post_init__(self) -> None:
        check_whole_number("max_tokens", self.max_tokens, optional=True)
        check_whole_number("overlap", self.overlap, least=0)

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

    Examples:
        >>> from pocket_colbert import Index, IndexConfig, Pruning
        >>> config = IndexConfig(dim=96, codes="int8", pruning=Pruning(pool_factor=2))
        >>> Index.create("bees.index", config).config.codes
        'int8'

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
        candidates: What a segment gets for approximate search, where `inverted_file` gives it
            something: "lists" is an inverted file, about a byte a token vector and fast to make.
            "usearch" is a graph over the token vectors themselves, about 250 bytes each and slow
            to make, which needs no clusters to find them. "auto" makes lists, measures on a
            sample what they find, and tries a graph where that is not enough and the segment has
            at most 150 000 token vectors, as a graph takes 500 bytes each while it is made: the
            better of the two stays, and `Index.info` says which.
        model: Fingerprint of the model that encoded the documents, "" when unknown.
    """

    dim: int
    codes: Codes = DEFAULT_CODES
    pruning: Pruning = Pruning()
    splitting: Splitting = Splitting()
    keywords: Keywords = "english"
    inverted_file: InvertedFileUse = "auto"
    inverted_min_tokens: int = 500_000
    candidates: CandidateSource = "auto"
    model: str = ""

    def __post_init__(self) -> None:
        check_whole_number("dim", self.dim, most=1024)
        check_whole_number("inverted_min_tokens", self.inverted_min_tokens)
        check_choice("codes", self.codes, CODES)
        require(
            isinstance(self.pruning, Pruning), f"pruning must be a Pruning, got {self.pruning!r}."
        )
        require(
            isinstance(self.splitting, Splitting),
            f"splitting must be a Splitting, got {self.splitting!r}.",
        )
        check_choice("keywords", self.keywords, KEYWORDS)
        check_choice("inverted_file", self.inverted_file, INVERTED_FILE)
        check_choice("candidates", self.candidates, CANDIDATE_SOURCES)
        check_text("model", self.model)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON object."""
        return asdict(self) | {"pruning": self.pruning.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> IndexConfig:
        """Read the settings back; unknown or missing keys raise InvalidInputError."""
        if isinstance(values, Mapping) and "candidates" not in values:
            values = {**values, "candidates": "lists"}  # as the first indexes were made
        _check_keys(cls, values, "index settings")
        parts = {
            "pruning": Pruning.from_json(values["pruning"]),
            "splitting": Splitting.from_json(values["splitting"]),
        }
        return cls(**{**values, **parts})


def _check_keys(cls: Any, values: Mapping[str, Any], what: str) -> None:
    names = {item.name for item in fields(cls)}
    require(
        isinstance(values, Mapping) and set(values) == names,
        f"{what} must have the keys {sorted(names)}, got {sorted(values)}.",
    )


@dataclass(frozen=True, kw_only=True)
class SearchParameters:
    """How one search is carried out.

    The defaults find at least 99 % of what exact search has among the first 10, on every set of
    real documents in `benchmarks/README.md`.

    Examples:
        >>> from pocket_colbert import Collection, SearchParameters
        >>> notes = Collection(model="tiny")
        >>> notes.add(["Error E-4711: no pressure.", "Error E-4712: no water."], ids=["a", "b"])
        2
        >>> parameters = SearchParameters(hybrid="keywords")
        >>> notes.search("E-4712", parameters=parameters)[0].document_id
        'b'

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
        hybrid: What documents are ranked by: "auto" by MaxSim, and by keywords where the model
            was not made for the query's language, which only a `Retriever` judges: by both where
            the model knows the letters but not the words, by BM25 alone where it knows neither;
            "off" by MaxSim alone; "rrf" by MaxSim and BM25,
            fused by reciprocal rank (Cormack et al. 2009, SIGIR: 1 / (60 + rank), summed);
            "weighted" by both scores, scaled to 0 to 1 and weighted (Bruch et al. 2023, arXiv
            2210.11934); "keywords" by BM25 alone.
        keyword_weight: Weight of BM25 in "weighted", from 0 to 1.
        word_starts: Whether longer words of the query also stand for those that start alike,
            which is good for languages with endings; English has its own rules.
        depth: Documents that MaxSim and BM25 each bring into a fusion, at least `k`.
        passages: Best passages that come with each document at most.
    """

    mode: Mode = "auto"
    lookups: int = 512
    candidates: int | None = None
    query_tokens: int | None = None
    query_tolerance: float = 0.0
    hybrid: Hybrid = "auto"
    keyword_weight: float = 0.3
    word_starts: bool = False
    depth: int = 100
    passages: int = 3

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        check_choice("hybrid", self.hybrid, HYBRID)
        for name in ("lookups", "depth", "passages"):
            check_whole_number(name, getattr(self, name))
        for name in ("candidates", "query_tokens"):
            check_whole_number(name, getattr(self, name), optional=True)
        require(
            isinstance(self.word_starts, bool),
            f"word_starts must be true or false, got {self.word_starts!r}.",
        )
        require(
            is_number(self.keyword_weight) and 0 <= self.keyword_weight <= 1,
            f"keyword_weight must be a number from 0 to 1, got {self.keyword_weight!r}.",
        )
        require(
            is_number(self.query_tolerance) and 0 <= self.query_tolerance < float("inf"),
            f"query_tolerance must be a number >= 0, got {self.query_tolerance!r}.",
        )


WEAK_RELEVANCE = 0.25
"""Hits with less relevance are called weak matches, on the command line and in the page."""


def is_weak(relevance: float | None) -> bool:
    """Say whether a hit is a weak match; one of unknown relevance is not."""
    return relevance is not None and relevance < WEAK_RELEVANCE


@dataclass(frozen=True, kw_only=True)
class RelevanceCurve:
    """How what is measured of a hit turns into its relevance: a logistic curve, fitted to a model.

    Attributes:
        similarity: Weight of how near the words of the query are to the passage.
        score: Weight of MaxSim per token of the query.
        lead: Weight of the lead over other hits, times the share of the query's words that is in
            the passage.
        usual_lead: The lead that is taken for a hit without others beside it.
        offset: What is added.
    """

    similarity: float
    score: float
    lead: float
    usual_lead: float
    offset: float

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            require(
                is_number(value) and abs(value) <= 1e6,
                f"{name} of a relevance curve must be a number of at most 1e6, got {value!r:.40}.",
            )

    def to_json(self) -> dict[str, float]:
        """Return the curve as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: object) -> RelevanceCurve:
        """Read a curve.

        Raises:
            InvalidInputError: A key is missing, unknown or not a number; the message names it.
        """
        names = {item.name for item in fields(cls)}
        require(
            isinstance(values, Mapping) and set(values) == names,
            f"a relevance curve must have the keys {', '.join(sorted(names))}, got {values!r:.80}.",
        )
        assert isinstance(values, Mapping)
        return cls(**values)
