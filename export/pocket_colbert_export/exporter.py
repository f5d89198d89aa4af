"""From a checkpoint to a model folder, with proof."""

from __future__ import annotations

import dataclasses
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pocket_colbert.checks import are_languages, check_choice, check_whole_number
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.folder import TOKENIZER_FILE, ModelFiles, load_model_files
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert_export.checkpoints.loading import Checkpoint, load_checkpoint
from pocket_colbert_export.errors import CalibrationError, GraphError, OutputError
from pocket_colbert_export.folder.card import model_card, notice
from pocket_colbert_export.folder.write_folder import new_folder, write_files
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX, export_graph, has_optimum
from pocket_colbert_export.projection import DEFAULT_DIM, fit_projection
from pocket_colbert_export.proof import parity
from pocket_colbert_export.proof.probe_texts import parity_texts, probe_pairs, read_calibration
from pocket_colbert_export.proof.report import PRECISIONS, ExportReport, Precision, Source
from pocket_colbert_export.quiet import quiet
from pocket_colbert_export.reduced_precision import Conversion, make_float16, make_int8
from pocket_colbert_export.relevance import add_relevance

Step = Callable[[str], None]
"""Called with a few words about what is done next."""

GRAPH_FILES: Mapping[str, str] = {
    "int8": "model_int8.onnx",
    "fp16": "model_fp16.onnx",
    "fp32": "model.onnx",
}
_OPTIMUM = "optimum-onnx"
_PACKAGES = ("pocket-colbert", "torch", "transformers", _OPTIMUM, "onnx", "onnxruntime")
"""Packages whose version is part of the report."""


def export_model(
    source: str | Path,
    output: str | Path,
    *,
    precision: Precision = "int8",
    fit_dim: int | None = None,
    calibration: str | Path | None = None,
    query_length: int | None = None,
    document_length: int | None = None,
    license: str | None = None,
    languages: Sequence[str] | None = None,
    about: str | None = None,
    allow_degraded: bool = False,
    overwrite: bool = False,
    relevance: bool = True,
    command: str | None = None,
    step: Step = lambda message: None,
) -> ModelFiles:
    """Turn a ColBERT checkpoint into a model folder that `pocket_colbert.Encoder` loads.

    Args:
        source: A checkpoint folder or a hub id `owner/name`: PyLate, sentence-transformers,
            Stanford ColBERT, or a dense encoder, which gets a fitted projection.
        output: The folder to write. It appears whole or not at all.
        precision: "int8", "fp16" or "fp32".
        fit_dim: Width of the fitted projection of a dense encoder, 96 by default. A checkpoint
            that has a projection takes none.
        calibration: Text to fit the projection on, see `read_calibration`; by default the texts
            that ship with the exporter.
        query_length: Window of queries instead of the checkpoint's; dense encoders only.
        document_length: Window of documents instead of the checkpoint's; dense encoders only.
        license: SPDX expression of the weights, in place of what the checkpoint says.
        languages: Codes of the languages that the model was made for, such as ["en", "de"], in
            place of what the checkpoint says.
        about: Markdown to put into the card: what a reader should know besides.
        allow_degraded: Write an int8 or fp16 folder that fails the gate, and record that in it.
        overwrite: Replace the model folder at `output`.
        relevance: Fit how likely hits are right, on pairs that ship with the exporter. A model
            that ranks them badly gets no curve, and its hits have no relevance.
        command: The command line to put into the card.
        step: Told what is being done.

    Returns:
        The folder, checked as a user's load checks it.

    Raises:
        InvalidInputError: An option is out of range, or is for dense encoders and the checkpoint
            is none.
        CheckpointError: The checkpoint is not understood.
        CalibrationError: The calibration text is unusable.
        GraphError: The graph cannot be made.
        ParityError: The graph does not compute or rank as the checkpoint does.
        OutputError: `output` must not be replaced or cannot be written.
    """
    check_choice("precision", precision, PRECISIONS)
    target = Path(output)
    step("reading the checkpoint")
    with new_folder(target, overwrite) as folder:
        checkpoint = load_checkpoint(source)
        checkpoint = _prepare(checkpoint, fit_dim, calibration, query_length, document_length, step)
        if license:
            checkpoint = dataclasses.replace(checkpoint, license=license)
        if languages is not None:
            checkpoint = dataclasses.replace(checkpoint, languages=_checked_languages(languages))
        report = _write_graph(checkpoint, folder, precision, allow_degraded, step)
        command = command or f"pocket-colbert-export {source} -o {target}"
        write_files(
            folder,
            card=model_card(target.name, checkpoint.config, report, command, about),
            notice=notice(target.name, report),
            report=report.to_json(),
            config=checkpoint.config,
            own=report.card_json(),
            extra={
                "model_class": report.source.architecture,
                "uses_token_type_ids": False,
                "pad_token_id": checkpoint.tokenizer.pad_token_id or 0,
            },
        )
        load_model_files(folder)  # a folder that would not load does not become the target
        if relevance:
            step("fitting relevance")
            try:
                add_relevance(folder)
            except CalibrationError:
                step("no relevance: the model does not tell right hits from wrong ones well enough")
    return load_model_files(target)


def _prepare(
    checkpoint: Checkpoint,
    fit_dim: int | None,
    calibration: str | Path | None,
    query_length: int | None,
    document_length: int | None,
    step: Step,
) -> Checkpoint:
    """Fit a projection where there is none; refuse options that would override a checkpoint."""
    if checkpoint.layout != "dense":
        for name, value in (
            ("--fit-projection", fit_dim),
            ("--calibration", calibration),
            ("--query-length", query_length),
            ("--document-length", document_length),
        ):
            if value is not None:
                raise InvalidInputError(
                    f"{name} is for dense encoders; {checkpoint.folder} is a {checkpoint.layout} "
                    "checkpoint that says itself how it is to be used. Leave it out."
                )
        if checkpoint.heads:
            return checkpoint
        note = "The checkpoint has no projection: vectors are the backbone's."
        return dataclasses.replace(checkpoint, notes=(*checkpoint.notes, note))
    for name, value in (("query_length", query_length), ("document_length", document_length)):
        check_whole_number(name, value, least=4, most=checkpoint.positions, optional=True)
    config = dataclasses.replace(
        checkpoint.config,
        query_length=query_length or checkpoint.config.query_length,
        document_length=document_length or checkpoint.config.document_length,
    )
    if calibration is None:
        texts = [text for pair in probe_pairs() for text in pair]
    else:
        texts = read_calibration(Path(calibration))
    step(f"fitting the projection on {len(texts)} texts")
    return fit_projection(
        dataclasses.replace(checkpoint, config=config),
        DEFAULT_DIM if fit_dim is None else fit_dim,
        texts,
    )


def _write_tokenizer(tokenizer: Any, path: Path) -> None:
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    try:
        path.write_text(backend.to_str(pretty=False), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} could not be written: {error}.") from error


def _write_graph(
    checkpoint: Checkpoint,
    folder: Path,
    precision: Precision,
    allow_degraded: bool,
    step: Step,
) -> ExportReport:
    """Write tokenizer and graph, proving each; return what was measured on the way."""
    config, tokenizer_file = checkpoint.config, folder / TOKENIZER_FILE
    _write_tokenizer(checkpoint.tokenizer, tokenizer_file)
    step("exporting the float32 graph")
    tokens, inputs = parity.check_tokens(
        checkpoint.tokenizer, config, Tokenizer(tokenizer_file, config), parity_texts()
    )
    int8 = fp16 = None
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".graph-") as work:
        graph = Path(work) / GRAPH_FILES["fp32"]
        with quiet():
            module = ColBERTForONNX(checkpoint)
            export_graph(module, graph)
            expected = module.encode(inputs.batches)
        step("comparing it with torch")
        floats = parity.check_float(graph, config.embedding_dim, inputs, expected)
        if precision != "fp32":
            if (Path(work) / "model.onnx_data").exists():
                raise GraphError(
                    f"{precision} export is for graphs below 2 GB; use --precision fp32."
                )
            conversion = Conversion(
                graph=graph,
                target=Path(work) / GRAPH_FILES[precision],
                tokenizer=tokenizer_file,
                config=config,
                allow_degraded=allow_degraded,
            )
            if precision == "int8":
                step("choosing the int8 recipe")
                int8 = make_int8(conversion)
            else:
                step("converting to float16")
                fp16 = make_float16(conversion)
            graph.unlink()
        for path in Path(work).iterdir():
            path.replace(folder / path.name)
    return ExportReport(
        precision=precision,
        model_file=GRAPH_FILES[precision],
        tokens=tokens,
        float=floats,
        int8=int8,
        fp16=fp16,
        bytes=sum(map(os.path.getsize, folder.glob("*.onnx*"))),
        notes=checkpoint.notes,
        versions={name: version(name) for name in _PACKAGES if name != _OPTIMUM or has_optimum()}
        | {"machine": platform.machine()},
        source=Source(
            name=checkpoint.config.model_name,
            layout=checkpoint.layout,
            architecture=type(checkpoint.backbone).__name__,
            license=checkpoint.license,
            languages=checkpoint.languages,
        ),
        distilled=checkpoint.distilled,
    )


def _checked_languages(languages: Sequence[str]) -> tuple[str, ...]:
    if isinstance(languages, str) or not are_languages(tuple(languages)):
        raise InvalidInputError(
            f"languages must be a list of language codes such as 'en', got {languages!r:.80}."
        )
    return tuple(languages)
