"""The command `pocket-colbert-export`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from pocket_colbert.cli.command_group import CommandGroup, Interrupted

Command = TypeVar("Command", bound=Callable[..., Any])


class _ExportByDefault(CommandGroup):
    """A group that takes its arguments for those of `export` unless they name a command."""

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


_path = click.Path(path_type=Path)


@main.command(context_settings={"show_default": True})
@click.argument("source")
@click.option("-o", "--output", required=True, type=_path, help="Folder to write.")
@click.option(
    "--precision", type=click.Choice(["int8", "fp16", "fp32"]), default="int8",
    help="int8 for CPUs, fp16 for GPUs.",
)  # fmt: skip
@click.option(
    "--fit-projection", "fit_dim", type=int, metavar="DIM",
    help="Width of the projection.  [default: 96]",
)  # fmt: skip
@click.option("--calibration", type=_path, metavar="FILE", help="Text to fit the projection on.")
@click.option("--query-length", type=int, metavar="N", help="Most tokens of a query.")
@click.option("--document-length", type=int, metavar="N", help="Most tokens of a document.")
@click.option("--license", metavar="SPDX", help="Licence of the weights.")
@click.option("--languages", metavar="CODES", help="Languages it was made for: en,de.")
@click.option(
    "--about", type=click.File(encoding="utf-8"), metavar="FILE",
    help="Markdown to add to the model card.",
)  # fmt: skip
@click.option("--allow-degraded", is_flag=True, help="Write a graph that fails its gate.")
@click.option("--overwrite", is_flag=True, help="Replace the model folder at OUTPUT.")
@click.option(
    "--relevance/--no-relevance", default=True, show_default=False,
    help="Say how likely hits are right.",
)  # fmt: skip
def export(
    source: str, output: Path, about: TextIO | None, languages: str | None, **options: Any
) -> None:
    """Turn the ColBERT checkpoint SOURCE into a model folder.

    SOURCE is a folder or a hub id (owner/name): PyLate, sentence-transformers, Stanford ColBERT,
    or a dense encoder. The export proves that the graph computes and ranks as the checkpoint
    does, and writes nothing when it does not.

    int8 is a quarter of the size and twice as fast on CPUs; fp16, half the size, is for GPUs;
    fp32 is exact. --allow-degraded writes an int8 or fp16 graph that fails its gate, and records
    that in the folder. --license is an SPDX expression, for a SOURCE that does not name its own;
    so are the codes of --languages. Questions in other languages are ranked by keywords.

    For dense encoders only: --fit-projection, --calibration, --query-length, --document-length.
    Calibration text is .txt with a text a line, or .jsonl with text, passage, query or title; it
    may be gzipped. Without it the projection is fitted on texts that ship with the exporter.
    """
    from pocket_colbert_export import export_model

    command = shlex.join(["pocket-colbert-export", *sys.argv[1:]])
    text = about.read() if about else None
    codes = None if languages is None else [code.strip() for code in languages.split(",")]
    files = export_model(
        source, output, command=command, about=text, languages=codes, step=_say, **options
    )
    size = files.graph.stat().st_size / 1e6
    click.echo(
        f"{output}: {files.card.precision}, {files.config.embedding_dim} dimensions, {size:.1f} MB"
    )
    if files.card.quantization:
        fidelity = files.card.quantization["fidelity"]
        click.echo(
            f"{files.card.quantization['chosen']}: token cosine {fidelity['mean_cosine']:.4f}, "
            f"first 10 {100 * fidelity['top_overlap']:.1f} % the same as float32's"
        )


@main.command(context_settings={"show_default": True})
@click.argument("folder", type=_path)
@click.option(
    "--pairs", type=_path, metavar="FILE",
    help=".jsonl of queries and passages that answer them.  [default: those of the exporter]",
)  # fmt: skip
def relevance(folder: Path, pairs: Path | None) -> None:
    """Fit how likely hits are right to the model in FOLDER.

    Every export does so; this fits a model again on pairs of your own: at least 50 lines with
    query and passage, better some hundred. Vectors stay as they are, and so do indexes.
    """
    from pocket_colbert_export.relevance import add_relevance

    files = add_relevance(folder, pairs)
    widths = ", ".join(map(str, files.relevance))
    click.echo(f"{folder}: relevance fitted for vectors of {widths} dimensions")


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


def _weight(name: str, default: float, help_text: str) -> Callable[[Command], Command]:
    """Return an option that weighs a part of the loss or of the ensemble."""
    return click.option(name, type=float, metavar="WEIGHT", default=default, help=help_text)


def _weights(
    ctx: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> dict[str, float]:
    """Read "start.tokens=1", each of its own."""
    weights = {}
    for value in values:
        name, sign, number = value.rpartition("=")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise click.BadParameter(f"expected NAME=WEIGHT, got {value!r}.") from error
        if not sign or not name:
            raise click.BadParameter(f"expected NAME=WEIGHT, got {value!r}.")
    return weights


_file = click.Path(path_type=Path, exists=True, dir_okay=False)


@main.command(context_settings={"show_default": True})
@click.option("--start", default="small", metavar="MODEL", help="Model to teach.")
@click.option(
    "--text", "texts", required=True, multiple=True, metavar="FILE", type=_file,
    help=".jsonl of texts; repeatable.",
)  # fmt: skip
@click.option(
    "--queries", multiple=True, metavar="FILE", type=_file,
    help="Queries without passages; repeatable.",
)  # fmt: skip
@click.option(
    "--teacher", "teachers", multiple=True, metavar="FOLDER",
    type=click.Path(path_type=Path, exists=True, file_okay=False), help="Teacher; repeatable.",
)  # fmt: skip
@click.option(
    "--weight", "weights", multiple=True, metavar="NAME=W", callback=_weights,
    help="Weight of a score.  [default: chosen]",
)  # fmt: skip
@click.option("-o", "--output", required=True, type=_path, help="Checkpoint to write.")
@click.option("--work", type=_path, help="State of training.  [default: OUTPUT.work]")
@click.option("--passages", type=int, metavar="N", default=10_000, help="Passages to learn from.")
@click.option("--loose-queries", type=int, metavar="N", default=5_000, help="Of --queries.")
@click.option("--candidates", type=int, metavar="N", default=24, help="Passages a query.")
@click.option("--passage-tokens", type=int, metavar="N", default=180, help="Cut of passages.")
@click.option("--steps", type=int, metavar="N", default=800, help="Optimizer steps.")
@click.option("--batch-queries", type=int, metavar="N", default=16, help="Queries a step.")
@click.option("--batch-passages", type=int, metavar="N", default=64, help="Passages a step.")
@click.option(
    "--learning-rate", type=float, metavar="RATE", default=1e-4, help="Highest learning rate."
)
@_weight("--own-weight", 0.5, "Raise of own passages.")
@_weight("--token-weight", 0.0, "Loss of token vectors.")
@click.option(
    "--expansion", callback=_numbers, metavar="N,N,...",
    help="Expansion tokens.  [default: the model's]",
)  # fmt: skip
@click.option(
    "--typing-errors", type=float, metavar="SHARE", default=0.15, help="Share of mistyped queries."
)
@click.option(
    "--prefixes", callback=_numbers, default="64,48,32", metavar="N,N,...",
    help="Widths that serve too.",
)  # fmt: skip
@click.option(
    "--quantize-from", type=float, metavar="SHARE", default=0.85, help="Share of steps before int8."
)
@click.option(
    "--keep-start", type=float, metavar="SHARE", default=0.0, help="Share of the start to keep."
)
@click.option("--seed", type=int, metavar="N", default=0, help="Seed of all random choices.")
@click.option("--threads", type=int, metavar="N", default=2, help="Threads of teachers.")
@click.option("--device", metavar="NAME", help="torch device.  [default: a GPU if any]")
@click.option("--mixed-precision/--no-mixed-precision", default=None, help="Multiply in bfloat16.")
@click.option("--minutes", type=float, metavar="N", help="Stop after N minutes; call again.")
def distill(
    start: str,
    texts: tuple[Path, ...],
    queries: tuple[Path, ...],
    teachers: tuple[Path, ...],
    output: Path,
    work: Path | None,
    threads: int,
    device: str | None,
    mixed_precision: bool | None,
    minutes: float | None,
    **settings: Any,
) -> None:
    """Teach a model to rank your texts as several teachers together do.

    No judgements are needed. Every query is ranked against passages that are near it by words or
    by vectors, and some at random; the teachers score them once, and the model is pulled towards
    the sum of what they say. It writes a checkpoint for the export command.

    MODEL is the name of a bundled model or a model folder. Text is .jsonl of query and passage,
    of title and text, or of text alone, for which queries are made: its docstring, its first
    heading, or its first sentence. Files of --queries are .json (a list), .jsonl (query) or .txt.
    All may be gzipped; each file gives the same number, as far as it goes.

    Teachers are the model itself, BM25, and each --teacher: a ColBERT, a one-vector encoder or a
    cross-encoder, as a checkpoint, a model folder, or a folder with model.onnx and tokenizer.json.
    Their scores are called start.tokens, keywords.score, FOLDER.tokens and FOLDER.vector, or
    FOLDER.score. Scores that no --weight names are weighed so that queries find their own
    passages best; BM25 has .3.

    Scoring and training can be interrupted at any time, and --minutes stops training: the same
    call with the same --work continues. bfloat16 is used where the hardware has it.

    --expansion 0 teaches queries to do without the expansion tokens that pad short ones.
    """
    from pocket_colbert_export import Distillation, distill

    try:
        done = distill(
            start, texts, output, work or output.with_name(output.name + ".work"),
            Distillation(**settings), teachers=teachers, queries=queries, threads=threads,
            device=device, mixed_precision=mixed_precision, minutes=minutes, step=_say,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted("Interrupted; the same call continues.") from None
    if done:
        click.echo(f"{output}: export it with pocket-colbert-export {output} -o MODEL")


@main.command(context_settings={"show_default": True})
@click.option("--teacher", required=True, metavar="MODEL", help="Model to learn from.")
@click.option("--student", required=True, metavar="MODEL", help="Checkpoint to start from.")
@click.option("--guide", metavar="MODEL", help="Second teacher.  [default: the student]")
@click.option(
    "--text", "texts", required=True, multiple=True, metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=".jsonl of pairs; repeatable.",
)  # fmt: skip
@click.option("-o", "--output", required=True, type=_path, help="Checkpoint to write.")
@click.option("--work", type=_path, help="State of training.  [default: OUTPUT.work]")
@click.option("--pairs", type=int, metavar="N", default=30_000, help="Training pairs.")
@click.option("--steps", type=int, metavar="N", default=2_000, help="Optimizer steps.")
@click.option("--batch-size", type=int, metavar="N", default=32, help="Pairs per step.")
@click.option(
    "--learning-rate", type=float, metavar="RATE", default=3e-4, help="Highest learning rate."
)
@click.option("--dim", type=int, metavar="N", help="Vector width.  [default: the teacher's]")
@click.option(
    "--prefixes", callback=_numbers, default="64,48,32", metavar="N,N,...",
    help="Widths that serve too.",
)  # fmt: skip
@click.option(
    "--layers", callback=_numbers, metavar="N,N,...", help="Layers to keep.  [default: all]"
)
@click.option("--embedding-dim", type=int, metavar="N", help="Factorise the embedding table.")
@_weight("--token-weight", 3.0, "Loss of token vectors.")
@_weight("--score-weight", 1.0, "Loss of the ranking.")
@_weight("--contrastive-weight", 0.0, "Loss of right pairs.")
@_weight("--guide-weight", 0.5, "The guide's MaxSim.")
@_weight("--vector-weight", 0.5, "The guide's mean vectors.")
@_weight("--keyword-weight", 0.3, "BM25.")
@click.option(
    "--query-max-length", type=int, metavar="N", default=300, help="Most tokens of a query."
)
@click.option(
    "--quantize-from", type=float, metavar="SHARE", default=0.85, help="Share of steps before int8."
)
@click.option(
    "--keep-start", type=float, metavar="SHARE", default=0.0, help="Share of the start to keep."
)
@click.option("--seed", type=int, metavar="N", default=0, help="Seed of all random choices.")
@click.option("--device", metavar="NAME", help="torch device.  [default: a GPU if any]")
@click.option("--mixed-precision/--no-mixed-precision", default=None, help="Multiply in bfloat16.")
@click.option("--minutes", type=float, metavar="N", help="Stop after N minutes; call again.")
def shrink(
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
    """Make a smaller model that computes what a ColBERT does.

    It learns from text alone: the teacher's vector of every token, and the ranking of an ensemble
    of teacher, guide and keywords. It writes a checkpoint for the export command.

    A MODEL is a checkpoint folder or a hub id; teacher and guide may be model folders too. Text is
    .jsonl of query and passage, or of title and text, and may be gzipped; each file gives the same
    number of pairs, as far as it goes.

    Training can be interrupted at any time, and --minutes stops it: the same call with the same
    --work continues. bfloat16 is used where the hardware has it.

    The first three weights are those of losses; the others are those of the ensemble, in which
    the teacher's MaxSim weighs 1. From the share --quantize-from of the steps on, int8's rounding
    is part of training. --keep-start averages the result with the weights before training.
    --prefixes are widths below --dim that serve on their own: the first components of a vector,
    normalised again.
    """
    from pocket_colbert_export import Shrinking, shrink

    try:
        done = shrink(
            teacher, student, guide or student, texts, output,
            work or output.with_name(output.name + ".work"), Shrinking(**settings),
            device=device, mixed_precision=mixed_precision, minutes=minutes, step=_say,
        )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted("Interrupted; the same call continues.") from None
    if done:
        click.echo(f"{output}: export it with pocket-colbert-export {output} -o MODEL")
