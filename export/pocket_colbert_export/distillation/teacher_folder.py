"""Teachers that come as checkpoints: exported once, to int8, into the folder of the work."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from pocket_colbert.model.folder import RECIPE_FILE
from pocket_colbert.storage.files import hash_file
from pocket_colbert_export.checkpoints.loading import load_checkpoint
from pocket_colbert_export.errors import DistillationError
from pocket_colbert_export.exporter import Step, export_model
from pocket_colbert_export.graph.int8 import quantize_graph
from pocket_colbert_export.graph.torch_graph import trace
from pocket_colbert_export.proof.probe_texts import probe_pairs
from pocket_colbert_export.proof.report import Int8Recipe
from pocket_colbert_export.quiet import quiet

_RECIPE = Int8Recipe(smoothing=0.7, reduce_range=False)
_CALIBRATED_ON = 24
_CALIBRATED_TOKENS = 128
_POOLING = "1_Pooling/config.json"


def weights_key(folder: Path) -> str:
    """Tell checkpoints apart by their weights, wherever they lie."""
    files = [*folder.rglob("*.safetensors"), *folder.rglob("*.bin")]
    hashes = sorted(hash_file(path).sha256 for path in files)
    return hashlib.sha256(json.dumps(hashes).encode()).hexdigest()[:12]


def teacher_folder(source: Path, work: Path, step: Step) -> Path:
    """Return a folder that `teachers.load_teacher` reads, made of a checkpoint where it is one.

    Args:
        source: An ONNX folder or a model folder, which is returned as it is; or a checkpoint: a
            ColBERT, a cross-encoder, or a one-vector encoder.
        work: Where exported checkpoints go; one that is there is not exported again.
        step: Told what is being done.

    Raises:
        DistillationError: It is none of them.
    """
    ready = (RECIPE_FILE, "model.onnx", "onnx/model.onnx")
    if any((source / name).is_file() for name in ready):
        return source
    if not (source / "config.json").is_file():
        raise DistillationError(
            f"{source} is no teacher: expected a checkpoint (config.json), an ONNX folder "
            "(model.onnx, tokenizer.json) or a model folder."
        )
    target = work / weights_key(source) / source.name
    if any((target / name).is_file() for name in ready):
        return target
    step(f"exporting {source} to score with it")
    target.parent.mkdir(parents=True, exist_ok=True)
    values = json.loads((source / "config.json").read_text(encoding="utf-8"))
    kinds = values.get("architectures") or []
    judges = any(str(kind).endswith("ForSequenceClassification") for kind in kinds)
    if not judges and load_checkpoint(source).layout != "dense":
        export_model(source, target)
        return target
    partial = target.with_name(target.name + ".writing")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _export(source, partial, judges)
    partial.replace(target)
    return target


class _OneOutput(torch.nn.Module):
    """A model of transformers that returns its logits or its hidden states alone."""

    def __init__(self, model: Any, judges: bool) -> None:
        super().__init__()
        self.model, self.judges, self.config = model, judges, model.config

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, *kinds: torch.Tensor
    ) -> torch.Tensor:
        given = {"token_type_ids": kinds[0]} if kinds else {}
        output = self.model(input_ids=input_ids, attention_mask=attention_mask, **given)
        result: torch.Tensor = output.logits if self.judges else output.last_hidden_state
        return result


def _export(source: Path, folder: Path, judges: bool) -> None:
    kind = AutoModelForSequenceClassification if judges else AutoModel
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = kind.from_pretrained(source, attn_implementation="eager").eval()
        tokenizer = AutoTokenizer.from_pretrained(source)
        if judges and model.config.num_labels != 1:
            raise DistillationError(
                f"{source} tells {model.config.num_labels} classes apart; a teacher returns one "
                "number."
            )
        # A cross-encoder is told by it which tokens are the query's.
        typed = judges and "token_type_ids" in tokenizer.model_input_names
        names = ["input_ids", "attention_mask", *(["token_type_ids"] if typed else [])]
        graph = folder / "float.onnx"
        trace(_OneOutput(model, judges), graph, names)
        backend = tokenizer.backend_tokenizer
        backend.no_padding()
        positions = int(getattr(model.config, "max_position_embeddings", _CALIBRATED_TOKENS))
        backend.enable_truncation(min(positions - 2, _CALIBRATED_TOKENS))
        feeds = []
        for query, passage in probe_pairs()[:_CALIBRATED_ON]:
            encoding = backend.encode(query, passage) if judges else backend.encode(passage)
            values = (encoding.ids, encoding.attention_mask, encoding.type_ids)
            feeds.append(
                {
                    name: np.array([value], dtype=np.int64)
                    for name, value in zip(names, values[: len(names)], strict=True)
                }
            )
        quantize_graph(graph, folder / "model.onnx", feeds, _RECIPE)
        graph.unlink()
        backend.no_truncation()
        (folder / "tokenizer.json").write_text(backend.to_str(), encoding="utf-8")
    if (source / _POOLING).is_file():
        (folder / "1_Pooling").mkdir()
        shutil.copyfile(source / _POOLING, folder / _POOLING)
