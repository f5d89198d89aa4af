"""The command `pocket-colbert-export`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any, TextIO

import click

from pocket_colbert.cli.command_group import CommandGroup


class _ExportByDefault(CommandGroup):
    """A group whose commands other than `export` have to be named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["export", *args]
        return super().parse_args(ctx, args)


def _say(text: str) -> None:
    click.echo(f"{text} ...", err=True)


@click.group(cls=_ExportByDefault, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make models for pocket-colbert.

    `pocket-colbert-export SOURCE -o FOLDER` is short for its export command.
    """


@main.command()
@click.argument("source")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder to write."
)
@click.option(
    "--precision", type=click.Choice(["int8", "fp16", "fp32"]), default="int8",
    show_default=True, help="int8 is a quarter the size and twice as fast on CPUs; fp16, half the "
    "size, is for GPUs; fp32 is exact.",
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
@click.option("--license", help="SPDX licence of the weights, where the checkpoint does not say.")
@click.option(
    "--about", type=click.File(encoding="utf-8"), metavar="FILE",
    help="Markdown to put into the model card.",
)  # fmt: skip
@click.option(
    "--allow-degraded", is_flag=True, help="Write int8 or fp16 that fails the gate; recorded in it."
)
@click.option("--overwrite", is_flag=True, help="Replace a model folder at OUTPUT.")
def export(source: str, output: Path, about: TextIO | None, **options: Any) -> None:
    """Turn the ColBERT checkpoint SOURCE into a model folder.

    SOURCE is a folder or a hub id (owner/name): PyLate, sentence-transformers, Stanford ColBERT,
    or a dense encoder. The export proves that the graph computes and ranks as the checkpoint
    does, and writes nothing when it does not.
    """
    from pocket_colbert_export import export_model

    command = shlex.join(["pocket-colbert-export", *sys.argv[1:]])
    text = about.read() if about else None
    files = export_model(source, output, command=command, about=text, step=_say, **options)
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


def _numbers(
    ctx: click.Context, option: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Read "0,2,4"."""
    if value is None:
        return None
    try:
        return tuple(int(number) for number in value.split(",") if number.strip())
    except ValueError as error:
        raise click.BadParameter(f"expected whole numbers and commas, got {value!r}.") from error


@main.command(context_settings={"show_default": True})
@click.option("--teacher", required=True, help="Checkpoint, hub id or model folder to learn from.")
@click.option("--student", required=True, help="Checkpoint or hub id to start from.")
@click.option(
    "--guide",
    help="Second model, whose MaxSim and one-vector scores join the teacher's.  "
    "[default: the student before training]",
)  # fmt: skip
@click.option(
    "--text", "texts", required=True, multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=".jsonl of query and passage (or title and text), may be gzipped; repeatable.",
)  # fmt: skip
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Checkpoint to write."
)
@click.option(
    "--work", type=click.Path(path_type=Path),
    help="Folder for the teacher's vectors and the state of training; the same call with the same "
    "folder goes on where it stopped.  [default: OUTPUT with .work behind it]",
)  # fmt: skip
@click.option("--pairs", type=int, default=30_000, help="Training pairs, evenly from all texts.")
@click.option("--steps", type=int, default=2_000, help="Optimizer steps.")
@click.option("--batch-size", type=int, default=32, help="Pairs a step.")
@click.option("--learning-rate", type=float, default=3e-4, help="The highest.")
@click.option("--dim", type=int, help="Width of a token vector.  [default: the teacher's]")
@click.option(
    "--prefixes", callback=_numbers, default="64,48,32", metavar="N,N,...",
    help="Widths below it that are to serve on their own.",
)  # fmt: skip
@click.option(
    "--layers", callback=_numbers, metavar="N,N,...",
    help="Layers of the student to keep, from 0.  [default: all]",
)  # fmt: skip
@click.option("--embedding-dim", type=int, help="Width of a factorised embedding table.")
@click.option("--token-weight", type=float, default=3.0, help="Of the token loss; it falls.")
@click.option("--score-weight", type=float, default=1.0, help="Of the ranking loss.")
@click.option("--contrastive-weight", type=float, default=0.0, help="Of each pair being right.")
@click.option("--guide-weight", type=float, default=0.5, help="The teacher's MaxSim weighs 1.")
@click.option("--vector-weight", type=float, default=0.5, help="Of the guide's one-vector score.")
@click.option("--keyword-weight", type=float, default=0.3, help="Of BM25.")
@click.option("--query-max-length", type=int, default=300, help="Longest query in tokens.")
@click.option("--quantize-from", type=float, default=0.85, help="Share of steps before int8.")
@click.option(
    "--keep-start", type=float, default=0.0,
    help="Share of the weights before training in those after it.",
)  # fmt: skip
@click.option("--seed", type=int, default=0)
@click.option("--device", help="torch's name.  [default: the GPU where there is one]")
@click.option(
    "--mixed-precision/--no-mixed-precision", default=None,
    help="Multiply in bfloat16.  [default: where the hardware does]",
)  # fmt: skip
@click.option("--minutes", type=float, help="Stop training after so long; call again to go on.")
def distill(
    teacher: str,
    student: str,
    guide: str | None,
    texts: tuple[Path, ...],
    output: Path,
    work: Path | None,
    device: str | None,
    mixed_precision: bool | None,
    minutes: float | None,
    **settings: Any,
) -> None:
    """Teach a small student what a ColBERT knows.

    Learns from text alone: the teacher's vector of every token, and the ranking of an ensemble of
    teacher, guide and keywords. Writes a checkpoint for the export command. Can be interrupted at
    any time; the same call goes on.
    """
    from pocket_colbert_export import Distillation, distill

    try:
        done = distill(
            teacher, student, guide or student, texts, output,
            work or output.with_name(output.name + ".work"), Distillation(**settings),
            device=device, mixed_precision=mixed_precision, minutes=minutes, step=_say,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; the same call goes on.") from None
    if done:
        click.echo(f"{output}: export it with pocket-colbert-export {output} -o MODEL")
