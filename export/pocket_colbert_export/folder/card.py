"""The model card: what the folder is, how it was made, how near it is to its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert_export.proof.report import ExportReport, Float16Report, Int8Report


def model_card(
    name: str,
    config: ModelConfig,
    report: ExportReport,
    command: str,
    about: str | None = None,
) -> str:
    """Write the card.

    Args:
        name: Name of the model folder.
        config: The recipe.
        report: What `export_model` measured.
        command: The command line that makes this folder again.
        about: Markdown of the maker's own.

    Returns:
        Markdown.
    """
    source = report.source
    lines = [
        f"# {name}",
        "",
        f"A ColBERT model for pocket-colbert, exported from `{source.name}` "
        f"({source.layout} layout, {source.architecture}, licence: {source.license}).",
        "",
        "| | |",
        "|---|---|",
        f"| token vectors | {config.embedding_dim} dimensions, unit length |",
        *_widths(config),
        f"| documents | up to {config.document_length} tokens{_marker(config.document_prefix)} |",
        f"| queries | {_queries(config)}{_marker(config.query_prefix)} |",
        f"| languages | {', '.join(source.languages) or 'not known'} |",
        f"| precision | {report.precision} |",
        f"| graph | `{report.model_file}`, {report.bytes / 1e6:.1f} MB |",
        "",
        "Made by:",
        "",
        f"    {command}",
        "",
        *_distilled(report.distilled),
        *([about.strip(), ""] if about else []),
        "## Proof",
        "",
        f"Token ids equal transformers' on {report.tokens.texts} texts. torch against the "
        f"float32 graph: largest difference {report.float.max_abs_difference:.1e} over "
        f"{report.float.texts} texts (gate {report.float.tolerance:.0e}).",
        "",
    ]
    if report.int8 is not None:
        lines += _int8(report.int8)
    if report.fp16 is not None:
        lines += _float16(report.fp16)
    if report.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in report.notes), ""]
    versions = ", ".join(f"{key} {value}" for key, value in report.versions.items())
    return "\n".join([*lines, f"Exported with {versions}.", ""])


def notice(name: str, report: ExportReport) -> str:
    """Write the NOTICE that travels with the weights: whose they are and what was changed."""
    source, taught = report.source, report.distilled
    whose = source.name
    if taught:
        whose = f"a model that started as {taught['student']} and was distilled from "
        whose += " and ".join(map(str, taught["teachers"]))
    changes = "converted to one ONNX graph with projection and normalisation"
    if report.precision == "int8":
        changes += ", weights quantised to int8"
    if report.precision == "fp16":
        changes += ", weights rounded to float16"
    if source.layout == "dense":
        changes += ", a fitted projection added and the pooling left out"
    return (
        f"{name}\n\nThis folder holds the weights of {whose} (licence: "
        f"{source.license}),\nchanged by pocket-colbert-export: {changes}.\n"
    )


def _distilled(taught: Mapping[str, Any] | None) -> list[str]:
    if not taught:
        return []
    settings = taught["settings"]
    teachers = " and ".join(f"`{name}`" for name in taught["teachers"])
    return [
        f"Distilled with pocket-colbert-export: it started from `{taught['student']}` and was "
        f"taught by {teachers}, for {settings.get('steps')} steps, without any judgements, on the "
        "texts " + ", ".join(map(str, taught["texts"])) + ".",
        "",
    ]


def _int8(report: Int8Report) -> list[str]:
    return [
        f"int8 against float32, on {report.fidelity.documents} documents and "
        f"{report.fidelity.queries} queries that were not used to calibrate:",
        "",
        *_measured(report),
        "",
        f"Chosen: {report.chosen}, the nearest to float32 of those tried:",
        "",
        "| recipe | mean cosine | 1 % quantile | first 10 | MB |",
        "|---|---|---|---|---|",
        *(
            f"| {trial.recipe} | {trial.mean_cosine:.4f} | {trial.low_cosine:.4f} "
            f"| {trial.top_overlap:.4f} | {trial.bytes / 1e6:.1f} |"
            for trial in report.tried
        ),
        "",
        *_degraded(report),
    ]


def _float16(report: Float16Report) -> list[str]:
    return [
        f"float16 against float32, on {report.fidelity.documents} documents and "
        f"{report.fidelity.queries} queries:",
        "",
        *_measured(report),
        "",
        "Largest difference between a text alone and in a padded batch: "
        f"{report.batch_max_abs_difference:.1e} (gate {report.batch_tolerance:.0e}). "
        f"Weights and products are float16; float32 are {', '.join(report.recipe.float32)}.",
        "",
        *_degraded(report),
    ]


def _measured(report: Int8Report | Float16Report) -> list[str]:
    """Write the table of what was measured and what the gate asks for."""
    labels = {
        "mean_cosine": "token cosine, mean",
        "low_cosine": "token cosine, 1 % quantile",
        "worst_cosine": "token cosine, worst",
        "rank_correlation": "rank correlation of MaxSim (Spearman)",
        "top_overlap": "overlap of the first 10",
        "same_first": "same first document",
    }
    return [
        "| | measured | gate |",
        "|---|---|---|",
        *(
            f"| {label} | {getattr(report.fidelity, name):.4f} | {report.gate.get(name, '')} |"
            for name, label in labels.items()
        ),
    ]


def _degraded(report: Int8Report | Float16Report) -> list[str]:
    if not report.forced:
        return []
    return [
        "**Degraded: the gate was overridden with --allow-degraded.** "
        + "; ".join(report.failures)
        + ".",
        "",
    ]


def _widths(config: ModelConfig) -> list[str]:
    widths = ", ".join(map(str, config.matryoshka_dims))
    return [f"| the first of them serve alone | {widths} |"] if widths else []


def _marker(prefix: str) -> str:
    return f", after `{prefix.strip()}`" if prefix.strip() else ""


def _queries(config: ModelConfig) -> str:
    if not config.do_query_expansion:
        return f"up to {config.query_length} tokens, not expanded"
    attended = "attended to" if config.attend_to_expansion_tokens else "not attended to"
    longest = f", up to {config.query_max_length}" if config.query_max_length else ""
    return f"expanded to {config.query_length} tokens{longest}, expansion {attended}"
