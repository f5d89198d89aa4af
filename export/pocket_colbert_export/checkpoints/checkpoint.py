"""A checkpoint folder as a torch module and a recipe, whatever its layout.

Three layouts are read, and anything else is an error that names the file and key:

* PyLate and sentence-transformers: `modules.json` (`layouts.read_sentence_transformers`);
* Stanford ColBERT: `artifact.metadata` (`layouts.read_stanford`);
* a plain transformer without a head (`layouts.read_plain`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from pocket_colbert_export.errors import CheckpointError
from pocket_colbert_export.quiet import quiet

DISTILLATION_FILE = "distillation.json"
"""What `distill` writes beside the weights."""
_UNUSED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")
_ACTIVATIONS = (
    "Identity", "Tanh", "ReLU", "GELU", "SiLU", "Sigmoid", "LeakyReLU", "ELU", "Mish", "Softplus",
)  # fmt: skip


@dataclass(frozen=True)
class Head:
    """One Dense layer over token vectors: activation(W x + b), plus the residual if any."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    activation: str = "Identity"
    residual: bool = False
    residual_weight: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.activation not in _ACTIVATIONS:
            raise CheckpointError(
                f"activation_function must be one of {', '.join(_ACTIVATIONS)} of torch.nn, "
                f"got {self.activation!r}."
            )


@dataclass
class Checkpoint:
    """What an export starts from.

    Attributes:
        folder: The checkpoint folder.
        layout: "pylate", "sentence-transformers", "stanford" or "dense".
        backbone: The transformer, float32, in eval mode.
        tokenizer: Its fast tokenizer.
        heads: The projections, first one first; empty for a dense encoder.
        recipe: Fields of `ModelConfig`, all but embedding_dim.
        notes: What a reader of the model card should know.
        license: SPDX expression from the checkpoint's own card, or "unknown".
        name: Where it comes from, for people.
        distilled: What `distill` wrote about the making of it, None for other checkpoints.
    """

    folder: Path
    layout: str
    backbone: Any
    tokenizer: Any
    heads: list[Head]
    recipe: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    license: str = "unknown"
    name: str = ""
    distilled: Mapping[str, Any] | None = None

    @property
    def dim(self) -> int:
        """Width of the token vectors after the heads."""
        if self.heads:
            return int(self.heads[-1].weight.shape[0])
        return int(self.backbone.config.hidden_size)


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        source: A folder, or a hub id `owner/name`.

    Returns:
        The checkpoint.

    Raises:
        CheckpointError: It is of an unknown layout, incomplete or contradicts itself; or the hub
            cannot be reached.
    """
    from pocket_colbert_export.checkpoints.layouts import (
        read_plain,
        read_sentence_transformers,
        read_stanford,
    )

    folder = _find(source)
    config = read_json(folder / "config.json", required=False)
    stanford = config is not None and "HF_ColBERT" in (config.get("architectures") or [])
    if (folder / "modules.json").is_file() and not (stanford and _headless(folder)):
        checkpoint = read_sentence_transformers(folder)
    elif config is None:
        raise CheckpointError(
            f"{folder} has neither modules.json nor config.json, so it is not a checkpoint."
        )
    elif stanford:
        checkpoint = read_stanford(folder)
    elif (folder / "artifact.metadata").is_file():
        raise CheckpointError(
            f"{folder / 'artifact.metadata'} says Stanford ColBERT, but key 'architectures' of "
            f"{folder / 'config.json'} is {config.get('architectures')!r}, not ['HF_ColBERT']."
        )
    else:
        checkpoint = read_plain(folder)
    checkpoint.name = str(source) if not Path(source).is_dir() else folder.resolve().name
    checkpoint.license = _license(folder)
    checkpoint.distilled = _distilled(folder / DISTILLATION_FILE)
    return checkpoint


def _headless(folder: Path) -> bool:
    """Whether modules.json lists a Transformer alone, as the one of mxbai-colbert-large-v1 does.

    It was put beside a Stanford ColBERT later, whose head is among the weights.
    """
    modules = read_json(folder / "modules.json")
    return isinstance(modules, list) and len(modules) == 1


def _distilled(path: Path) -> Mapping[str, Any] | None:
    """Return who taught a checkpoint what, for the card."""
    found = read_json(path, required=False)
    if found is None:
        return None
    known = {"teacher": str, "student": str, "guide": str, "texts": list, "settings": dict}
    values = found if isinstance(found, dict) else {}
    for key, kind in known.items():
        if not isinstance(values.get(key), kind):
            raise CheckpointError(f"{path}: key {key!r} must be a {kind.__name__}.")
    return {key: values[key] for key in known}


def _find(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if isinstance(source, Path) or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise CheckpointError(f"no folder at {source}, and it is not a hub id (owner/name).")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, ignore_patterns=["*.onnx", "*.msgpack", "*.h5"]))
    except Exception as error:  # many kinds: offline, no such repository, gated
        raise CheckpointError(
            f"{source!r} is not a folder here and could not be fetched from the hub: {error}. "
            "Check the name and the connection, or give the path of a folder."
        ) from error


def read_json(path: Path, *, required: bool = True) -> Any:
    """Read a JSON object or list; None when it is missing and not required.

    Raises:
        CheckpointError: It is missing though required, or is not JSON.
    """
    if not path.is_file():
        if required:
            raise CheckpointError(f"{path} is missing.")
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error


def load_backbone(folder: Path, allowed_extra: tuple[str, ...] = ()) -> Any:
    """Load the transformer in float32; every weight that token vectors need must be in the file.

    Args:
        folder: Where config.json and the weights are.
        allowed_extra: Weights that belong to the caller, by name.

    Returns:
        The transformers model, in eval mode.

    Raises:
        CheckpointError: Weights are missing, of another shape, or unknown to the architecture;
            or the architecture needs code from the checkpoint, which is never run.
    """
    config = _config(folder)
    try:
        with quiet():
            model, report = _read_weights(folder, config)
    except Exception as error:  # transformers raises many kinds for broken folders
        raise CheckpointError(f"transformers cannot load {folder}: {error}") from error
    missing = [key for key in report["missing_keys"] if not key.startswith(_UNUSED)]
    if missing or report["mismatched_keys"]:
        wrong = missing or [item[0] for item in report["mismatched_keys"]]
        raise CheckpointError(
            f"the weights in {folder} lack or misshape {len(wrong)} tensors of "
            f"{type(model).__name__}: key {wrong[0]!r} first."
        )
    known_heads = ("cls.", "lm_head", "classifier", "vocab_", "predictions", "head.", "decoder",
                   "pooler", "mlm", "qa_outputs")  # fmt: skip
    strange = [
        key
        for key in report["unexpected_keys"]
        if key not in allowed_extra
        and not key.startswith(known_heads)
        and "position_ids" not in key
    ]
    if strange:
        raise CheckpointError(
            f"the weights in {folder} hold key {strange[0]!r}, which {type(model).__name__} does "
            "not know. If it is a projection, its layout is not one this exporter reads."
        )
    return model.float().eval()


def _read_weights(folder: Path, config: Any) -> tuple[Any, Any]:
    return AutoModel.from_pretrained(  # type: ignore[no-any-return,unused-ignore]
        folder,
        config=config,
        dtype=torch.float32,
        attn_implementation="eager",
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )


def _config(folder: Path) -> Any:
    raw = read_json(folder / "config.json")
    refuse_code(folder / "config.json", raw)
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(
            f"{folder / 'config.json'} names an architecture that this transformers does not "
            f"have, and code from a checkpoint is never run: {error}"
        ) from error
    if getattr(config, "is_encoder_decoder", False):
        raise CheckpointError(
            f"{folder / 'config.json'} is an encoder-decoder; only encoders work."
        )
    if "rope_parameters" in raw:
        _translate_rope(folder / "config.json", raw, config)
    if hasattr(config, "reference_compile"):
        config.reference_compile = False  # ModernBERT compiles itself otherwise
    return config


def refuse_code(config_file: Path, raw: Mapping[str, Any]) -> None:
    """Refuse a backbone that is code of the checkpoint's, even where a class of its type exists.

    transformers would take its own class of that `model_type` without a word: jina-colbert-v2's
    rotary positions would become XLM-RoBERTa's absolute ones.

    Raises:
        CheckpointError: config.json has an `auto_map` for AutoModel.
    """
    auto_map = raw.get("auto_map")
    code = auto_map.get("AutoModel") if isinstance(auto_map, dict) else None
    if code is not None:
        raise CheckpointError(
            f"{config_file}: key 'auto_map' says that the backbone is the code {code!r}, and code "
            "from a checkpoint is never run. Take a model whose architecture is in transformers; "
            "only where you know that transformers' own class computes the same, remove the key "
            "from a copy of the checkpoint."
        )


def _translate_rope(config_file: Path, raw: Mapping[str, Any], config: Any) -> None:
    """Carry over what transformers 5 writes in other keys than transformers 4 reads.

    Without this, transformers 4 would take its defaults and encode wrongly without a word.
    """
    rope, layers = raw["rope_parameters"], raw.get("layer_types") or []
    try:
        kinds = {kind: rope[kind] for kind in ("full_attention", "sliding_attention")}
        every = next(n for n in range(1, len(layers) + 1) if layers == _layer_types(len(layers), n))
        supported = all(item["rope_type"] == "default" for item in kinds.values())
    except (KeyError, TypeError, StopIteration):
        supported = False
    if config.model_type != "modernbert" or not supported:
        raise CheckpointError(
            f"{config_file}: keys 'rope_parameters' and 'layer_types' were written by a newer "
            f"transformers and cannot be carried over for {config.model_type!r}: {rope!r}."
        )
    config.global_rope_theta = kinds["full_attention"]["rope_theta"]
    config.local_rope_theta = kinds["sliding_attention"]["rope_theta"]
    config.global_attn_every_n_layers = every


def _layer_types(layers: int, every: int) -> list[str]:
    return ["sliding_attention" if n % every else "full_attention" for n in range(layers)]


def load_tokenizer(folder: Path, do_lower_case: bool) -> Any:
    """Load the fast tokenizer.

    Args:
        folder: Where its files are.
        do_lower_case: Lower-case texts first, as `sentence_bert_config.json` may ask.

    Returns:
        The transformers tokenizer.

    Raises:
        CheckpointError: It cannot be loaded, or has no fast (tokenizer.json) form.
    """
    settings = read_json(folder / "tokenizer_config.json", required=False) or {}
    # transformers 5 names its one class for all fast tokenizers so; transformers 4 lacks it.
    generic = settings.get("tokenizer_class") == "TokenizersBackend"
    try:
        with quiet():
            tokenizer = (PreTrainedTokenizerFast if generic else AutoTokenizer).from_pretrained(
                folder, use_fast=True, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise CheckpointError(
            f"transformers cannot load the tokenizer of {folder}: {error}"
        ) from error
    if not tokenizer.is_fast:
        raise CheckpointError(f"{folder} has no fast tokenizer (tokenizer.json).")
    if do_lower_case:
        from tokenizers.normalizers import Lowercase, Sequence

        backend = tokenizer.backend_tokenizer
        steps = [Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = Sequence(steps)
    return tokenizer


def load_tensors(folder: Path, needed: tuple[str, ...]) -> tuple[Path, Mapping[str, torch.Tensor]]:
    """Load named tensors from model.safetensors (sharded or not) or pytorch_model.bin.

    Returns:
        The file they came from and those of `needed` that it holds, float32.

    Raises:
        CheckpointError: There is no weights file, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as tensors:
                found = {n: tensors.get_tensor(n).float() for n in needed if n in tensors.keys()}
        except SafetensorError as error:
            raise CheckpointError(f"{path} cannot be read: {error}.") from error
        if found:
            return path, found
    for path in sorted(folder.glob("pytorch_model*.bin")):
        try:  # weights_only: a pickle from outside must not run code
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from error
        found = {name: state[name].float() for name in needed if name in state}
        if found:
            return path, found
    if not [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]:
        raise CheckpointError(f"{folder} has no model.safetensors and no pytorch_model.bin.")
    return folder, {}


def window(checkpoint_config: Any) -> int:
    """Return how many positions a backbone has for tokens."""
    positions = getattr(checkpoint_config, "max_position_embeddings", None) or 512
    if checkpoint_config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        positions -= 2  # their positions start behind the padding index
    return int(positions)


def _license(folder: Path) -> str:
    """Read the licence from the front matter of the checkpoint's README."""
    card = folder / "README.md"
    if card.is_file():
        lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
        if lines and lines[0].strip() == "---":
            for line in lines[1:]:
                if line.strip() == "---":
                    break
                if line.startswith("license:"):
                    return line.partition(":")[2].strip() or "unknown"
    return "unknown"
