"""PyLate and sentence-transformers folders: modules.json with the projections as modules.

What each key means follows sentence-transformers 6's `MultiVectorEncoder`, which reads the same
checkpoints, down to the values it takes when a key is absent.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from pocket_colbert_export.checkpoints.raw import JsonFile, Module, RawCheckpoint
from pocket_colbert_export.checkpoints.settings import (
    CheckpointSettings,
    HeadSettings,
    QueryExpansion,
)
from pocket_colbert_export.errors import CheckpointError

_PYLATE_KEYS = (
    "query_length", "document_length", "query_expansion", "do_query_expansion",
    "attend_to_expansion_tokens", "attend_to_mask_tokens", "query_prefix", "document_prefix",
    "skiplist_words",
)  # fmt: skip
_DENSE_KEYS = {
    "in_features", "out_features", "bias", "activation_function", "use_residual",
    "module_input_name", "module_output_name",
}  # fmt: skip
_TORCH_MODULES = "torch.nn.modules."


def read_sentence_transformers(raw: RawCheckpoint) -> CheckpointSettings | None:
    """Read the settings of a multi-vector model made of modules.

    Returns:
        The settings, None for a checkpoint that is no such model.

    Raises:
        CheckpointError: A module or key is missing, or in an order or of a value that has no
            meaning.
    """
    if raw.modules is None or raw.is_stanford:
        return None
    modules, settings = raw.modules, raw.settings.values
    kinds = [module.kind for module in modules]
    pylate = not settings.keys().isdisjoint(_PYLATE_KEYS)
    multi_vector = settings.get("model_type") in ("ColBERT", "MultiVectorEncoder")
    if "Pooling" in kinds or not (
        pylate or multi_vector or "MultiVectorMask" in kinds or "Dense" in kinds
    ):
        return None
    check_transformer(raw, kinds)
    _check_order(raw, kinds, normalized=pylate or settings.get("model_type") == "ColBERT")
    _check_normalize(modules)
    mask = _settings_of(modules, "MultiVectorMask")
    pooling = _pooling(modules)
    markers = {task: settings.get(f"{task}_prefix") or "" for task in ("query", "document")}
    prompts = settings.get("prompts") or {}
    return CheckpointSettings(
        layout="pylate" if pylate else "sentence-transformers",
        described_in=raw.settings.path,
        heads=tuple(_head(module) for module in modules if module.kind == "Dense"),
        # PyLate may repeat the marker in the prompt.
        prefixes={
            task: marker + (prompts.get(task) or "").removeprefix(marker)
            for task, marker in markers.items()
        },
        markers=tuple(marker for marker in markers.values() if marker) if pylate else (),
        lower_case=bool(raw.transformer_settings.values.get("do_lower_case")),
        expansion=_expansion(raw, pylate),
        query_length=_length(raw, "query_length"),
        document_length=_length(raw, "document_length"),
        skiplist_words=_skiplist(raw, mask, default=pylate and "MultiVectorMask" not in kinds),
        skiplist_tasks=tuple(mask.get("skiplist_tasks") or ["document"]),
        keep_only_token_ids=tuple(mask.get("keep_only_token_ids") or []),
        pool_factor=float(pooling.get("pool_factor", 1.0)),
        num_protected_tokens=int(pooling.get("num_protected_tokens", 1)),
        matryoshka_dims=_matryoshka_dims(raw.settings),
    )


def check_transformer(raw: RawCheckpoint, kinds: Sequence[str]) -> None:
    """Raise CheckpointError unless modules start with their one Transformer."""
    if not kinds or kinds[0] != "Transformer" or kinds.count("Transformer") != 1:
        raise CheckpointError(
            f"{raw.modules_file} must start with its one Transformer, got {list(kinds)}."
        )


def _check_order(raw: RawCheckpoint, kinds: Sequence[str], normalized: bool) -> None:
    """Only one order has a meaning here: Dense layers, mask, normalisation, pooling.

    Args:
        raw: The checkpoint, for messages.
        kinds: Kinds of its modules.
        normalized: Whether vectors are normalised without a module that says so.
    """
    rank = {"Dense": 1, "MultiVectorMask": 2, "Normalize": 3, "HierarchicalTokenPooling": 4}
    # The mask only marks tokens, so where it stands among the others does not matter.
    order = [rank[kind] for kind in kinds[1:] if kind != "MultiVectorMask"]
    if order and order[-1] == 3 and 4 in order and 3 in order[: order.index(4)]:
        order.pop()  # normalised once more after pooling, which pooling does itself
    if order != sorted(order) or order.count(3) > 1 or order.count(4) > 1:
        raise CheckpointError(
            f"{raw.modules_file}: modules in the order {list(kinds)} are not understood."
        )
    if "Normalize" not in kinds and not normalized:
        raise CheckpointError(
            f"{raw.modules_file}: there is no Normalize module; only models whose token vectors "
            "are normalised can be exported."
        )


def _check_normalize(modules: Sequence[Module]) -> None:
    for module in modules:
        name = module.config.values.get("module_input_name", "token_embeddings")
        if module.kind == "Normalize" and name != "token_embeddings":
            raise CheckpointError(
                f"{module.config.path}: key 'module_input_name' must be 'token_embeddings', "
                f"got {name!r}."
            )


def _head(module: Module) -> HeadSettings:
    """Read the config.json of a Dense module."""
    config, values = module.config, module.config.values
    for key in ("in_features", "out_features"):
        if not isinstance(values.get(key), int):
            raise CheckpointError(f"{config.path}: key {key!r} must be a whole number.")
    if set(values) - _DENSE_KEYS:
        raise CheckpointError(f"{config.path}: unknown keys {sorted(set(values) - _DENSE_KEYS)}.")
    for key in ("module_input_name", "module_output_name"):
        if values.get(key, "token_embeddings") not in ("token_embeddings", None):
            raise CheckpointError(
                f"{config.path}: key {key!r} must be 'token_embeddings', got {values[key]!r}."
            )
    activation = str(values.get("activation_function", f"{_TORCH_MODULES}activation.Tanh"))
    if not activation.startswith(_TORCH_MODULES):
        raise CheckpointError(
            f"{config.path}: key 'activation_function' must be a torch.nn module, "
            f"got {activation!r}; code from a checkpoint is never run."
        )
    return HeadSettings(
        folder=module.folder,
        described_in=config.path,
        inputs=("in_features", values["in_features"]),
        outputs=("out_features", values["out_features"]),
        bias=bool(values.get("bias", True)),
        activation=activation.rpartition(".")[2],
        residual=bool(values.get("use_residual", False)),
    )


def _settings_of(modules: Sequence[Module], kind: str) -> Mapping[str, Any]:
    """Return the settings of the last module of a kind, none where there is no such module."""
    return next((module.config.values for module in modules[::-1] if module.kind == kind), {})


def _pooling(modules: Sequence[Module]) -> Mapping[str, Any]:
    """Return the settings of the pooling module, which must be one that the runtime has."""
    for module in modules:
        if module.kind == "HierarchicalTokenPooling":
            values = module.config.values
            # Without the key, saves predate normalisation after pooling.
            normalized = values.get("normalize_embeddings", False)
            normalized = normalized or modules[-1].kind == "Normalize"
            if values.get("tasks", ["document"]) != ["document"] or not normalized:
                raise CheckpointError(
                    f"{module.config.path}: only pooling of documents with "
                    f"normalize_embeddings is supported, got {dict(values)}."
                )
    return _settings_of(modules, "HierarchicalTokenPooling")


def _expansion(raw: RawCheckpoint, pylate: bool) -> QueryExpansion | None:
    settings = raw.settings.values
    for file in (raw.settings, raw.transformer_settings):
        if "query_expansion" in file.values:
            expansion = file.values["query_expansion"]
            return None if expansion is None else _explicit_expansion(file, expansion)
    if not pylate or settings.get("do_query_expansion") is False:
        return None
    attend = settings.get("attend_to_expansion_tokens", settings.get("attend_to_mask_tokens"))
    length = settings.get("query_length") or 32
    return QueryExpansion(strategy="fixed", attend=bool(attend), length=length)


def _explicit_expansion(file: JsonFile, expansion: Mapping[str, Any]) -> QueryExpansion:
    unknown = set(expansion) - {"strategy", "attend", "length", "token"}
    if unknown or expansion.get("strategy") not in ("fixed", "min"):
        raise CheckpointError(
            f"{file.path}: key 'query_expansion' is not understood: {dict(expansion)!r}."
        )
    if not isinstance(expansion.get("length"), int):
        raise CheckpointError(f"{file.path}: key 'query_expansion' lacks 'length'.")
    return QueryExpansion(
        strategy=expansion["strategy"],
        length=expansion["length"],
        attend=bool(expansion.get("attend", False)),
        token=expansion.get("token"),
    )


def _length(raw: RawCheckpoint, key: str) -> int | None:
    settings, transformer = raw.settings.values, raw.transformer_settings.values
    return settings.get(key) or transformer.get(key) or transformer.get("max_seq_length") or None


def _skiplist(raw: RawCheckpoint, mask: Mapping[str, Any], default: bool) -> tuple[str, ...]:
    """Return the words of the skiplist; punctuation by default, where there is a default."""
    for words in (mask.get("skiplist_words"), raw.settings.values.get("skiplist_words")):
        if words is not None:
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise CheckpointError(
                    f"{raw.settings.path}: key 'skiplist_words' must be a list of texts."
                )
            return tuple(words)
    return tuple(string.punctuation) if default else ()


def _matryoshka_dims(file: JsonFile) -> tuple[int, ...]:
    widths = file.values.get("matryoshka_dims") or []
    if not isinstance(widths, list) or not all(isinstance(width, int) for width in widths):
        raise CheckpointError(
            f"{file.path}: key 'matryoshka_dims' must be a list of widths, got {widths!r}."
        )
    return tuple(widths)
