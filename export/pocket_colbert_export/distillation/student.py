"""The model that learns: taken from a checkpoint, made smaller, and saved as one."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import ElectraConfig, ElectraModel

from pocket_colbert.errors import InvalidInputError
from pocket_colbert.model.recipe import ModelConfig
from pocket_colbert_export.checkpoints.loading import Checkpoint, load_checkpoint
from pocket_colbert_export.checkpoints.raw import DISTILLATION_FILE
from pocket_colbert_export.checkpoints.transformer import Head
from pocket_colbert_export.errors import DistillationError

_WARM_UP_STEPS = 400
_WARM_UP_TOKENS = 8192


def load_student(
    source: str | Path, layers: Sequence[int] | None, embedding_dim: int | None
) -> Checkpoint:
    """Read a checkpoint and make it as small as asked.

    Args:
        source: A checkpoint folder or hub id.
        layers: Which of its layers to keep, in order; None for all.
        embedding_dim: Width of a factorised embedding table, None to keep the table.

    Returns:
        The student, without its heads: see `fit_head`.

    Raises:
        CheckpointError: The checkpoint is not understood.
        InvalidInputError: It has no such layers.
        DistillationError: Its architecture cannot be made smaller so.
    """
    student = load_checkpoint(source)
    backbone = student.backbone
    if getattr(backbone, "pooler", None) is not None:
        backbone.pooler = None  # no token vector comes from it
    if layers is not None:
        _keep_layers(backbone, layers)
    if embedding_dim is not None:
        backbone = factorise_embeddings(backbone, embedding_dim)
    return dataclasses.replace(student, backbone=backbone, heads=())


def _keep_layers(backbone: Any, layers: Sequence[int]) -> None:
    stack = getattr(getattr(backbone, "encoder", None), "layer", None)
    if stack is None:
        raise DistillationError(
            f"layers can be left out of BERT-like models only, got {type(backbone).__name__}."
        )
    if not layers or not all(0 <= number < len(stack) for number in layers):
        raise InvalidInputError(
            f"layers must be numbers from 0 to {len(stack) - 1}, got {list(layers)}."
        )
    backbone.encoder.layer = torch.nn.ModuleList(copy.deepcopy(stack[n]) for n in layers)
    backbone.config.num_hidden_layers = len(layers)


def factorise_embeddings(backbone: Any, embedding_dim: int) -> Any:
    """Return an ELECTRA that computes nearly what a BERT does with a narrower embedding table.

    ELECTRA is BERT with a projection behind its embeddings (Clark et al. 2020, arXiv 2003.10555).
    The table starts from the leading singular vectors of BERT's, then table and projection are
    fitted to BERT's embeddings of random tokens; the layers are BERT's.

    Args:
        backbone: A BertModel.
        embedding_dim: The new width.

    Raises:
        DistillationError: The backbone is no BERT, or is not wider than that.
    """
    config = backbone.config
    if config.model_type != "bert" or not 1 <= embedding_dim < config.hidden_size:
        raise DistillationError(
            f"a factorised embedding table needs a BERT wider than it, got {config.model_type} "
            f"of width {config.hidden_size} and {embedding_dim}."
        )
    values = {key: value for key, value in config.to_dict().items() if key != "model_type"}
    values |= {"embedding_size": embedding_dim, "architectures": ["ElectraModel"]}
    settings = ElectraConfig(**values)
    settings._attn_implementation = "eager"
    small = ElectraModel(settings).eval()
    small.encoder.load_state_dict(backbone.encoder.state_dict())
    old, new = backbone.embeddings, small.embeddings
    with torch.no_grad():
        words = old.word_embeddings.weight
        _, _, basis = torch.linalg.svd(words - words.mean(dim=0), full_matrices=False)
        basis = basis[:embedding_dim]
        for name in ("word_embeddings", "position_embeddings", "token_type_embeddings"):
            getattr(new, name).weight.copy_(getattr(old, name).weight @ basis.T)
        small.embeddings_project.weight.copy_(basis.T)
        small.embeddings_project.bias.zero_()
    parameters = [*new.parameters(), *small.embeddings_project.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    generator = torch.Generator().manual_seed(0)
    positions = config.max_position_embeddings
    shape = max(_WARM_UP_TOKENS // positions, 1), positions
    for step in range(_WARM_UP_STEPS):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - step / _WARM_UP_STEPS)
        ids = torch.randint(config.vocab_size, shape, generator=generator)
        with torch.no_grad():
            target = old(input_ids=ids)
        loss = (small.embeddings_project(new(input_ids=ids)) - target).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return small


def fit_head(hidden: torch.Tensor, targets: torch.Tensor) -> Head:
    """Return the head that brings hidden states nearest to a teacher's vectors.

    Least squares over unit hidden states: what the head is for is a direction, so the length of
    a hidden state must not weigh.

    Args:
        hidden: (tokens, width).
        targets: (tokens, dim), the teacher's vectors of the same tokens.
    """
    rows = torch.nn.functional.normalize(hidden.double(), dim=-1)
    moment = rows.T @ rows
    moment += 1e-4 * moment.diagonal().mean() * torch.eye(len(moment), dtype=moment.dtype)
    weight = torch.linalg.solve(moment, rows.T @ targets.double()).T
    return Head(weight.float().contiguous())


def save_student(
    student: Checkpoint, module: Any, config: ModelConfig, folder: Path, details: Mapping[str, Any]
) -> None:
    """Write a student as a checkpoint in PyLate's layout.

    Args:
        student: What training started from; its tokenizer is written.
        module: The trained `ColBERTForONNX`.
        config: How texts are encoded.
        folder: Where it goes, in one step; must not exist.
        details: Who taught it what, for DISTILLATION_FILE.
    """
    partial = folder.with_name(folder.name + ".writing")
    partial.mkdir(parents=True)
    module.backbone.save_pretrained(partial)
    student.tokenizer.save_pretrained(partial)
    places = ["", *(f"{number}_Dense" for number in range(1, len(module.heads) + 1))]
    for place, head in zip(places[1:], module.heads, strict=True):
        (partial / place).mkdir()
        layer = head.linear
        tensors = {f"linear.{name}": value for name, value in layer.named_parameters()}
        save_file(
            {name: value.detach().contiguous() for name, value in tensors.items()},
            partial / place / "model.safetensors",
        )
        _write_json(
            partial / place / "config.json",
            {
                "in_features": layer.in_features,
                "out_features": layer.out_features,
                "bias": layer.bias is not None,
                "activation_function": "torch.nn.modules.linear.Identity",
            },
        )
    transformer, dense = "sentence_transformers.models.Transformer", "pylate.models.Dense.Dense"
    _write_json(
        partial / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": dense if path else transformer}
            for n, path in enumerate(places)
        ],
    )
    expansion = {
        "strategy": config.query_expansion_strategy,
        "attend": config.attend_to_expansion_tokens,
        "length": config.query_length,
        "token": student.tokenizer.convert_ids_to_tokens(config.mask_token_id)
        if config.do_query_expansion
        else None,
    }
    _write_json(
        partial / "config_sentence_transformers.json",
        {
            "model_type": "ColBERT",
            "query_prefix": config.query_prefix,
            "document_prefix": config.document_prefix,
            "query_length": config.query_max_length or config.query_length,
            "document_length": config.document_length,
            "query_expansion": expansion if config.do_query_expansion else None,
            "skiplist_words": list(config.skiplist_words),
            "matryoshka_dims": list(config.matryoshka_dims),
        },
    )
    _write_json(partial / "sentence_bert_config.json", {"max_seq_length": config.document_length})
    _write_json(partial / DISTILLATION_FILE, details)
    partial.replace(folder)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
