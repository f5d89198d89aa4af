"""From a checkpoint to a model folder, with proof."""

from __future__ import annotations

import dataclasses
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.folder import TOKENIZER_FILE, ModelFiles, load_model_files
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert_export.checkpoints.checkpoint import Checkpoint, load_checkpoint, window
from pocket_colbert_export.errors import CheckpointError, ExportError, ParityError
from pocket_colbert_export.folder.card import model_card, notice
from pocket_colbert_export.folder.write_folder import (
    CARD_FILE,
    NOTICE_FILE,
    REPORT_FILE,
    new_folder,
    write_json,
    write_recipe,
)
from pocket_colbert_export.graph.export_graph import ColBERTForONNX, export_graph
from pocket_colbert_export.graph.half import FLOAT32, halve_graph
from pocket_colbert_export.graph.quantize import quantize_graph
from pocket_colbert_export.projection import DEFAULT_DIM, fit_projection
from pocket_colbert_export.proof import parity
from pocket_colbert_export.proof.fidelity import Encoded, compare, encode
from pocket_colbert_export.proof.probe_texts import parity_texts, probe_pairs, read_calibration

Precision = Literal["int8", "fp16", "fp32"]
Step = Callable[[str], None]

GRAPH_FILES: Mapping[str, str] = {
    "int8": "model_int8.onnx",
    "fp16": "model_fp16.onnx",
    "fp32": "model.onnx",
}


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
    about: str | None = None,
    allow_degraded: bool = False,
    overwrite: bool = False,
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
        license: SPDX expression of the weights, where the checkpoint does not say it.
        about: Markdown to put into the card: what a reader should know besides.
        allow_degraded: Write an int8 or fp16 folder that fails the gate, and record that in it.
        overwrite: Replace a model folder that is at `output`.
        command: The command line to put into the card.
        step: Told what is being done.

    Returns:
        The folder, checked as a user's load checks it.

    Raises:
        CheckpointError: The checkpoint is not understood.
        CalibrationError: The calibration text is unusable.
        ParityError: The graph does not compute or rank as the checkpoint does.
        ExportError: The graph cannot be made, or the folder cannot be written.
    """
    target = Path(output)
    if precision not in GRAPH_FILES:
        raise InvalidInputError(f"precision must be 'int8', 'fp16' or 'fp32', got {precision!r}.")
    with new_folder(target, overwrite) as folder:
        step("reading the checkpoint")
        checkpoint = load_checkpoint(source)
        _prepare(checkpoint, fit_dim, calibration, query_length, document_length, step)
        config = _config(checkpoint)
        tokenizer_file = folder / TOKENIZER_FILE
        _write_tokenizer(checkpoint, tokenizer_file)
        report = _graphs(checkpoint, config, folder, precision, allow_degraded, step)
        report["source"] = {
            "name": checkpoint.name,
            "layout": checkpoint.layout,
            "architecture": type(checkpoint.backbone).__name__,
            "license": license or checkpoint.license,
        }
        if checkpoint.distilled:
            report["distilled"] = checkpoint.distilled
        command = command or f"pocket-colbert-export {source} -o {target}"
        (folder / CARD_FILE).write_text(
            model_card(target.name, config, report, command, about), encoding="utf-8"
        )
        (folder / NOTICE_FILE).write_text(notice(target.name, report), encoding="utf-8")
        write_json(folder / REPORT_FILE, report)
        write_recipe(
            folder,
            config,
            {
                "precision": precision,
                "model_file": GRAPH_FILES[precision],
                "source": checkpoint.name,
                "license": license or checkpoint.license,
                "quantization": _summary(report),
                "exporter": report["versions"],
            },
            {
                "model_class": type(checkpoint.backbone).__name__,
                "uses_token_type_ids": False,
                "pad_token_id": checkpoint.tokenizer.pad_token_id or 0,
            },
        )
        step("checking the folder")
        load_model_files(folder)
    return load_model_files(target)


def _prepare(
    checkpoint: Checkpoint,
    fit_dim: int | None,
    calibration: str | Path | None,
    query_length: int | None,
    document_length: int | None,
    step: Step,
) -> None:
    """Fit a projection where there is none; refuse options that would override a checkpoint."""
    if checkpoint.layout != "dense":
        for name, value in (
            ("--fit-projection", fit_dim),
            ("--calibration", calibration),
            ("--query-length", query_length),
            ("--document-length", document_length),
        ):
            if value is not None:
                raise CheckpointError(
                    f"{name} is for dense encoders; {checkpoint.folder} is a {checkpoint.layout} "
                    "checkpoint that says itself how it is to be used."
                )
        if not checkpoint.heads:
            checkpoint.notes.append("The checkpoint has no projection: vectors are the backbone's.")
        return
    longest = window(checkpoint.backbone.config)
    for name, value in (("query_length", query_length), ("document_length", document_length)):
        if value is not None:
            if not 4 <= value <= longest:
                raise InvalidInputError(f"{name} must be 4 to {longest}, got {value}.")
            checkpoint.recipe[name] = value
    if calibration is None:
        texts = [text for pair in probe_pairs() for text in pair]
    else:
        texts = read_calibration(Path(calibration))
    step(f"fitting the projection on {len(texts)} texts")
    fit_projection(checkpoint, DEFAULT_DIM if fit_dim is None else fit_dim, texts)


def _config(checkpoint: Checkpoint) -> ModelConfig:
    try:
        return ModelConfig(
            embedding_dim=checkpoint.dim, model_name=checkpoint.name, **checkpoint.recipe
        )
    except InvalidInputError as error:
        raise CheckpointError(f"{checkpoint.folder}: {error}") from error


def _write_tokenizer(checkpoint: Checkpoint, path: Path) -> None:
    backend = checkpoint.tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    path.write_text(backend.to_str(pretty=False), encoding="utf-8")


def _graphs(
    checkpoint: Checkpoint,
    config: ModelConfig,
    folder: Path,
    precision: Precision,
    allow_degraded: bool,
    step: Step,
) -> dict[str, Any]:
    """Write the graph of the wanted precision; return what was measured on the way."""
    tokenizer_file = folder / TOKENIZER_FILE
    tokenizer = Tokenizer(tokenizer_file, config)
    texts = parity_texts()
    report: dict[str, Any] = {
        "precision": precision,
        "model_file": GRAPH_FILES[precision],
        "tokens": {"texts": parity.check_tokens(checkpoint, tokenizer, texts)},
    }
    step("exporting the float32 graph")
    module = ColBERTForONNX(checkpoint)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".graph-") as place:
        graph = Path(place) / "model.onnx"
        export_graph(module, graph)
        step("comparing it with torch")
        report["float"] = parity.check_float(module, graph, tokenizer, config, texts)
        if precision != "fp32":
            if (Path(place) / "model.onnx_data").exists():
                raise ExportError(
                    f"{precision} export is for graphs below 2 GB; use --precision fp32."
                )
            step("choosing the int8 recipe" if precision == "int8" else "converting to float16")
            make = _int8 if precision == "int8" else _fp16
            target = Path(place) / GRAPH_FILES[precision]
            report[precision] = make(graph, target, tokenizer_file, config, allow_degraded)
            graph.unlink()
        for path in Path(place).iterdir():
            path.replace(folder / path.name)
    report["bytes"] = sum(path.stat().st_size for path in folder.glob("*.onnx*"))
    report["notes"] = checkpoint.notes
    report["versions"] = {
        name: version(name)
        for name in (
            "pocket-colbert",
            "torch",
            "transformers",
            "optimum-onnx",
            "onnx",
            "onnxruntime",
        )  # fmt: skip
    } | {"machine": platform.machine()}
    return report


def _int8(
    graph: Path, target: Path, tokenizer_file: Path, config: ModelConfig, allow_degraded: bool
) -> dict[str, Any]:
    """Quantise on every other probe text, measure on the rest, and hold it against the gate."""
    pairs = probe_pairs()
    tokenizer = Tokenizer(tokenizer_file, config)
    calibration = [
        {"input_ids": item.input_ids[None], "attention_mask": item.attention_mask[None]}
        for query, passage in pairs[::4]
        for item in (tokenizer.tokenize_document(passage), tokenizer.tokenize_query(query))
    ]
    queries, documents = zip(*pairs[1::2], strict=True)

    def encoded(path: Path) -> Encoded:
        return encode(path, tokenizer_file, config, queries, documents)

    reference = encoded(graph)
    chosen = quantize_graph(
        graph, target, calibration, lambda path: compare(reference, encoded(path)), parity.passes
    )
    failed = parity.failures(chosen.fidelity, parity.INT8_GATE)
    _refuse("int8", failed, allow_degraded)
    return {
        "chosen": chosen.recipe.name,
        "recipe": dataclasses.asdict(chosen.recipe),
        "fidelity": chosen.fidelity.to_json(),
        "gate": parity.INT8_GATE,
        "failures": failed,
        "forced": bool(failed),
        "tried": list(chosen.tried),
    }


def _fp16(
    graph: Path, target: Path, tokenizer_file: Path, config: ModelConfig, allow_degraded: bool
) -> dict[str, Any]:
    """Convert, measure on all probe texts, alone and in batches, and hold it against the gate."""
    halve_graph(graph, target)
    pairs = probe_pairs()
    queries, documents = zip(*pairs, strict=True)
    fidelity = compare(
        encode(graph, tokenizer_file, config, queries, documents),
        encode(target, tokenizer_file, config, queries, documents),
    )
    tokenizer = Tokenizer(tokenizer_file, config)
    short_and_long = [text for pair in pairs[::4] for text in pair]
    difference = parity.batch_difference(target, tokenizer, config, short_and_long)
    failed = parity.failures(fidelity, parity.FP16_GATE)
    if not difference <= parity.FP16_BATCH_TOLERANCE:
        failed.append(
            f"a batch differs from its texts alone by {difference:.1e}, the gate is "
            f"{parity.FP16_BATCH_TOLERANCE:.0e}"
        )
    _refuse("fp16", failed, allow_degraded)
    return {
        "chosen": "float16",
        "recipe": {"float32": list(FLOAT32)},
        "fidelity": fidelity.to_json(),
        "gate": parity.FP16_GATE,
        "batch_max_abs_difference": difference,
        "batch_tolerance": parity.FP16_BATCH_TOLERANCE,
        "failures": failed,
        "forced": bool(failed),
    }


def _refuse(precision: str, failed: Sequence[str], allow_degraded: bool) -> None:
    """Stop where a graph fails its gate."""
    if failed and not allow_degraded:
        raise ParityError(
            f"{precision} is too far from float32: " + "; ".join(failed) + ". Nothing was written. "
            "Use --precision fp32, or --allow-degraded to write it all the same."
        )


def _summary(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the recipe file keeps of the report on int8 or float16."""
    found = report.get(report["precision"])
    if found is None:
        return {}
    return {key: found[key] for key in ("chosen", "recipe", "fidelity", "forced")}
