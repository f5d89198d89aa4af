"""What a checkpoint folder says about itself: each JSON file is read once, and checked.

Nothing here knows what a layout makes of the values: see `loading.LAYOUTS` for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from pocket_colbert.checks import are_languages
from pocket_colbert_export.errors import CheckpointError

DISTILLATION_FILE = "distillation.json"
"""What `distill` and `shrink` write beside the weights."""

_MODULE_KINDS = (
    "Transformer", "Dense", "MultiVectorMask", "HierarchicalTokenPooling", "Normalize", "Pooling",
)  # fmt: skip
_CONFIGURED_KINDS = ("Dense", "MultiVectorMask", "HierarchicalTokenPooling")
"""Modules that mean nothing without their config.json."""

_TRANSFORMER_SETTINGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_xlm-roberta_config.json",
)
_TYPES: Mapping[str, tuple[type, str]] = {
    "architectures": (list, "a list"),
    "doc_maxlen": (int, "a whole number"),
    "doc_token_id": (str, "a text"),
    "document_length": (int, "a whole number"),
    "document_prefix": (str, "a text"),
    "keep_only_token_ids": (list, "a list"),
    "max_seq_length": (int, "a whole number"),
    "prompts": (dict, "a JSON object"),
    "query_expansion": (dict, "a JSON object"),
    "query_length": (int, "a whole number"),
    "query_maxlen": (int, "a whole number"),
    "query_prefix": (str, "a text"),
    "query_token_id": (str, "a text"),
    "skiplist_tasks": (list, "a list"),
}
"""What keys hold that mean the same in every file; null stands for an absent key."""

_DISTILLATION_TYPES: Mapping[str, type] = {
    "student": str,
    "teachers": list,
    "texts": list,
    "settings": dict,
}


@dataclass(frozen=True)
class JsonFile:
    """A JSON object of a checkpoint.

    Attributes:
        path: The file, for messages.
        values: What it holds; empty where the file is missing.
        exists: Whether it is there.
    """

    path: Path
    values: Mapping[str, Any]
    exists: bool


@dataclass(frozen=True)
class Module:
    """One entry of modules.json.

    Attributes:
        kind: The last part of its type, "Dense" for example.
        folder: Where its own files are.
        config: Its config.json.
    """

    kind: str
    folder: Path
    config: JsonFile


@dataclass(frozen=True, kw_only=True)
class RawCheckpoint:
    """All JSON of a checkpoint folder.

    Attributes:
        folder: The checkpoint folder.
        name: Where it comes from, for people.
        license: SPDX expression from the front matter of its README, or "unknown".
        languages: Codes of the languages from there, () when it names none.
        config: config.json at the root.
        modules_file: Path of modules.json.
        modules: Its entries, None where there is no such file.
        settings: config_sentence_transformers.json.
        metadata: artifact.metadata of Stanford ColBERT.
        is_stanford: config.json names Stanford's class, and modules.json, if any, knows of no
            head: mxbai-colbert-large-v1 got one with a Transformer alone, after the fact.
        transformer_folder: Where config, weights and tokenizer of the backbone are.
        transformer_config: The backbone's config.json.
        transformer_settings: sentence_bert_config.json or another of its names.
        tokenizer_config: tokenizer_config.json.
        distilled: Who taught a student of `distill` or `shrink` what, None for other checkpoints.
    """

    folder: Path
    name: str
    license: str
    languages: tuple[str, ...]
    config: JsonFile
    modules_file: Path
    modules: tuple[Module, ...] | None
    settings: JsonFile
    metadata: JsonFile
    is_stanford: bool
    transformer_folder: Path
    transformer_config: JsonFile
    transformer_settings: JsonFile
    tokenizer_config: JsonFile
    distilled: Mapping[str, Any] | None


def read_raw(source: str | Path) -> RawCheckpoint:
    """Read all JSON of a checkpoint.

    Args:
        source: A folder, or a hub id `owner/name`.

    Raises:
        CheckpointError: There is no such folder or repository; a file is not JSON, or a key
            holds what it cannot; or the backbone is code.
    """
    folder = _find_folder(source)
    config = _read_object(folder / "config.json")
    modules_file = folder / "modules.json"
    modules = _read_modules(modules_file)
    if modules is None and not config.exists:
        raise CheckpointError(
            f"{folder} has neither modules.json nor config.json, so it is not a checkpoint."
        )
    is_stanford = "HF_ColBERT" in (config.values.get("architectures") or [])
    is_stanford = is_stanford and (modules is None or len(modules) == 1)
    transformer = modules[0].folder if modules and not is_stanford else folder
    transformer_config = config if transformer == folder else _read_object(
        transformer / "config.json")  # fmt: skip
    if not transformer_config.exists:
        raise CheckpointError(f"{transformer_config.path} is missing.")
    _refuse_code(transformer_config)
    return RawCheckpoint(
        folder=folder,
        name=folder.resolve().name if Path(source).is_dir() else str(source),
        license=_read_license(folder / "README.md"),
        languages=_read_languages(folder / "README.md"),
        config=config,
        modules_file=modules_file,
        modules=modules,
        settings=_read_object(folder / "config_sentence_transformers.json"),
        metadata=_read_object(folder / "artifact.metadata"),
        is_stanford=is_stanford,
        transformer_folder=transformer,
        transformer_config=transformer_config,
        transformer_settings=_read_transformer_settings(transformer),
        tokenizer_config=_read_object(transformer / "tokenizer_config.json"),
        distilled=_read_distilled(folder / DISTILLATION_FILE),
    )


def _find_folder(source: str | Path) -> Path:
    if Path(source).is_dir():
        return Path(source)
    if isinstance(source, Path) or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise CheckpointError(f"no folder at {source}, and it is not a hub id (owner/name).")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, ignore_patterns=["*.onnx", "*.msgpack", "*.h5"]))
    except (OSError, ValueError) as error:  # offline, no such repository, gated, not a valid id
        raise CheckpointError(
            f"{source!r} is not a folder here and could not be fetched from the hub: {error}. "
            "Check the name and the connection, or give the path of a folder."
        ) from error


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not JSON: {error}.") from error


def _read_object(path: Path) -> JsonFile:
    """Read a JSON object and check the keys whose type is known; empty where it is missing."""
    if not path.is_file():
        return JsonFile(path, {}, exists=False)
    values = _read_json(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, got {type(values).__name__}.")
    for key, (kind, words) in _TYPES.items():
        value = values.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise CheckpointError(f"{path}: key {key!r} must be {words}, got {value!r}.")
    return JsonFile(path, values, exists=True)


def _read_modules(path: Path) -> tuple[Module, ...] | None:
    """Read modules.json and the config.json of every module in it."""
    if not path.is_file():
        return None
    entries = _read_json(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise CheckpointError(f"{path} must hold a list of JSON objects, got {entries!r:.60}.")
    modules = []
    for entry in entries:
        module_type = str(entry.get("type", ""))
        kind = module_type.rpartition(".")[2]
        if kind not in _MODULE_KINDS or not module_type.startswith(
            ("sentence_transformers.", "pylate.")
        ):
            raise CheckpointError(
                f"{path}: key 'type' is {module_type!r}; known are {', '.join(_MODULE_KINDS)} of "
                "sentence_transformers and pylate."
            )
        relative = PurePosixPath(str(entry.get("path") or ""))
        if relative.is_absolute() or ".." in relative.parts:
            raise CheckpointError(f"{path}: key 'path' is '{relative}', outside the checkpoint.")
        folder = path.parent / relative
        # A Transformer's config.json is the backbone's, which is read as such.
        config = (
            JsonFile(folder / "config.json", {}, exists=False)
            if kind == "Transformer"
            else _read_object(folder / "config.json")
        )
        if kind in _CONFIGURED_KINDS and not config.exists:
            raise CheckpointError(f"{config.path} is missing.")
        modules.append(Module(kind, folder, config))
    return tuple(modules)


def _refuse_code(config: JsonFile) -> None:
    """Refuse a backbone that is code of the checkpoint's, even where a class of its type exists.

    transformers would take its own class of that `model_type` without a word: jina-colbert-v2's
    rotary positions would become XLM-RoBERTa's absolute ones.
    """
    auto_map = config.values.get("auto_map")
    code = auto_map.get("AutoModel") if isinstance(auto_map, dict) else None
    if code is not None:
        raise CheckpointError(
            f"{config.path}: key 'auto_map' says that the backbone is the code {code!r}, and code "
            "from a checkpoint is never run. Take a model whose architecture is in transformers; "
            "only where you know that transformers' own class computes the same, remove the key "
            "from a copy of the checkpoint."
        )


def _read_transformer_settings(folder: Path) -> JsonFile:
    files = (_read_object(folder / name) for name in _TRANSFORMER_SETTINGS)
    settings = next((file for file in files if file.exists), None)
    if settings is None:
        return JsonFile(folder / _TRANSFORMER_SETTINGS[0], {}, exists=False)
    task = settings.values.get("transformer_task", "feature-extraction")
    if task != "feature-extraction":
        raise CheckpointError(
            f"{settings.path}: key 'transformer_task' must be 'feature-extraction', got {task!r}."
        )
    return settings


def _read_distilled(path: Path) -> Mapping[str, Any] | None:
    """Read who taught a checkpoint what, for the card."""
    if not path.is_file():
        return None
    content = _read_json(path)
    values = content if isinstance(content, dict) else {}
    for key, kind in _DISTILLATION_TYPES.items():
        if not isinstance(values.get(key), kind):
            raise CheckpointError(f"{path}: key {key!r} must be a {kind.__name__}.")
    return {key: values[key] for key in _DISTILLATION_TYPES}


def _read_license(card: Path) -> str:
    """Read the licence from the front matter of the checkpoint's README."""
    for line in _front_matter(card):
        if line.startswith("license:"):
            return line.partition(":")[2].strip() or "unknown"
    return "unknown"


def _read_languages(card: Path) -> tuple[str, ...]:
    """Read the languages from the front matter of the checkpoint's README; () if it has none.

    The key has one code, a list in brackets, or a line a code.
    """
    codes: list[str] = []
    inside = False
    for line in _front_matter(card):
        if line.startswith("language:"):
            inside, value = True, line.partition(":")[2]
            codes += value.strip().strip("[]").split(",")
        elif inside and line.lstrip().startswith("- "):
            codes.append(line.lstrip()[2:])
        else:
            inside = False
    found = tuple(code.strip().strip("'\"") for code in codes if code.strip())
    return found if are_languages(found) else ()


def _front_matter(card: Path) -> list[str]:
    """Return the lines of a README's front matter."""
    if not card.is_file():
        return []
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return []
    return list(takewhile(lambda line: line.strip() != "---", lines[1:]))
