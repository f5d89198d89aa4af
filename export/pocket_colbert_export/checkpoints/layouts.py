"""The three layouts of ColBERT checkpoints, and the dense encoder that is none yet.

What each key means follows sentence-transformers 6's `MultiVectorEncoder`, which reads the same
checkpoints, down to the values it takes when a key is absent.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from pocket_colbert_export.checkpoints.checkpoint import (
    Checkpoint,
    Head,
    load_backbone,
    load_tensors,
    load_tokenizer,
    read_json,
    refuse_code,
    window,
)
from pocket_colbert_export.errors import CheckpointError

DENSE_DOCUMENT_LENGTH = 300
"""Window of a dense encoder made a late-interaction one, where it has that many positions."""
DENSE_QUERY_LENGTH = 64

_PYLATE_KEYS = (
    "query_length", "document_length", "query_expansion", "do_query_expansion",
    "attend_to_expansion_tokens", "attend_to_mask_tokens", "query_prefix", "document_prefix",
    "skiplist_words",
)  # fmt: skip
_TRANSFORMER_SETTINGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_xlm-roberta_config.json",
)
_STANFORD_DEFAULTS = {
    "query_token_id": "[unused0]",
    "doc_token_id": "[unused1]",
    "query_maxlen": 32,
    "doc_maxlen": 220,
    "attend_to_mask_tokens": False,
    "mask_punctuation": True,
    "similarity": "cosine",
}
"""What `ColBERTConfig` (stanford-futuredata/ColBERT, infra/config/settings.py) defaults to."""


def read_sentence_transformers(folder: Path) -> Checkpoint:
    """Read a PyLate or sentence-transformers folder, multi-vector or dense.

    Raises:
        CheckpointError: A module or key is unknown, missing or in an order that has no meaning.
    """
    modules_file = folder / "modules.json"
    modules = read_json(modules_file)
    kinds = [_module_kind(modules_file, item) for item in modules]
    settings_file = folder / "config_sentence_transformers.json"
    settings = read_json(settings_file, required=False) or {}
    if not kinds or kinds[0] != "Transformer" or kinds.count("Transformer") != 1:
        raise CheckpointError(f"{modules_file} must start with its one Transformer, got {kinds}.")
    transformer_folder = folder / modules[0].get("path", "")
    transformer = _transformer_settings(transformer_folder)
    tokenizer = load_tokenizer(transformer_folder, bool(transformer.get("do_lower_case")))
    backbone = load_backbone(transformer_folder)
    if "Pooling" in kinds:
        return _dense(folder, backbone, tokenizer, "sentence-transformers", transformer)
    pylate = any(key in settings for key in _PYLATE_KEYS)
    multi_vector = settings.get("model_type") in ("ColBERT", "MultiVectorEncoder")
    if not (pylate or multi_vector or "MultiVectorMask" in kinds or "Dense" in kinds):
        return _dense(folder, backbone, tokenizer, "sentence-transformers", transformer)
    _check_order(modules_file, kinds, pylate or settings.get("model_type") == "ColBERT")
    heads, mask, pooling = _read_modules(folder, modules, kinds)
    checkpoint = Checkpoint(
        folder, "pylate" if pylate else "sentence-transformers", backbone, tokenizer, heads, {}
    )
    markers = {task: settings.get(f"{task}_prefix") for task in ("query", "document")}
    prompts = settings.get("prompts") or {}
    texts = {
        task: (markers[task] or "") + (prompts.get(task) or "").removeprefix(markers[task] or "")
        for task in ("query", "document")
    }
    if pylate:
        _register_markers(tokenizer, [marker for marker in markers.values() if marker])
    expansion = _expansion(settings_file, settings, transformer, pylate)
    skiplist = mask.get("skiplist_words")
    if skiplist is None:
        skiplist = settings.get("skiplist_words")
    if skiplist is None:
        skiplist = list(string.punctuation) if pylate and "MultiVectorMask" not in kinds else []
    document_length = (
        settings.get("document_length")
        or transformer.get("document_length")
        or transformer.get("max_seq_length")
        or min(tokenizer.model_max_length, window(backbone.config))
    )
    query_length = (
        settings.get("query_length")
        or transformer.get("query_length")
        or transformer.get("max_seq_length")
        or min(tokenizer.model_max_length, window(backbone.config))
    )
    _fill(
        checkpoint,
        texts=texts,
        expansion=expansion,
        query_length=query_length,
        document_length=document_length,
        skiplist=skiplist,
        skiplist_tasks=mask.get("skiplist_tasks") or ["document"],
        keep_only_token_ids=mask.get("keep_only_token_ids") or [],
        pooling=pooling,
        where=settings_file,
    )
    widths = settings.get("matryoshka_dims") or []
    if not isinstance(widths, list) or not all(isinstance(width, int) for width in widths):
        raise CheckpointError(
            f"{settings_file}: key 'matryoshka_dims' must be a list of widths, got {widths!r}."
        )
    checkpoint.recipe["matryoshka_dims"] = tuple(widths)
    return checkpoint


def read_stanford(folder: Path) -> Checkpoint:
    """Read a Stanford ColBERT folder: head among the weights, settings in artifact.metadata.

    Raises:
        CheckpointError: The metadata or the head is missing, or says what is not supported.
    """
    # Before anything else is found missing: the reason that matters most.
    refuse_code(folder / "config.json", read_json(folder / "config.json"))
    metadata_file = folder / "artifact.metadata"
    metadata = {key: value for key, value in read_json(metadata_file).items() if value is not None}
    settings = _STANFORD_DEFAULTS | metadata
    if settings["similarity"] != "cosine":
        raise CheckpointError(
            f"{metadata_file}: key 'similarity' must be 'cosine', got {settings['similarity']!r}."
        )
    weights_file, tensors = load_tensors(folder, ("linear.weight",))
    if "linear.weight" not in tensors:
        raise CheckpointError(f"the weights in {weights_file} have no key 'linear.weight'.")
    head = Head(tensors["linear.weight"])
    if "dim" in metadata and head.weight.shape[0] != metadata["dim"]:
        raise CheckpointError(
            f"{metadata_file}: key 'dim' is {metadata['dim']}, but 'linear.weight' in "
            f"{weights_file} has {head.weight.shape[0]} rows."
        )
    tokenizer = load_tokenizer(folder, False)
    backbone = load_backbone(folder, allowed_extra=("linear.weight",))
    checkpoint = Checkpoint(folder, "stanford", backbone, tokenizer, [head], {})
    markers = {"query": settings["query_token_id"], "document": settings["doc_token_id"]}
    _register_markers(tokenizer, list(markers.values()))
    for key, marker in zip(("query_token_id", "doc_token_id"), markers.values(), strict=True):
        if tokenizer.convert_tokens_to_ids(marker) in (None, tokenizer.unk_token_id):
            raise CheckpointError(
                f"{metadata_file}: key {key!r} is {marker!r}, which the tokenizer does not know."
            )
    _fill(
        checkpoint,
        texts={task: marker + " " for task, marker in markers.items()},
        expansion={
            "strategy": "fixed",
            "attend": bool(settings["attend_to_mask_tokens"]),
            "length": settings["query_maxlen"],
            "token": None,
        },
        query_length=settings["query_maxlen"],
        document_length=settings["doc_maxlen"],
        skiplist=list(string.punctuation) if settings["mask_punctuation"] else [],
        skiplist_tasks=["document"],
        keep_only_token_ids=[],
        pooling={},
        where=metadata_file,
    )
    return checkpoint


def read_plain(folder: Path) -> Checkpoint:
    """Read a transformer without any head, to be given a fitted projection.

    Raises:
        CheckpointError: It cannot be read, or holds weights that no plain encoder has.
    """
    tokenizer = load_tokenizer(folder, False)
    return _dense(folder, load_backbone(folder), tokenizer, "dense", {})


def _dense(
    folder: Path, backbone: Any, tokenizer: Any, layout: str, transformer: Mapping[str, Any]
) -> Checkpoint:
    checkpoint = Checkpoint(folder, "dense", backbone, tokenizer, [], {})
    longest = window(backbone.config)
    settings = read_json(folder / "config_sentence_transformers.json", required=False) or {}
    prompts = settings.get("prompts") or {}
    _fill(
        checkpoint,
        texts={task: prompts.get(task) or "" for task in ("query", "document")},
        expansion=None,
        query_length=min(DENSE_QUERY_LENGTH, longest),
        document_length=min(DENSE_DOCUMENT_LENGTH, longest),
        skiplist=list(string.punctuation),
        skiplist_tasks=["document"],
        keep_only_token_ids=[],
        pooling={},
        where=folder / "config.json",
    )
    checkpoint.notes.append(
        f"The source is a dense encoder ({layout}): its pooling is left out, its token vectors "
        "are scored by MaxSim."
    )
    return checkpoint


def _module_kind(modules_file: Path, item: Mapping[str, Any]) -> str:
    known = ("Transformer", "Dense", "MultiVectorMask", "HierarchicalTokenPooling", "Normalize",
             "Pooling")  # fmt: skip
    module_type = str(item.get("type", ""))
    kind = module_type.rpartition(".")[2]
    if kind not in known or not module_type.startswith(("sentence_transformers.", "pylate.")):
        raise CheckpointError(
            f"{modules_file}: key 'type' is {module_type!r}; known are {', '.join(known)} of "
            "sentence_transformers and pylate."
        )
    return kind


def _check_order(modules_file: Path, kinds: list[str], implied: bool) -> None:
    """Only one order has a meaning here: Dense layers, mask, normalisation, pooling."""
    rank = {"Dense": 1, "MultiVectorMask": 2, "Normalize": 3, "HierarchicalTokenPooling": 4}
    # The mask only marks tokens, so its place among the others does not matter.
    order = [rank[kind] for kind in kinds[1:] if kind != "MultiVectorMask"]
    if order and order[-1] == 3 and 4 in order and 3 in order[: order.index(4)]:
        order.pop()  # normalised once more after pooling, which pooling does itself
    if order != sorted(order) or order.count(3) > 1 or order.count(4) > 1:
        raise CheckpointError(f"{modules_file}: modules in the order {kinds} are not understood.")
    if "Normalize" not in kinds and not implied:
        raise CheckpointError(
            f"{modules_file}: there is no Normalize module; only models whose token vectors are "
            "normalised can be exported."
        )


def _read_modules(
    folder: Path, modules: list[Mapping[str, Any]], kinds: list[str]
) -> tuple[list[Head], Mapping[str, Any], Mapping[str, Any]]:
    heads: list[Head] = []
    mask: Mapping[str, Any] = {}
    pooling: Mapping[str, Any] = {}
    for item, kind in zip(modules, kinds, strict=True):
        place = folder / item.get("path", "")
        if kind == "Dense":
            heads.append(_dense_head(place))
        elif kind == "MultiVectorMask":
            mask = read_json(place / "config.json")
        elif kind == "HierarchicalTokenPooling":
            pooling = read_json(place / "config.json")
            tasks = pooling.get("tasks", ["document"])
            # Without the key, saves predate normalisation after pooling.
            normalized = pooling.get("normalize_embeddings", False) or kinds[-1] == "Normalize"
            if tasks != ["document"] or not normalized:
                raise CheckpointError(
                    f"{place / 'config.json'}: only pooling of documents with "
                    f"normalize_embeddings is supported, got {dict(pooling)}."
                )
        elif kind == "Normalize":
            settings = read_json(place / "config.json", required=False) or {}
            if settings.get("module_input_name", "token_embeddings") != "token_embeddings":
                raise CheckpointError(
                    f"{place / 'config.json'}: key 'module_input_name' must be "
                    f"'token_embeddings', got {settings['module_input_name']!r}."
                )
    width = None
    for head in heads:
        if width is not None and head.weight.shape[1] != width:
            raise CheckpointError(
                f"{folder / 'modules.json'}: a Dense of {head.weight.shape[1]} inputs follows one "
                f"of {width} outputs."
            )
        width = head.weight.shape[0]
    return heads, mask, pooling


def _dense_head(place: Path) -> Head:
    settings_file = place / "config.json"
    settings = read_json(settings_file)
    known = {"in_features", "out_features", "bias", "activation_function", "use_residual",
             "module_input_name", "module_output_name"}  # fmt: skip
    for key in ("in_features", "out_features"):
        if not isinstance(settings.get(key), int):
            raise CheckpointError(f"{settings_file}: key {key!r} must be a whole number.")
    if set(settings) - known:
        raise CheckpointError(f"{settings_file}: unknown keys {sorted(set(settings) - known)}.")
    for key in ("module_input_name", "module_output_name"):
        if settings.get(key, "token_embeddings") not in ("token_embeddings", None):
            raise CheckpointError(
                f"{settings_file}: key {key!r} must be 'token_embeddings', got {settings[key]!r}."
            )
    residual = bool(settings.get("use_residual", False))
    names = ("linear.weight", "linear.bias", "residual.weight")
    weights_file, tensors = load_tensors(place, names)
    shape = (settings["out_features"], settings["in_features"])
    wanted = ["linear.weight"] + ["linear.bias"] * bool(settings.get("bias", True))
    if residual and shape[0] != shape[1]:
        wanted.append("residual.weight")
    if set(tensors) != set(wanted):
        raise CheckpointError(
            f"{weights_file} must hold {wanted} as {settings_file} says, got {sorted(tensors)}."
        )
    if tuple(tensors["linear.weight"].shape) != shape:
        raise CheckpointError(
            f"{weights_file}: key 'linear.weight' has shape "
            f"{tuple(tensors['linear.weight'].shape)}, {settings_file} says {shape}."
        )
    activation = str(settings.get("activation_function", "torch.nn.modules.activation.Tanh"))
    if not activation.startswith("torch.nn.modules."):
        raise CheckpointError(
            f"{settings_file}: key 'activation_function' must be a torch.nn module, "
            f"got {activation!r}; code from a checkpoint is never run."
        )
    return Head(
        tensors["linear.weight"],
        tensors.get("linear.bias"),
        activation.rpartition(".")[2],
        residual,
        tensors.get("residual.weight"),
    )


def _transformer_settings(place: Path) -> Mapping[str, Any]:
    for name in _TRANSFORMER_SETTINGS:
        settings = read_json(place / name, required=False)
        if settings is not None:
            task = settings.get("transformer_task", "feature-extraction")
            if task != "feature-extraction":
                raise CheckpointError(
                    f"{place / name}: key 'transformer_task' must be 'feature-extraction', "
                    f"got {task!r}."
                )
            return dict(settings)
    return {}


def _expansion(
    settings_file: Path, settings: Mapping[str, Any], transformer: Mapping[str, Any], pylate: bool
) -> Mapping[str, Any] | None:
    """Return query expansion in sentence-transformers' words, None when there is none."""
    for place in (settings, transformer):
        if "query_expansion" in place:
            expansion = place["query_expansion"]
            if expansion is None:
                return None
            unknown = set(expansion) - {"strategy", "attend", "length", "token"}
            if unknown or expansion.get("strategy") not in ("fixed", "min"):
                raise CheckpointError(
                    f"{settings_file}: key 'query_expansion' is not understood: {expansion!r}."
                )
            if not isinstance(expansion.get("length"), int):
                raise CheckpointError(f"{settings_file}: key 'query_expansion' lacks 'length'.")
            return {"attend": False, "token": None} | dict(expansion)
    if not pylate or settings.get("do_query_expansion") is False:
        return None
    attend = settings.get("attend_to_expansion_tokens", settings.get("attend_to_mask_tokens"))
    length = settings.get("query_length") or 32
    return {"strategy": "fixed", "attend": bool(attend), "length": length, "token": None}


def _register_markers(tokenizer: Any, markers: list[str]) -> None:
    """Make markers that the vocabulary knows come out of the tokenizer as one token.

    PyLate and Stanford ColBERT put the id of the marker in; as text, "[unused0]" would fall into
    pieces. Registered, it is one token both ways, so tools that put it in as text agree too.
    """
    vocabulary = tokenizer.get_vocab()
    wanted = []
    for marker in markers:
        known = next((m for m in (marker, marker.strip()) if m in vocabulary), None)
        if known is not None and tokenizer.tokenize(known) != [known]:
            wanted.append(AddedToken(known, normalized=False, special=True))
    if wanted:
        tokenizer.add_special_tokens(
            {"additional_special_tokens": wanted}, replace_additional_special_tokens=False
        )


def _fill(
    checkpoint: Checkpoint,
    *,
    texts: Mapping[str, str],
    expansion: Mapping[str, Any] | None,
    query_length: int,
    document_length: int,
    skiplist: list[str],
    skiplist_tasks: list[str],
    keep_only_token_ids: list[int],
    pooling: Mapping[str, Any],
    where: Path,
) -> None:
    """Turn what was read into the fields of ModelConfig, checking it against the backbone."""
    tokenizer, longest = checkpoint.tokenizer, window(checkpoint.backbone.config)
    if expansion is not None:
        floor = int(expansion["length"])
        ceiling = max(query_length, floor) if expansion["strategy"] == "min" else floor
    else:
        floor = ceiling = query_length
    for key, value in (("query_length", ceiling), ("document_length", document_length)):
        if not isinstance(value, int) or not 1 <= value <= longest:
            raise CheckpointError(
                f"{where}: key {key!r} is {value!r}; the backbone has {longest} positions."
            )
    token_id = None
    if expansion is not None:
        token = expansion["token"] or tokenizer.mask_token or tokenizer.eos_token
        token_id = None if token is None else tokenizer.convert_tokens_to_ids(token)
        if token_id is None or (
            token_id == tokenizer.unk_token_id and token != tokenizer.unk_token
        ):
            raise CheckpointError(f"{where}: query expansion token {token!r} is not known.")
    if not all(isinstance(word, str) for word in skiplist):
        raise CheckpointError(f"{where}: key 'skiplist_words' must be a list of texts.")
    ids = {word: tokenizer.convert_tokens_to_ids(word) for word in skiplist}
    unknown = [
        word
        for word, token in ids.items()
        if token is None or (token == tokenizer.unk_token_id and word != tokenizer.unk_token)
    ]
    if unknown:
        checkpoint.notes.append(
            f"Skiplist words that are no tokens of this tokenizer were left out: {unknown}."
        )
    mask_id = token_id if token_id is not None else tokenizer.mask_token_id
    checkpoint.recipe = {
        "query_length": floor,
        "document_length": document_length,
        "do_query_expansion": expansion is not None,
        "query_expansion_strategy": "fixed" if expansion is None else expansion["strategy"],
        "query_max_length": ceiling if ceiling > floor else None,
        "attend_to_expansion_tokens": bool(expansion and expansion["attend"]),
        "mask_token_id": mask_id,
        "skiplist_words": tuple(word for word in skiplist if word not in unknown),
        "skiplist_ids": tuple(ids[word] for word in skiplist if word not in unknown),
        "skiplist_tasks": tuple(skiplist_tasks),
        "keep_only_token_ids": tuple(keep_only_token_ids),
        "pool_factor": float(pooling.get("pool_factor", 1.0)),
        "num_protected_tokens": int(pooling.get("num_protected_tokens", 1)),
    }
    for task, text in texts.items():
        checkpoint.recipe[f"{task}_prefix"] = text
        checkpoint.recipe[f"{task}_prefix_id"] = _marker_id(tokenizer, text)


_PROBES = ("", "a", " leading space", "Ünïcode 東京 text", "UPPER case", "[CLS] nested", "1 2 3.")


def _marker_id(tokenizer: Any, text: str) -> int | None:
    """Return the token id to put in for a prefix, None when it must be tokenised with the text.

    An id may stand for the prefix when putting it second gives the tokens that putting the
    prefix before the text gives; that is tried, not assumed.
    """
    if not text:
        return None
    pieces = tokenizer.encode(text, add_special_tokens=False)
    if len(pieces) != 1 or pieces[0] == tokenizer.unk_token_id:
        return None
    for probe in _PROBES:
        plain = tokenizer.encode(probe)
        if tokenizer.encode(text + probe) != [*plain[:1], pieces[0], *plain[1:]]:
            return None
    return int(pieces[0])
