"""What an export measured, and what it made: the content of `export_report.json`.

Every class writes itself with `to_json` and reads that back with `from_json`, which refuses
unknown and missing keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, TypeVar, get_args

from pocket_colbert.checks import check_choice, require

Precision = Literal["int8", "fp16", "fp32"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a model comes from.

    Attributes:
        name: The checkpoint, for people.
        layout: Its layout.
        architecture: Class of its backbone in transformers.
        license: SPDX expression of its weights, or "unknown".
        languages: Codes of the languages that it was made for, () when unknown.
    """

    name: str
    layout: str
    architecture: str
    license: str
    languages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TokenParity:
    """That the runtime's token ids are transformers'.

    Attributes:
        texts: Texts compared, each as a query and as a document.
    """

    texts: int


@dataclass(frozen=True, kw_only=True)
class FloatParity:
    """How near the float32 graph is to torch.

    Attributes:
        texts: Texts compared.
        max_abs_difference: Largest difference of a component.
        tolerance: The largest that is allowed.
    """

    texts: int
    max_abs_difference: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """How near one graph's vectors and rankings are to another's.

    Attributes:
        mean_cosine: Mean cosine of a token vector with its counterpart.
        low_cosine: The cosine that 1 % of the token vectors stay below.
        worst_cosine: The smallest cosine.
        rank_correlation: Spearman's correlation of a query's scores over all documents, mean.
        top_overlap: Share of a query's first 10 documents that both graphs agree on, mean.
        same_first: Share of queries with the same first document.
        tokens: Token vectors compared.
        queries: Queries compared.
        documents: Documents they were ranked over.
    """

    mean_cosine: float
    low_cosine: float
    worst_cosine: float
    rank_correlation: float
    top_overlap: float
    same_first: float
    tokens: int
    queries: int
    documents: int

    def rounded(self) -> Fidelity:
        """Return the figures rounded to six digits, as reports have them."""
        return Fidelity(**{key: round(value, 6) for key, value in asdict(self).items()})


@dataclass(frozen=True, kw_only=True)
class Int8Recipe:
    """One way to quantise.

    Attributes:
        smoothing: Share of the activations' range that moves into the weights, 0 for none.
        reduce_range: 7 instead of 8 bits for weights: x86 CPUs without VNNI add pairs of
            products in 16 bits, which 8-bit weights can overflow. The runtime asks onnxruntime
            for the slower exact addition there (`session.x64quantprecision`), so 7 bits are
            chosen only where they happen to be nearer.
        keep_sensitive: Whether the tenth of the products with the largest error stays in float.
    """

    smoothing: float
    reduce_range: bool
    keep_sensitive: bool = False

    @property
    def name(self) -> str:
        """Name for people."""
        parts = ["per channel", "7-bit weights" if self.reduce_range else "8-bit weights"]
        if self.smoothing:
            parts.append(f"smoothed {self.smoothing:g}")
        if self.keep_sensitive:
            parts.append("sensitive products in float")
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class QuantizationTrial:
    """An int8 recipe that was tried; the figures are those of `Fidelity`.

    Attributes:
        recipe: Name of the recipe.
        mean_cosine: See `Fidelity`.
        low_cosine: See `Fidelity`.
        top_overlap: See `Fidelity`.
        bytes: Size of its graph.
    """

    recipe: str
    mean_cosine: float
    low_cosine: float
    top_overlap: float
    bytes: int

    @classmethod
    def all_of(
        cls, attempts: Iterable[tuple[Int8Recipe, Fidelity, int]]
    ) -> tuple[QuantizationTrial, ...]:
        """Return the trials of recipes, with what was measured and the size of the graph."""
        figures = [(recipe, fidelity.rounded(), size) for recipe, fidelity, size in attempts]
        return tuple(
            cls(
                recipe=recipe.name,
                mean_cosine=rounded.mean_cosine,
                low_cosine=rounded.low_cosine,
                top_overlap=rounded.top_overlap,
                bytes=size,
            )
            for recipe, rounded, size in figures
        )


@dataclass(frozen=True, kw_only=True)
class Int8Report:
    """The int8 graph: how it was chosen, and how near it is to float32.

    Attributes:
        chosen: Name of the recipe.
        recipe: The recipe.
        fidelity: How near the graph is to the float32 one, on texts it was not calibrated on.
        gate: The least fidelity that passes, by the name of its field.
        failures: What of the gate the graph fails.
        forced: Whether it was written although it fails.
        tried: All recipes that were tried.
    """

    chosen: str
    recipe: Int8Recipe
    fidelity: Fidelity
    gate: Mapping[str, float]
    failures: tuple[str, ...]
    forced: bool
    tried: tuple[QuantizationTrial, ...]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Int8Report:
        """Read what `dataclasses.asdict` made; raise InvalidInputError for unknown keys."""
        return _read(
            cls,
            values,
            recipe=_read(Int8Recipe, values.get("recipe", {})),
            fidelity=_read(Fidelity, values.get("fidelity", {})),
            failures=tuple(values.get("failures", ())),
            tried=tuple(_read(QuantizationTrial, row) for row in values.get("tried", ())),
        )


@dataclass(frozen=True, kw_only=True)
class Float16Recipe:
    """What stays float32 in a float16 graph, in words."""

    float32: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Float16Report:
    """The float16 graph, and how near it is to float32.

    Attributes:
        chosen: "float16".
        recipe: What stays float32.
        fidelity: How near the graph is to the float32 one.
        gate: The least fidelity that passes, by the name of its field.
        batch_max_abs_difference: Largest difference of a component between a text alone and in a
            padded batch.
        batch_tolerance: The largest that is allowed.
        failures: What of the gate the graph fails.
        forced: Whether it was written although it fails.
    """

    chosen: str
    recipe: Float16Recipe
    fidelity: Fidelity
    gate: Mapping[str, float]
    batch_max_abs_difference: float
    batch_tolerance: float
    failures: tuple[str, ...]
    forced: bool

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Float16Report:
        """Read what `dataclasses.asdict` made; raise InvalidInputError for unknown keys."""
        recipe = values.get("recipe", {})
        return _read(
            cls,
            values,
            recipe=_read(Float16Recipe, recipe, float32=tuple(recipe.get("float32", ()))),
            fidelity=_read(Fidelity, values.get("fidelity", {})),
            failures=tuple(values.get("failures", ())),
        )


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """All that an export measured.

    Attributes:
        precision: "int8", "fp16" or "fp32".
        model_file: Name of the ONNX file.
        tokens: Token ids against transformers'.
        float: The float32 graph against torch.
        int8: The int8 graph against the float32 one, None for other precisions.
        fp16: The float16 graph against the float32 one, None for other precisions.
        bytes: Size of the graph, with its external data if any.
        notes: What a reader of the model card should know.
        versions: Versions of the packages that took part, and the machine.
        source: Where the model comes from.
        distilled: What `distill` or `shrink` wrote about its making, None for others.
    """

    precision: Precision
    model_file: str
    tokens: TokenParity
    float: FloatParity
    int8: Int8Report | None = None
    fp16: Float16Report | None = None
    bytes: int
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    source: Source
    distilled: Mapping[str, Any] | None = None

    def card_json(self) -> dict[str, Any]:
        """Return what the `pocket_colbert` section of the recipe file keeps, see `ModelCard`."""
        measured = self.int8 or self.fp16
        quantization = asdict(measured) if measured is not None else {}
        kept = ("chosen", "recipe", "fidelity", "forced")
        return {
            "precision": self.precision,
            "model_file": self.model_file,
            "source": self.source.name,
            "license": self.source.license,
            "languages": list(self.source.languages),
            "quantization": {key: quantization[key] for key in kept if key in quantization},
            "exporter": dict(self.versions),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the content of `export_report.json`; what is not known is left out."""
        content = {key: value for key, value in asdict(self).items() if value is not None}
        if not self.source.languages:
            del content["source"]["languages"]
        return content

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ExportReport:
        """Read `export_report.json`.

        Raises:
            InvalidInputError: A key is missing or unknown; the message names it.
        """
        check_choice("precision", values.get("precision"), PRECISIONS)
        return _read(
            cls,
            values,
            tokens=_read(TokenParity, values.get("tokens", {})),
            float=_read(FloatParity, values.get("float", {})),
            int8=Int8Report.from_json(values["int8"]) if "int8" in values else None,
            fp16=Float16Report.from_json(values["fp16"]) if "fp16" in values else None,
            notes=tuple(values.get("notes", ())),
            source=_read(Source, values.get("source", {})),
        )


def _read(kind: type[_T], values: Mapping[str, Any], **parts: Any) -> _T:
    """Make a dataclass of JSON, with those of its fields that are no plain JSON."""
    names = {item.name: item for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(names))
    require(not unknown, f"{kind.__name__} has unknown keys {unknown}.")
    given = {**values, **parts}
    missing = sorted(
        name for name, item in names.items() if name not in given and item.default is MISSING
    )
    require(not missing, f"{kind.__name__} lacks the keys {missing}.")
    return kind(**given)
