"""The command `pocket-colbert-export`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from pocket_colbert.errors import PocketColbertError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option(
    "--precision", type=click.Choice(["int8", "fp32"]), default="int8", show_default=True,
    help="int8 is about a quarter the size and twice as fast; fp32 is for GPUs.",
)  # fmt: skip
@click.option(
    "--fit-projection", "fit_dim", type=click.IntRange(min=1), metavar="DIM",
    help="Width of the projection fitted to a dense encoder.  [default: 96]",
)  # fmt: skip
@click.option(
    "--calibration", type=click.Path(path_type=Path), metavar="FILE",
    help="Text to fit the projection on: .txt, a text a line, or .jsonl with text, passage, query "
    "or title; may be gzipped.  [default: texts that ship with the exporter]",
)  # fmt: skip
@click.option("--query-length", type=int, help="Window of queries in tokens (dense encoders).")
@click.option("--document-length", type=int, help="Window of documents in tokens (dense encoders).")
@click.option("--licence", help="SPDX licence of the weights, where the checkpoint does not say.")
@click.option(
    "--allow-degraded", is_flag=True, help="Write int8 that fails the gate; recorded in it."
)
@click.option("--overwrite", is_flag=True, help="Replace a model folder at OUTPUT.")
def main(source: str, output: Path, **options: Any) -> None:
    """Turn the ColBERT checkpoint SOURCE into a model folder.

    SOURCE is a folder or a hub id (owner/name): PyLate, sentence-transformers, Stanford ColBERT,
    or a dense encoder. The export proves that the graph computes and ranks as the checkpoint
    does, and writes nothing when it does not.
    """
    try:
        from pocket_colbert_export.export import export_model

        command = shlex.join(["pocket-colbert-export", *sys.argv[1:]])
        files = export_model(
            source, output, command=command, step=lambda text: click.echo(f"{text} ...", err=True),
            **options,
        )  # fmt: skip
    except PocketColbertError as error:
        raise click.ClickException(str(error)) from error
    size = files.graph.stat().st_size / 1e6
    click.echo(
        f"{output}: {files.card.precision}, {files.config.embedding_dim} dimensions, {size:.1f} MB"
    )
    if files.card.quantization:
        found = files.card.quantization["fidelity"]
        click.echo(
            f"{files.card.quantization['chosen']}: token cosine {found['mean_cosine']:.4f}, "
            f"first 10 {100 * found['top_overlap']:.1f} % the same as float32's"
        )
