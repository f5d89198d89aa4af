"""The commands that measure quality."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pocket_colbert.cli.common import (
    codes_option,
    dim_option,
    folder_type,
    json_option,
    keep_option,
    load_encoder,
    model_option,
    path_type,
    pool_option,
    print_json,
    provider_option,
    readable_size,
    split_option,
    threads_option,
)
from pocket_colbert.cli.progress import progress_bar


@click.command()
@click.argument("folder", type=folder_type)
@split_option
@codes_option
@pool_option
@keep_option
@dim_option
@model_option
@threads_option
@provider_option
@json_option
def evaluate(
    folder: Path,
    split: str | None,
    codes: Any,
    pool_factor: float,
    keep: float,
    dim: int | None,
    model: str | None,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Measure a model on a retrieval dataset.

    \b
    Examples:
      pocket-colbert evaluate scifact
      pocket-colbert evaluate scifact --model tiny --codes int8

    FOLDER is a dataset in BEIR form. Needs the extra "eval".
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.config import Pruning
    from pocket_colbert.evaluation.beir import read_beir
    from pocket_colbert.evaluation.evaluate import evaluate as measure

    data = read_beir(folder, split)
    encoder = load_encoder(model, threads, provider, dim)
    with progress_bar("Evaluating", len(data.documents) + len(data.queries), as_json) as update:
        measured = measure(
            encoder,
            data,
            pruning=Pruning(pool_factor=pool_factor, keep=keep),
            codes=codes,
            progress=lambda what, done, _: update(
                done + (len(data.documents) if what == "queries" else 0)
            ),
        )
    if as_json:
        values = asdict(measured)
        metrics = values.pop("metrics")
        print_json({"dataset": folder.name, "split": data.split, **metrics, **values})
        return
    click.echo(
        f"{folder.name} ({data.split}): {measured.documents} documents, {measured.queries} queries"
    )
    for name, value in measured.metrics.items():
        click.echo(f"  {name:12} {value:.4f}")
    click.echo(
        f"  documents    {measured.documents_per_second:.1f} a second, {measured.threads} threads"
    )
    click.echo(
        f"               {measured.tokens_per_document:.1f} token vectors, "
        f"{measured.bytes_per_document:.0f} bytes each"
    )
    click.echo(
        f"  query        {measured.query_ms_p50:.1f} ms median, {measured.query_ms_p95:.1f} ms p95"
    )


@click.command()
@click.argument("folder", type=folder_type)
@split_option
@click.option(
    "--min-quality",
    type=click.FloatRange(0, 1),
    default=None,
    metavar="SHARE",
    help="Recommend the smallest setting that keeps this share of the quality.  [default: 0.99]",
)
@click.option(
    "--max-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="MB",
    help="Recommend the best setting whose vectors fit into this many megabytes for FOLDER.",
)
@click.option(
    "--documents",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Documents to sample; one longer than the model's window counts several times.",
)
@click.option(
    "--queries",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Queries to sample.",
)
@click.option(
    "--plot",
    "picture",
    type=path_type,
    default=None,
    metavar="FILE",
    help="Plot the frontier to FILE (.svg or .png).",
)
@model_option
@threads_option
@provider_option
@json_option
def tune(
    folder: Path,
    split: str | None,
    min_quality: float | None,
    max_mb: float | None,
    documents: int,
    queries: int,
    picture: Path | None,
    model: str | None,
    threads: int | None,
    provider: str,
    as_json: bool,
) -> None:
    """Find the smallest index that keeps its quality.

    \b
    Examples:
      pocket-colbert tune scifact
      pocket-colbert tune scifact --min-quality 0.99

    FOLDER is a dataset in BEIR form. Codes and pruning are measured on a sample of it. The options
    of `pocket-colbert index` that meet --min-quality or --max-mb are printed. Needs the extra
    "eval".
    """  # noqa: D301 - click's mark for lines it must not wrap
    from pocket_colbert.evaluation.beir import read_beir
    from pocket_colbert.evaluation.plot import plot
    from pocket_colbert.evaluation.tuning import tune as measure

    if min_quality is not None and max_mb is not None:
        raise click.UsageError("pass either --min-quality or --max-mb, not both.")
    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise click.UsageError(f"--plot must end in .svg or .png, got {picture}.")
    data = read_beir(folder, split)
    encoder = load_encoder(model, threads, provider)
    with progress_bar("Tuning", 1, as_json) as update:
        tuning = measure(
            encoder, data, max_documents=documents, max_queries=queries,
            progress=update,
        )  # fmt: skip
    if max_mb is not None:
        chosen = tuning.recommend(max_bytes_per_document=max_mb * 1e6 / len(data.documents))
    else:
        chosen = tuning.recommend(min_quality=0.99 if min_quality is None else min_quality)
    if picture is not None:
        title = f"{folder.name}: {encoder.config.model_name or 'model'}"
        from pocket_colbert.storage.files import atomic_file

        with atomic_file(picture) as work:
            plot(tuning, chosen, title, work)
    options = index_options(chosen, model)
    if as_json:
        values = asdict(tuning) | {"recommended": asdict(chosen), "options": options}
        print_json({"dataset": folder.name, "split": data.split, **values})
        return
    click.echo(
        f"{folder.name}: {tuning.documents} documents, {tuning.queries} queries; unpruned float32 "
        + ", ".join(f"{name} {value:.4f}" for name, value in tuning.baseline.items())
    )
    click.echo(f"  {'':6}{'':24}{'bytes':>8}{'nDCG@10':>9}{'R@100':>8}{'same 10':>9}{'quality':>9}")
    frontier = tuning.frontier()
    for item in tuning.measured:
        mark = "*" if item is chosen else "-" if item in frontier else " "
        click.echo(
            f"{mark} {item.codes:6}{item.label:24}{item.bytes_per_document:8.0f}"
            f"{item.metrics['nDCG@10']:9.4f}{item.metrics['Recall@100']:8.4f}"
            f"{item.overlap:9.3f}{item.quality:9.1%}"
        )
    size = readable_size(chosen.bytes_per_document * len(data.documents))
    click.echo(f"* keeps {chosen.quality:.1%} in {size}: pocket-colbert index ... {options}")


def index_options(chosen: Any, model: str | None) -> str:
    """Return the options of `pocket-colbert index` for a setting and the model it was tuned on."""
    from pocket_colbert.model.folder import DEFAULT_MODEL

    pruning = chosen.pruning
    words = [f"--codes {chosen.codes}"]
    if pruning.pool_factor != 1:
        words.append(f"--pool-factor {pruning.pool_factor:g}")
    if pruning.keep != 1:
        words.append(f"--keep {pruning.keep:g}")
    if pruning.skiplist_ids:
        words.append(f"--drop-frequent {len(pruning.skiplist_ids)}")
    if model not in (None, DEFAULT_MODEL):
        words.append(f"--model {shlex.quote(str(model))}")
    return " ".join(words)
