"""Write a model folder: all of it or nothing."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pocket_colbert.model.folder import RECIPE_FILE, TOKENIZER_FILE
from pocket_colbert.model.recipe import OWN_SECTION, ModelConfig
from pocket_colbert_export.errors import OutputError

CONFIG_FILE = "config.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
_SPECIAL_TOKENS = {
    "unk_token": ("[UNK]", "<unk>"), "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"), "cls_token": ("[CLS]", "<s>"),
    "mask_token": ("[MASK]", "<mask>"),
}  # fmt: skip
_MODEL_TYPES = {"XLMRoberta": "xlm-roberta", "DebertaV2": "deberta-v2"}
REPORT_FILE = "export_report.json"
CARD_FILE = "README.md"
NOTICE_FILE = "NOTICE"


@contextlib.contextmanager
def new_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder to fill, which becomes `target` when the block ends without an error.

    Args:
        target: Where the model is to be.
        overwrite: Whether a model folder that is there may be replaced.

    Raises:
        OutputError: Something is at `target` that must not be replaced, or the disk refuses.
    """
    if target.exists():
        if not target.is_dir():
            raise OutputError(f"{target} exists and is not a folder.")
        if any(target.iterdir()) and not (overwrite and (target / RECIPE_FILE).is_file()):
            reason = (
                "it is no model folder." if overwrite else "pass --overwrite to replace a model."
            )
            raise OutputError(f"{target} exists and is not empty; {reason}")
        strangers = _strangers(target)
        if strangers:
            raise OutputError(
                f"{target} has {strangers[0]!r}, which is no part of the model there and would be "
                "deleted with it; move it away, or choose another folder."
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise OutputError(f"cannot write beside {target}: {error}.") from error
    try:
        yield work
        try:
            work.chmod(0o755)  # mkdtemp's folder is for its owner only
            retired = None
            if target.exists():
                retired = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
                os.replace(target, retired / "model")
            os.replace(work, target)
            if retired is not None:
                shutil.rmtree(retired)
        except OSError as error:
            raise OutputError(f"{target} could not be written: {error}.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _strangers(folder: Path) -> list[str]:
    """Return the names in a folder that do not belong to the model in it."""
    known = {RECIPE_FILE, REPORT_FILE, CARD_FILE, NOTICE_FILE, TOKENIZER_FILE}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        recipe = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
        known |= set(recipe[OWN_SECTION]["files"])
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in known or (path.is_dir() and not path.is_symlink())
    )


def write_files(
    folder: Path,
    *,
    card: str,
    notice: str,
    report: Mapping[str, Any],
    config: ModelConfig,
    own: Mapping[str, Any],
    extra: Mapping[str, Any],
) -> None:
    """Write what a model folder holds beside graph and tokenizer.

    Args:
        folder: The folder, with graph and tokenizer in it.
        card: README.md.
        notice: NOTICE.
        report: What was measured, as JSON.
        config: The recipe.
        own: Further keys of the `pocket_colbert` section.
        extra: Further keys at the top level of the recipe file, which other runtimes look for.

    Raises:
        OutputError: The disk refuses.
    """
    try:
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        (folder / NOTICE_FILE).write_text(notice, encoding="utf-8")
        _write_json(folder / REPORT_FILE, report)
        write_transformers_files(folder, config, report["source"]["architecture"])
        recipe = {**config.to_json(), **extra}
        recipe[OWN_SECTION] |= {**own, "files": _hash_files(folder)}
        _write_json(folder / RECIPE_FILE, recipe)
    except OSError as error:
        raise OutputError(f"{folder} could not be written: {error}.") from error


def add_file(folder: Path, name: str, values: Mapping[str, Any]) -> None:
    """Write a JSON file into a model folder that is there, or replace it, and list it.

    Args:
        folder: The folder.
        name: Name of the file.
        values: What it holds.

    Raises:
        OutputError: The disk refuses.
    """
    try:
        _write_json(folder / name, values)
        recipe = json.loads((folder / RECIPE_FILE).read_text(encoding="utf-8"))
        files = {**recipe[OWN_SECTION]["files"], name: _entry(folder / name)}
        recipe[OWN_SECTION]["files"] = dict(sorted(files.items()))
        _write_json(folder / RECIPE_FILE, recipe)
    except OSError as error:
        raise OutputError(f"{folder} could not be written: {error}.") from error


def write_transformers_files(folder: Path, config: ModelConfig, architecture: str) -> None:
    """Write the two files without which transformers.js and transformers load no folder.

    This package does not read them; they are no part of a model's fingerprint.

    Args:
        folder: The folder, with the tokenizer in it.
        config: The recipe.
        architecture: The class of the backbone in transformers, such as "BertModel".
    """
    tokenizer = json.loads((folder / TOKENIZER_FILE).read_text(encoding="utf-8"))
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    named = {
        role: token for role, tokens in _SPECIAL_TOKENS.items() for token in tokens
        if token in special
    }  # fmt: skip
    _write_json(folder / TOKENIZER_CONFIG_FILE, {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max(config.document_length, config.query_length),
        **named,
    })  # fmt: skip
    name = architecture.removesuffix("Model")
    _write_json(folder / CONFIG_FILE, {
        "model_type": _MODEL_TYPES.get(name, name.lower()),
        "architectures": [architecture],
        "embedding_dim": config.embedding_dim,
        "max_position_embeddings": max(config.document_length, config.query_length),
    })  # fmt: skip


def _hash_files(folder: Path) -> dict[str, Any]:
    """Return size and sha256 of every file, by name."""
    return {path.name: _entry(path) for path in sorted(folder.iterdir())}


def _entry(path: Path) -> dict[str, Any]:
    """Return what the recipe says of a file."""
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object for people and programs."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
