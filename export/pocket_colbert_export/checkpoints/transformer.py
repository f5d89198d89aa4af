"""What has weights in a checkpoint: backbone, tokenizer and heads, loaded into torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import AddedToken
from tokenizers.normalizers import Lowercase
from tokenizers.normalizers import Sequence as NormalizerSequence
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from pocket_colbert_export.checkpoints.raw import RawCheckpoint
from pocket_colbert_export.checkpoints.settings import CheckpointSettings, HeadSettings
from pocket_colbert_export.errors import CheckpointError

_UNUSED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")
"""Weights that may be missing: no token vector comes from them."""

_OTHER_HEADS = (
    "cls.", "lm_head", "classifier", "vocab_", "predictions", "head.", "decoder", "pooler", "mlm",
    "qa_outputs",
)  # fmt: skip
"""How the names of weights begin that serve other tasks and may be there."""

_ACTIVATIONS = (
    "Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish", "Softplus",
)  # fmt: skip
_HEAD_TENSORS = ("linear.weight", "linear.bias", "residual.weight")


@dataclass(frozen=True)
class Head:
    """One Dense layer over token vectors: activation(W x + b), plus the residual if any."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    activation: str = "Identity"
    residual: bool = False
    residual_weight: torch.Tensor | None = None


@dataclass(frozen=True)
class Transformer:
    """The parts of a checkpoint that have weights.

    Attributes:
        backbone: The transformers model, float32, in eval mode.
        positions: How many tokens it takes.
        tokenizer: Its fast tokenizer, with the markers registered.
        heads: The projections, first one first.
        dim: Width of a token vector after the projections.
    """

    backbone: Any
    positions: int
    tokenizer: Any
    heads: tuple[Head, ...]
    dim: int


def load_transformer(raw: RawCheckpoint, settings: CheckpointSettings) -> Transformer:
    """Load all weights of a checkpoint in float32.

    Raises:
        CheckpointError: Weights are missing, of another shape or unknown; the tokenizer has no
            fast form; or the architecture is not one of transformers'.
    """
    tokenizer = _load_tokenizer(raw, settings)
    # The head may lie among the backbone's own weights, which do not know it.
    shared = [head for head in settings.heads if head.folder == raw.transformer_folder]
    backbone = _load_backbone(raw, _HEAD_TENSORS if shared else ())
    heads = tuple(_load_head(head) for head in settings.heads)
    width = backbone.config.hidden_size
    for head, described in zip(heads, settings.heads, strict=True):
        outputs, inputs = head.weight.shape
        if inputs != width:
            raise CheckpointError(
                f"{described.described_in}: the projection takes {inputs} inputs, what comes "
                f"before it gives {width}."
            )
        width = outputs
    return Transformer(backbone, _count_positions(backbone.config), tokenizer, heads, int(width))


def _load_backbone(raw: RawCheckpoint, allowed_extra: Sequence[str]) -> Any:
    """Load the backbone; every weight that token vectors need must be in the file."""
    folder, config = raw.transformer_folder, _load_config(raw)
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except MemoryError:
        raise
    except Exception as error:  # a broken folder raises whatever the code that stumbles raises
        raise CheckpointError(f"transformers cannot load {folder}: {error}") from error
    wrong = [key for key in report["missing_keys"] if not key.startswith(_UNUSED)]
    wrong = wrong or [item[0] for item in report["mismatched_keys"]]
    if wrong:
        raise CheckpointError(
            f"the weights in {folder} lack or misshape {len(wrong)} tensors of "
            f"{type(model).__name__}: key {wrong[0]!r} first."
        )
    strange = [
        key
        for key in report["unexpected_keys"]
        if key not in allowed_extra
        and not key.startswith(_OTHER_HEADS)
        and "position_ids" not in key
    ]
    if strange:
        raise CheckpointError(
            f"the weights in {folder} hold key {strange[0]!r}, which {type(model).__name__} does "
            "not know. If it is a projection, its layout is not one this exporter reads."
        )
    return model.float().eval()


def _count_positions(config: Any) -> int:
    """Return how many positions a backbone has for tokens."""
    positions = getattr(config, "max_position_embeddings", None) or 512
    if config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= 2  # their positions start behind the padding index
    return int(positions)


def _load_config(raw: RawCheckpoint) -> Any:
    file, values = raw.transformer_config.path, raw.transformer_config.values
    try:
        config = AutoConfig.from_pretrained(
            raw.transformer_folder, local_files_only=True, trust_remote_code=False
        )
    except MemoryError:
        raise
    except Exception as error:  # unknown names and values raise many kinds
        raise CheckpointError(
            f"{file} names an architecture that this transformers does not have, and code from a "
            f"checkpoint is never run: {error}"
        ) from error
    if getattr(config, "is_encoder_decoder", False):
        raise CheckpointError(f"{file} is an encoder-decoder; only encoders work.")
    if "rope_parameters" in values:
        _translate_rope(file, values, config)
    if hasattr(config, "reference_compile"):
        config.reference_compile = False  # ModernBERT compiles itself otherwise
    return config


def _translate_rope(file: Path, values: Mapping[str, Any], config: Any) -> None:
    """Carry over what transformers 5 writes in other keys than transformers 4 reads.

    Without this, transformers 4 would take its defaults and encode wrongly without a word.
    """
    rope, layers = values["rope_parameters"], values.get("layer_types") or []
    try:
        kinds = {kind: rope[kind] for kind in ("full_attention", "sliding_attention")}
        every = next(n for n in range(1, len(layers) + 1) if layers == _layer_types(len(layers), n))
        supported = all(item["rope_type"] == "default" for item in kinds.values())
    except (KeyError, TypeError, StopIteration):
        supported = False
    if config.model_type != "modernbert" or not supported:
        raise CheckpointError(
            f"{file}: keys 'rope_parameters' and 'layer_types' were written by a newer "
            f"transformers and cannot be carried over for {config.model_type!r}: {rope!r}."
        )
    config.global_rope_theta = kinds["full_attention"]["rope_theta"]
    config.local_rope_theta = kinds["sliding_attention"]["rope_theta"]
    config.global_attn_every_n_layers = every


def _layer_types(layers: int, every: int) -> list[str]:
    return ["sliding_attention" if n % every else "full_attention" for n in range(layers)]


def _load_tokenizer(raw: RawCheckpoint, settings: CheckpointSettings) -> Any:
    folder = raw.transformer_folder
    # transformers 5 names its one class for all fast tokenizers so; transformers 4 lacks it.
    generic = raw.tokenizer_config.values.get("tokenizer_class") == "TokenizersBackend"
    try:
        tokenizer = (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(
            folder, use_fast=True, local_files_only=True, trust_remote_code=False
        )
    except MemoryError:
        raise
    except Exception as error:  # tokenizers raises plain Exception
        raise CheckpointError(
            f"transformers cannot load the tokenizer of {folder}: {error}"
        ) from error
    if not tokenizer.is_fast:
        raise CheckpointError(f"{folder} has no fast tokenizer (tokenizer.json).")
    if settings.lower_case:
        backend = tokenizer.backend_tokenizer
        steps = [Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = NormalizerSequence(steps)
    _register_markers(tokenizer, settings.markers)
    return tokenizer


def _register_markers(tokenizer: Any, markers: Sequence[str]) -> None:
    """Make markers that the vocabulary knows come out of the tokenizer as one token.

    PyLate and Stanford ColBERT put the id of the marker in; as text, "[unused0]" would fall into
    pieces. Registered, it is one token both ways, so tools that put it in as text agree too.
    """
    vocabulary = tokenizer.get_vocab()
    missing = []
    for marker in markers:
        known = next((m for m in (marker, marker.strip()) if m in vocabulary), None)
        if known is not None and tokenizer.tokenize(known) != [known]:
            missing.append(AddedToken(known, normalized=False, special=True))
    if missing:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": missing}, replace_additional_special_tokens=False
        )


def _load_head(settings: HeadSettings) -> Head:
    if settings.activation not in _ACTIVATIONS:
        raise CheckpointError(
            f"{settings.described_in}: key 'activation_function' must be one of "
            f"{', '.join(_ACTIVATIONS)} of torch.nn, got {settings.activation!r}."
        )
    file, tensors = _load_tensors(settings.folder, _HEAD_TENSORS)
    if "linear.weight" not in tensors:
        raise CheckpointError(f"the weights in {file} have no key 'linear.weight'.")
    weight = tensors["linear.weight"]
    if weight.dim() != 2:
        raise CheckpointError(
            f"{file}: key 'linear.weight' must be a matrix, got the shape {tuple(weight.shape)}."
        )
    for expected, width in zip((settings.outputs, settings.inputs), weight.shape, strict=True):
        if expected is not None and expected[1] != width:
            raise CheckpointError(
                f"{settings.described_in}: key {expected[0]!r} is {expected[1]}, but "
                f"'linear.weight' in {file} has the shape {tuple(weight.shape)}."
            )
    keys = ["linear.weight"] + ["linear.bias"] * settings.bias
    if settings.residual and weight.shape[0] != weight.shape[1]:
        keys.append("residual.weight")
    if set(tensors) != set(keys):
        raise CheckpointError(
            f"{file} must hold {keys} as {settings.described_in} says, got {sorted(tensors)}."
        )
    return Head(
        weight,
        tensors.get("linear.bias"),
        settings.activation,
        settings.residual,
        tensors.get("residual.weight"),
    )


def _load_tensors(folder: Path, names: Sequence[str]) -> tuple[Path, Mapping[str, torch.Tensor]]:
    """Load named tensors from model.safetensors (sharded or not) or pytorch_model.bin.

    Returns:
        The file they came from and those of `names` that it holds, float32; the folder and none
        where no file holds any.
    """
    files = sorted(folder.glob("*.safetensors"))
    pickles = sorted(folder.glob("pytorch_model*.bin"))
    if not files and not pickles:
        raise CheckpointError(f"{folder} has no model.safetensors and no pytorch_model.bin.")
    for path in files:
        try:
            with safe_open(str(path), framework="pt") as content:
                held = {n: content.get_tensor(n).float() for n in names if n in content.keys()}
        except SafetensorError as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from error
        if held:
            return path, held
    for path in pickles:
        try:  # weights_only: a pickle from outside must not run code
            state = torch.load(path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # unpickling raises many kinds
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        held = {name: state[name].float() for name in names if name in state}
        if held:
            return path, held
    return folder, {}
