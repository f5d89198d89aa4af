"""Teach a small ColBERT to rank as several teachers together do, on texts of one's own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pocket_colbert import Encoder
from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.folder import ModelFiles, load_model_files
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.storage.files import hash_file
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.checkpoints.model_folder import read_model_folder
from pocket_colbert_export.distillation import ranking
from pocket_colbert_export.distillation.batches import padded
from pocket_colbert_export.distillation.lists import make_lists
from pocket_colbert_export.distillation.ranking import (
    Distillation,
    RankingTrainer,
    choose_weights,
    teacher_sum,
)
from pocket_colbert_export.distillation.score_store import lists_key
from pocket_colbert_export.distillation.student import save_student
from pocket_colbert_export.errors import (
    CheckpointError,
    DistillationError,
    OutputError,
    TrainingTextError,
)
from pocket_colbert_export.exporter import Step
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX
from pocket_colbert_export.proof.probe_texts import parity_texts

_START_COSINE = 0.98
"""How near the float weights must be to the graph; int8 itself is at .999."""


def distill(
    start: str | Path,
    texts: Sequence[Path],
    output: str | Path,
    work: str | Path,
    settings: Distillation,
    *,
    teachers: Sequence[Path] = (),
    queries: Sequence[Path] = (),
    threads: int = 2,
    device: str | None = None,
    mixed_precision: bool | None = None,
    minutes: float | None = None,
    step: Step = lambda message: None,
) -> bool:
    """Train a model and write it as a checkpoint for `export_model`.

    Args:
        start: The model to teach: a bundled model's name or a model folder, int8 or fp32.
        texts: Files of texts, with queries or without, see `pairs.read_pairs`.
        output: The checkpoint folder to write; must not exist.
        work: Folder for scores and for the state of training. Calling again with the same
            arguments continues where the last call stopped.
        settings: How to train.
        teachers: Folders of ColBERTs, cross-encoders and one-vector encoders: checkpoints, ONNX
            folders or model folders. The start and BM25 are teachers always.
        queries: Files of queries without passages, see `queries.read_queries`.
        threads: Threads for teachers.
        device: torch's name of the device; by default the GPU where there is one.
        mixed_precision: Multiply in bfloat16; by default where the hardware does.
        minutes: Stop training after this many minutes; the next call continues.
        step: Told what is being done.

    Returns:
        True when training is finished and `output` written, False when time ran out.

    Raises:
        InvalidInputError: A setting is out of range.
        CheckpointError: The start cannot be trained on.
        TrainingTextError: The text is unusable, or too little.
        DistillationError: A teacher is not understood.
        OutputError: `output` exists.
    """
    target, work = Path(output), Path(work)
    if target.exists():
        raise OutputError(f"{target} exists; give a new folder.")
    work.mkdir(parents=True, exist_ok=True)
    files = load_model_files(start)
    checkpoint = read_model_folder(files)
    _check_start(checkpoint, files)
    lists = make_lists(
        texts, queries, files, teachers,
        num_passages=settings.passages, num_queries=settings.loose_queries,
        count=settings.candidates, max_tokens=settings.passage_tokens, seed=settings.seed,
        threads=threads, work=work, step=step,
    )  # fmt: skip
    if len(lists.queries) < 2 * ranking.HELD_OUT:
        raise TrainingTextError(
            f"at least {2 * ranking.HELD_OUT} queries are needed, got {len(lists.queries)}. Give "
            "more text, or queries of your own."
        )
    weights, reached = choose_weights(lists, settings.weights)
    named = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    step(f"teachers: {named}; own passages at a mean reciprocal rank of {reached:.3f}")
    config = student_config(files, settings)
    training = dataclasses.replace(
        config, document_length=min(config.document_length, settings.passage_tokens)
    )
    values = [
        hash_file(files.graph).sha256,
        lists_key(lists.queries, lists.passages, lists.candidates),
        list(lists.signals),
        dataclasses.asdict(settings),
    ]
    run = work / "runs" / hashlib.sha256(json.dumps(values).encode()).hexdigest()[:12]
    run.mkdir(parents=True, exist_ok=True)
    trainer = RankingTrainer(
        checkpoint, lists, teacher_sum(lists, weights, settings.own_weight), training,
        Tokenizer(files.tokenizer, training), settings, run, device, mixed_precision,
    )  # fmt: skip
    if not trainer.train(minutes, step):
        step(f"stopped at step {trainer.step} of {settings.steps}; call again to continue")
        return False
    trainer.finish()
    report: dict[str, Any] = {
        "student": files.folder.name,
        "teachers": _named(weights, files.folder.name),
        "weights": weights,
        "texts": [path.name for path in (*texts, *queries)],
        "settings": dataclasses.asdict(settings),
        "held_out": trainer.measure(),
        "prefixes": list(settings.prefixes),
    }
    save_student(checkpoint, trainer.module, config, target, report)
    return True


def _check_start(checkpoint: Checkpoint, files: ModelFiles) -> None:
    """Compare what was read with the graph it was read from."""
    module = ColBERTForONNX(checkpoint).eval()
    tokenizer, encoder = Tokenizer(files.tokenizer, files.config), Encoder.load(files, threads=1)
    for text in parity_texts():
        item = tokenizer.tokenize_document(text)
        if not item.keep.any():
            continue
        ids, mask = padded([item], torch.device("cpu"))
        with torch.no_grad():
            rows = module(ids, mask)[0].numpy()[item.keep]
        near = float((rows * encoder.encode_document([text])[0]).sum(axis=1).mean())
        if not near > _START_COSINE:
            raise CheckpointError(
                f"the weights read from {files.folder} give other vectors than its graph (cosine "
                f"{near:.3f}): it has parts that are not understood. Start from another model."
            )


def _named(weights: Mapping[str, float], start: str) -> list[str]:
    """Return the names of the teachers that count."""
    names = [signal.rpartition(".")[0] for signal, weight in weights.items() if weight]
    shown = {"start": start, "keywords": "BM25"}
    return list(dict.fromkeys(shown.get(name, name) for name in names))


def student_config(files: ModelFiles, settings: Distillation) -> ModelConfig:
    """Return the student's recipe: the start's, with the expansion that it is taught.

    Raises:
        InvalidInputError: A prefix is not below the start's width.
        DistillationError: It has no token to expand by.
    """
    config = files.config
    if not all(0 < width < config.embedding_dim for width in settings.prefixes):
        raise InvalidInputError(
            f"prefixes must be from 1 to {config.embedding_dim - 1}, got {settings.prefixes}."
        )
    config = dataclasses.replace(config, matryoshka_dims=settings.prefixes)
    if settings.expansion is None:
        return config
    if any(settings.expansion) and config.mask_token_id is None:
        raise DistillationError(f"{files.folder} has no token to expand queries by.")
    longest = config.query_max_length or config.query_length
    if settings.expansion[0] == 0:
        return dataclasses.replace(
            config, do_query_expansion=False, query_length=longest, query_max_length=None,
            query_expansion_strategy="fixed", mask_token_id=None,
        )  # fmt: skip
    raise InvalidInputError("expansion must start with 0, the number that is shipped.")
