"""Make a smaller model that computes what a ColBERT does, and ranks as an ensemble around it.

Two signals, both without labels. A student that shares its teacher's vocabulary is regressed on
the teacher's vector of every token, rotated so that the leading components hold the most: that
makes its prefixes (Matryoshka, Kusupati et al. 2022, arXiv 2205.13147) worth as much as they can
be. And its ranking of the passages of a batch is pulled towards that of an ensemble of the
teacher's MaxSim, a guide's MaxSim and one-vector scores, and BM25, which ranks better than any of
them. Batches are made of neighbours, so that there is something to rank.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pocket_colbert import Encoder
from pocket_colbert.checks import check_whole_number
from pocket_colbert.model.folder import RECIPE_FILE, ModelFiles, load_model_files
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert.model.tokenizer import Tokenizer
from pocket_colbert.storage.files import hash_file
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.distillation import losses, token_training
from pocket_colbert_export.distillation.pairs import sample_pairs
from pocket_colbert_export.distillation.queries import Pair
from pocket_colbert_export.distillation.student import load_student, save_student
from pocket_colbert_export.distillation.targets import encode_targets
from pocket_colbert_export.distillation.teacher_folder import weights_key
from pocket_colbert_export.distillation.token_training import Shrinking, TokenTrainer, TrainingText
from pocket_colbert_export.errors import DistillationError, OutputError, TrainingTextError
from pocket_colbert_export.exporter import Step, export_model
from pocket_colbert_export.proof.probe_texts import parity_texts


def shrink(
    teacher: str | Path,
    student: str | Path,
    guide: str | Path,
    texts: Sequence[Path],
    output: str | Path,
    work: str | Path,
    settings: Shrinking,
    *,
    device: str | None = None,
    mixed_precision: bool | None = None,
    minutes: float | None = None,
    step: Step = lambda message: None,
) -> bool:
    """Train a student and write it as a checkpoint for `export_model`.

    Args:
        teacher: A checkpoint, hub id or model folder.
        student: What to start from: a checkpoint folder or hub id with the teacher's vocabulary.
        guide: The second model of the ensemble, of any of these kinds.
        texts: Files of pairs, see `pairs.read_pairs`.
        output: The checkpoint folder to write; must not exist.
        work: Folder for the teacher's vectors and for the state of training. Calling again with
            the same arguments continues where the last call stopped.
        settings: How to train.
        device: torch's name of the device; by default the GPU where there is one.
        mixed_precision: Multiply in bfloat16; by default where the hardware does.
        minutes: Stop training after this many minutes; the next call continues.
        step: Told what is being done.

    Returns:
        True when training is finished and `output` written, False when time ran out.

    Raises:
        InvalidInputError: A setting is out of range.
        CheckpointError: A model is not understood.
        TrainingTextError: The text is unusable.
        DistillationError: Teacher and student have different vocabularies.
        OutputError: `output` exists.
    """
    target, work = Path(output), Path(work)
    if target.exists():
        raise OutputError(f"{target} exists; give a new folder.")
    work.mkdir(parents=True, exist_ok=True)
    pairs = sample_pairs(texts, settings.pairs, settings.seed)
    if len(pairs) < 2 * token_training.HELD_OUT:
        raise TrainingTextError(
            f"at least {2 * token_training.HELD_OUT} pairs are needed, got {len(pairs)}."
        )
    teacher_files = _model_folder(teacher, work / "models", step)
    guide_files = _model_folder(guide, work / "models", step)
    widest = teacher_files.config.embedding_dim
    dim = settings.dim or widest
    check_whole_number("dim", dim, most=widest)
    checkpoint = load_student(student, settings.layers, settings.embedding_dim)
    config = _config(teacher_files.config, settings, dim, checkpoint)
    tokenizer = _tokenizer(checkpoint, config, teacher_files, work)
    text = _prepare(teacher_files, guide_files, pairs, config, tokenizer, work / "targets", step)
    models = [hash_file(files.graph).sha256 for files in (teacher_files, guide_files)]
    origin = weights_key(checkpoint.folder)
    key = _key([origin, *models, _pairs_key(pairs)], dataclasses.asdict(settings))
    run = work / "runs" / key
    run.mkdir(parents=True, exist_ok=True)
    trainer = TokenTrainer(checkpoint, text, settings, dim, run, device, mixed_precision)
    if not trainer.train(minutes, step):
        step(f"stopped at step {trainer.step} of {settings.steps}; call again to continue")
        return False
    trainer.finish()
    report = {
        "student": checkpoint.config.model_name,
        "teachers": [files.config.model_name for files in (teacher_files, guide_files)],
        "texts": [path.name for path in texts],
        "settings": dataclasses.asdict(settings),
        "held_out": trainer.measure(),
        "prefixes": list(settings.prefixes),
    }
    save_student(checkpoint, trainer.module, config, target, report)
    return True


def _key(parts: Sequence[str], values: Any) -> str:
    joined = json.dumps([list(parts), values], sort_keys=True)
    return hashlib.sha256(joined.encode()).hexdigest()[:12]


def _pairs_key(pairs: Sequence[Pair]) -> str:
    return _key([], [[pair.query, pair.passage] for pair in pairs])


def _model_folder(source: str | Path, exports: Path, step: Step) -> ModelFiles:
    """Return a teacher's model folder: the one given, or its int8 export, which is fast."""
    if (Path(source) / RECIPE_FILE).is_file():
        return load_model_files(Path(source))
    name = weights_key(Path(source)) if Path(source).is_dir() else _key([str(source)], None)
    folder = exports / name
    if not (folder / RECIPE_FILE).is_file():
        step(f"exporting {source} to encode with it")
        export_model(source, folder)
    return load_model_files(folder)


def _config(
    teacher: ModelConfig, settings: Shrinking, dim: int, student: Checkpoint
) -> ModelConfig:
    """Return the student's recipe: the teacher's, with queries that may grow."""
    positions = student.positions
    longest = min(max(teacher.query_length, settings.query_max_length), positions)
    if teacher.document_length > positions:
        raise DistillationError(
            f"the teacher's documents have {teacher.document_length} tokens, the student has "
            f"{positions} positions."
        )
    recipe = dataclasses.replace(
        teacher,
        embedding_dim=dim,
        matryoshka_dims=settings.prefixes,
        model_name=student.config.model_name,
    )
    if not teacher.do_query_expansion:
        return dataclasses.replace(recipe, query_length=longest)
    return dataclasses.replace(recipe, query_expansion_strategy="min", query_max_length=longest)


def _tokenizer(
    student: Checkpoint, config: ModelConfig, teacher: ModelFiles, work: Path
) -> Tokenizer:
    """Return the student's tokenizer, which must give the teacher's tokens."""
    backend = student.tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    path = work / "student-tokenizer.json"
    path.write_text(backend.to_str(), encoding="utf-8")
    own, theirs = Tokenizer(path, config), Tokenizer(teacher.tokenizer, config)
    for text in parity_texts():
        if "[" in text:  # as text, markers are one token for one tokenizer and several for another
            continue
        for tokenize in ("tokenize_query", "tokenize_document"):
            ids = [getattr(item, tokenize)(text).input_ids for item in (own, theirs)]
            if not np.array_equal(*ids):
                raise DistillationError(
                    "teacher and student must have the same tokens, as every vector is learned "
                    f"from that of the same token; they differ for {text[:40]!r}."
                )
    return theirs


def _prepare(
    teacher: ModelFiles,
    guide: ModelFiles,
    pairs: Sequence[Pair],
    config: ModelConfig,
    tokenizer: Tokenizer,
    folder: Path,
    step: Step,
) -> TrainingText:
    """Encode with teacher and guide, tokenise, and fit the rotation."""
    asked = dataclasses.replace(
        config,
        embedding_dim=teacher.config.embedding_dim,
        matryoshka_dims=teacher.config.matryoshka_dims,
        model_name=teacher.config.model_name,
    )
    stores = []
    for files in (dataclasses.replace(teacher, config=asked), guide):
        key = _key([hash_file(files.graph).sha256, _pairs_key(pairs)], files.config.to_json())
        stores.append(encode_targets(Encoder.load(files), pairs, folder / key, step))
    step("tokenising")
    queries = [tokenizer.tokenize_query(pair.query) for pair in pairs]
    passages = [tokenizer.tokenize_document(pair.passage) for pair in pairs]
    numbers = range(len(pairs))
    means = [
        np.stack([_mean(side(number)) for number in numbers])
        for side in (stores[1].query, stores[1].passage)
    ]
    sample = np.concatenate(
        [stores[0].passage(number) for number in range(token_training.FIT_PAIRS)]
    )
    rows = torch.from_numpy(sample.astype(np.float64))
    _, basis = torch.linalg.eigh(rows.T @ rows)
    rotation = basis.flip(1)[:, : config.embedding_dim].float()
    spread = float((rows - rows.mean(dim=0)).pow(2).sum(dim=1).mean())
    keywords = losses.BM25([item.input_ids[item.keep] for item in passages])
    return TrainingText(
        queries, passages, stores[0], stores[1], rotation, spread, means[0], means[1], keywords
    )


def _mean(rows: NDArray[np.float16]) -> NDArray[np.float32]:
    total = rows.sum(axis=0, dtype=np.float32)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-6), dtype=np.float32)
