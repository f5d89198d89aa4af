"""A model folder of this project read back as a checkpoint: int8 weights multiplied out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from transformers import BertConfig, BertModel, ElectraConfig, ElectraModel, PreTrainedTokenizerFast

from pocket_colbert.model.folder import ModelFiles
from pocket_colbert_export.checkpoints.loading import Checkpoint
from pocket_colbert_export.checkpoints.transformer import Head
from pocket_colbert_export.errors import CheckpointError

_BACKBONE = "backbone."
_SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


def read_model_folder(files: ModelFiles) -> Checkpoint:
    """Read the weights of an exported BERT or ELECTRA with linear heads.

    int8 rounded the weights once; the float weights that come out of this give what the int8
    graph gives, but for the rounding of activations.

    Args:
        files: A checked model folder, of precision int8 or fp32.

    Returns:
        The checkpoint, which can be trained on.

    Raises:
        CheckpointError: The graph is not of that form.
    """
    model = onnx.load(str(files.graph))
    weights = _weights(model)
    layers = len({name.split(".")[3] for name in weights if ".layer." in name})
    try:
        words = weights["backbone.embeddings.word_embeddings.weight"]
        wide = weights["backbone.encoder.layer.0.intermediate.dense.weight"]
        settings: dict[str, Any] = {
            "vocab_size": words.shape[0],
            "hidden_size": wide.shape[1],
            "intermediate_size": wide.shape[0],
            "num_hidden_layers": layers,
            "num_attention_heads": wide.shape[1] // _head_width(model),
            "max_position_embeddings": len(
                weights["backbone.embeddings.position_embeddings.weight"]
            ),
            "type_vocab_size": len(weights["backbone.embeddings.token_type_embeddings.weight"]),
            "layer_norm_eps": _epsilon(model),
        }
    except KeyError as error:
        raise CheckpointError(
            f"{files.folder} is not an exported BERT with linear heads: it has no {error}. Start "
            "from a model that is one."
        ) from error
    backbone: Any
    if "backbone.embeddings_project.weight" in weights:
        config = ElectraConfig(**settings, embedding_size=words.shape[1])
        config._attn_implementation = "eager"
        backbone = ElectraModel(config)
    else:
        config = BertConfig(**settings)
        config._attn_implementation = "eager"
        backbone = BertModel(config, add_pooling_layer=False)
    state = {
        name.removeprefix(_BACKBONE): torch.from_numpy(value.copy())
        for name, value in weights.items()
        if name.startswith(_BACKBONE)
    }
    missing, unknown = backbone.load_state_dict(state, strict=False)
    missing = [name for name in missing if not name.endswith("position_ids")]
    if missing or unknown:
        raise CheckpointError(
            f"{files.folder} is not an exported BERT with linear heads: its graph lacks "
            f"{missing[:3]} and has {unknown[:3]}. Start from a model that is one."
        )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(files.tokenizer),
        model_max_length=settings["max_position_embeddings"],
        **_SPECIAL_TOKENS,
    )
    return Checkpoint(
        folder=files.folder,
        layout="pylate",
        backbone=backbone.eval(),
        positions=settings["max_position_embeddings"],
        tokenizer=tokenizer,
        heads=tuple(_heads(weights)),
        config=dataclasses.replace(files.config, model_name=files.folder.name),
        license=files.card.license or "unknown",
    )


def _heads(weights: Mapping[str, NDArray[np.float32]]) -> Iterator[Head]:
    for number in range(len(weights)):
        weight = weights.get(f"heads.{number}.linear.weight")
        if weight is None:
            return
        bias = weights.get(f"heads.{number}.linear.bias")
        yield Head(
            torch.from_numpy(weight.copy()), None if bias is None else torch.from_numpy(bias.copy())
        )


def _weights(model: onnx.ModelProto) -> dict[str, NDArray[np.float32]]:
    """Return every weight by its name in torch, (outputs, inputs) for products."""
    stored = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:  # equal tensors are stored once and passed on
        if node.op_type == "Identity" and node.input[0] in stored:
            stored[node.output[0]] = stored[node.input[0]]
    made_by = {output: node for node in model.graph.node for output in node.output}
    weights = {
        name: _array(stored, name)
        for name in stored
        if name.startswith(_BACKBONE + "embeddings.") and "LayerNorm" not in name
    }
    for name in list(weights):
        if name.endswith("_codes"):
            table = name.removesuffix("_codes")
            weights[table] = weights.pop(name) * weights.pop(table + "_scales")
    for node in model.graph.node:
        # As equal tensors are one, only the place of a node tells whose it is.
        place = node.output[0].strip("/").rpartition("/")[0]
        place = place.replace("/", ".")
        if node.op_type == "LayerNormalization":
            weights[place + ".weight"] = _array(stored, node.input[1])
            weights[place + ".bias"] = _array(stored, node.input[2])
        if node.op_type == "Add":
            biases = [name for name in node.input if name in stored and len(stored[name].dims) == 1]
            if biases:
                weights[place + ".bias"] = _array(stored, biases[0])
        if node.op_type not in ("MatMul", "MatMulInteger") or node.input[1] not in stored:
            continue
        matrix = _array(stored, node.input[1])
        if node.op_type == "MatMulInteger":
            base = node.input[1].removesuffix("_quantized")
            matrix = (matrix - _array(stored, base + "_zero_point")) * _array(
                stored, base + "_scale"
            )
        factor = _smoothing(node, stored, made_by)
        if factor is not None:
            matrix = matrix * factor[:, None]
        weights[place + ".weight"] = np.ascontiguousarray(matrix.T)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def _array(stored: Mapping[str, Any], name: str) -> NDArray[np.float32]:
    return np.asarray(numpy_helper.to_array(stored[name]), dtype=np.float32)


def _smoothing(
    node: Any, stored: Mapping[str, Any], made_by: Mapping[str, Any]
) -> NDArray[np.float32] | None:
    """Return what a product's input is multiplied by first (`graph.int8`), None for nothing."""
    source = made_by.get(node.input[0])
    if source is not None and source.op_type == "DynamicQuantizeLinear":
        source = made_by.get(source.input[0])
    if source is None or source.op_type != "Mul" or not source.input[1].endswith("_divisor"):
        return None
    return _array(stored, source.input[1])


def _head_width(model: onnx.ModelProto) -> int:
    """Return the components of an attention head: attention divides by the root of it."""
    constants = {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in model.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value"
    }
    for node in model.graph.node:
        if node.op_type == "Div" and "attention" in node.output[0] and node.input[1] in constants:
            return round(float(constants[node.input[1]]) ** 2)
    raise KeyError("division by the root of a head's width")


def _epsilon(model: onnx.ModelProto) -> float:
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            return float(next(item.f for item in node.attribute if item.name == "epsilon"))
    raise KeyError("LayerNormalization")
