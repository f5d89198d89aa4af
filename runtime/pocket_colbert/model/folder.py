"""Find a model folder and check it before anything in it is used."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from pocket_colbert.checks import are_languages, require
from pocket_colbert.config import RelevanceCurve
from pocket_colbert.errors import InvalidInputError, ModelFormatError, ModelNotFoundError
from pocket_colbert.model.external_data import external_files
from pocket_colbert.model.recipe import OWN_SECTION, RECIPE_VERSION, ModelCard, ModelConfig

DEFAULT_MODEL = "small"
"""The bundled model that is used when none is named."""

RECIPE_FILE = "onnx_config.json"
TOKENIZER_FILE = "tokenizer.json"
RELEVANCE_FILE = "relevance.json"
_OLD_RECIPE_FILE = "config_sentence_transformers.json"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_RECIPE_LIMIT = 4 << 20
_FOREIGN_PATTERNS = (
    RECIPE_FILE, _OLD_RECIPE_FILE, TOKENIZER_FILE, "README.md",
    "*.onnx", "*.onnx_data*", "*.onnx.data*",  # the names that exporters give to weights
)  # fmt: skip
"""What is fetched of a hub repository whose recipe does not list its files."""
_CARD_KEYS = ("precision", "model_file", "source", "license", "languages", "quantization")


@dataclass(frozen=True)
class ModelFiles:
    """A checked model folder.

    Attributes:
        folder: Where it is.
        graph: The ONNX file.
        tokenizer: The tokenizer file.
        config: The recipe.
        card: What else is known of the model.
        external: Names of files beside the graph that hold weights of it.
        relevance: How likely hits are right, for each width of token vectors; empty for a folder
            that does not say.
    """

    folder: Path
    graph: Path
    tokenizer: Path
    config: ModelConfig
    card: ModelCard
    external: tuple[str, ...] = ()
    relevance: Mapping[int, RelevanceCurve] = field(default_factory=dict)


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models that ship with this package.

    Examples:
        >>> from pocket_colbert import bundled_models
        >>> bundled_models()
        ('small', 'tiny')
    """
    folders = models_folder().iterdir()
    return tuple(sorted(item.name for item in folders if (item / RECIPE_FILE).is_file()))


def models_folder() -> Path:
    """Return the folder that the bundled models are in."""
    # Not importlib.resources, which brings tempfile, zipfile and more to a process that starts.
    return Path(import_module("pocket_colbert.models").__path__[0])


def bundled_model_of(made_with: str) -> str | None:
    """Return the name of the bundled model of a fingerprint, None when it is none of them."""
    return next(
        (name for name in bundled_models() if _bundled_fingerprint(name) == made_with), None
    )


def _bundled_fingerprint(name: str) -> str:
    """Return a bundled model's fingerprint from the hashes that its recipe lists, unchecked."""
    recipe = _read_recipe(models_folder() / name)[1]
    own = recipe[OWN_SECTION]
    graph, tokenizer = (own["files"][key]["sha256"] for key in (own["model_file"], TOKENIZER_FILE))
    return _fingerprint(recipe, graph, tokenizer)


def _fingerprint(
    recipe: Mapping[str, Any],
    graph: str,
    tokenizer: str,
    external: Mapping[str, str] | None = None,
) -> str:
    """Return what tells models apart: a sha256 over all that decides the vectors of a text.

    That is the graph with all of its weights, the tokenizer and how texts are put to them. A new
    card, name or report does not make it another model.

    Args:
        recipe: The content of the recipe file.
        graph: sha256 of the ONNX file.
        tokenizer: sha256 of the tokenizer file.
        external: sha256 of the files that hold weights of the graph, by name, if there are any.
    """
    own = recipe.get(OWN_SECTION, {})
    about = {*_CARD_KEYS, "exporter", "files"}
    parts: dict[str, Any] = {
        "graph": graph,
        "tokenizer": tokenizer,
        "recipe": {k: v for k, v in recipe.items() if k not in (OWN_SECTION, "model_name")},
        "own": {key: value for key, value in own.items() if key not in about},
    }
    if external:
        parts["external"] = dict(external)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def find_model(model: str | Path) -> Path:
    """Find the folder of a model.

    Args:
        model: A folder, the name of a bundled model, or a hub id `owner/name`.

    Returns:
        The folder.

    Raises:
        ModelNotFoundError: It is none of the three, or the hub cannot be reached and has no
            copy of it in its cache.
    """
    path = Path(model)
    if path.is_dir():
        return path
    if str(model) in bundled_models():
        return models_folder() / str(model)
    if isinstance(model, str) and _HUB_ID.fullmatch(model):
        return _download(model)
    raise ModelNotFoundError(
        f"no model {str(model)!r}: it is not a folder, not a hub id (owner/name), and not one of "
        f"the bundled models ({', '.join(bundled_models()) or 'none'})."
    )


def _download(hub_id: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ModelNotFoundError(
            f"{hub_id!r} is not a folder; to fetch it from the hub: pip install huggingface_hub."
        ) from error
    try:
        # The recipe first: it says what else there is, and a repository without one has nothing
        # that could be used.
        recipes = [RECIPE_FILE, _OLD_RECIPE_FILE]
        folder = Path(snapshot_download(hub_id, allow_patterns=recipes))
        if any(os.path.lexists(folder / name) for name in recipes):
            patterns = _hub_patterns(_read_recipe(folder)[1])
            # Of the same commit, which the folder is called by.
            snapshot_download(hub_id, revision=folder.name, allow_patterns=patterns)
        return folder
    except ModelFormatError:
        raise
    except Exception as error:  # many kinds: offline, no such repository, gated
        raise ModelNotFoundError(
            f"{hub_id!r} is not a folder here and could not be fetched from the hub: {error}. "
            "Check the name and the connection, or give the path of a folder."
        ) from error


def _hub_patterns(recipe: Mapping[str, Any]) -> list[str]:
    """Return what to fetch of a hub repository: what its recipe lists, all of which is checked."""
    from glob import escape

    own = recipe.get(OWN_SECTION)
    files = own.get("files") if isinstance(own, dict) else None
    if not isinstance(files, dict):
        return list(_FOREIGN_PATTERNS)
    return [RECIPE_FILE, *(escape(name) for name in files if _is_name(name))]


def load_model_files(model: str | Path, *, prefer: str | None = None) -> ModelFiles:
    """Find a model folder and check its recipe and files.

    Folders of this package's exporter are checked in full: version, names, sizes and sha256.
    Folders of next-plaid's exporter carry no hashes; their recipe is checked and filled up.

    Args:
        model: See `find_model`.
        prefer: "int8" or "fp32" picks one where another tool's folder has both graphs; without
            it that is int8. Folders of this package's exporter hold one.

    Returns:
        The checked folder.

    Raises:
        ModelNotFoundError: See `find_model`.
        ModelFormatError: The folder is incomplete, damaged or of another version.
    """
    folder = find_model(model)
    recipe_file, recipe = _read_recipe(folder)
    try:
        if OWN_SECTION not in recipe:
            return _foreign(folder, recipe, prefer)
        return _ours(folder, recipe, recipe[OWN_SECTION])
    except InvalidInputError as error:
        raise ModelFormatError(f"{recipe_file}: {error}") from error


def _read_recipe(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    path = folder / RECIPE_FILE
    if not os.path.lexists(path):
        path = folder / _OLD_RECIPE_FILE
    if not os.path.lexists(path):
        raise ModelFormatError(
            f"{folder} has no {RECIPE_FILE}, so it is not a model folder. "
            "Make one from a checkpoint with pocket-colbert-export."
        )
    _check_file(path, folder)
    return path, _json_object(path)


def _json_object(path: Path) -> dict[str, Any]:
    """Read a small file with a JSON object."""
    if path.stat().st_size > _RECIPE_LIMIT:
        raise ModelFormatError(f"{path} is larger than {_RECIPE_LIMIT} bytes.")
    try:
        values = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not JSON: {error}.") from error
    if not isinstance(values, dict):
        raise ModelFormatError(f"{path} must hold a JSON object, got {type(values).__name__}.")
    return values


def _ours(folder: Path, recipe: Mapping[str, Any], own: Mapping[str, Any]) -> ModelFiles:
    if not isinstance(own, dict):
        raise InvalidInputError(f"{OWN_SECTION} must be a JSON object, got {type(own).__name__}.")
    version = own.get("format_version")
    if version != RECIPE_VERSION:
        raise ModelFormatError(
            f"{folder} has recipe version {version!r}, this release reads {RECIPE_VERSION}; "
            "update pocket-colbert or export the model again."
        )
    fields = {k: v for k, v in own.items() if k not in (*_CARD_KEYS, "format_version", "files")}
    config = ModelConfig.from_json(recipe, {k: v for k, v in fields.items() if k != "exporter"})
    hashes = _check_files(folder, own.get("files"))
    model_file = str(own.get("model_file"))
    for name in (model_file, TOKENIZER_FILE):
        if name not in hashes:
            raise InvalidInputError(
                f"{OWN_SECTION}.files must list {name!r}, got {sorted(hashes)}."
            )
    external = external_files(folder / model_file)
    unlisted = sorted(set(external) - set(hashes))
    if unlisted:
        raise InvalidInputError(
            f"{OWN_SECTION}.files must list all files with weights; {model_file} takes some from "
            f"{unlisted[0]!r:.80}, which it does not list. Export or download the model again."
        )
    weights = {name: hashes[name] for name in external}
    card = ModelCard(
        precision=str(own.get("precision", "unknown")),
        model_file=model_file,
        source=str(own.get("source", "")),
        license=str(own.get("license", "unknown")),
        languages=_languages(own.get("languages", [])),
        fingerprint=_fingerprint(recipe, hashes[model_file], hashes[TOKENIZER_FILE], weights),
        quantization=own.get("quantization") or {},
    )
    return ModelFiles(
        folder, folder / model_file, folder / TOKENIZER_FILE, config, card, external,
        _relevance(folder / RELEVANCE_FILE, config) if RELEVANCE_FILE in hashes else {},
    )  # fmt: skip


def _relevance(path: Path, config: ModelConfig) -> dict[int, RelevanceCurve]:
    """Read the curves of a model, one for each width that its vectors may have.

    Raises:
        ModelFormatError: The file is not of that form.
    """
    try:
        values = _json_object(path).get("curves")
        widths = {str(width): width for width in (config.embedding_dim, *config.matryoshka_dims)}
        require(
            isinstance(values, dict) and set(values) <= set(widths),
            f"curves must be a JSON object with widths of the model's vectors "
            f"({', '.join(widths)}), got {values!r:.80}.",
        )
        assert isinstance(values, dict)
        return {widths[key]: RelevanceCurve.from_json(curve) for key, curve in values.items()}
    except InvalidInputError as error:
        raise ModelFormatError(f"{path}: {error} Export the model again.") from error


def _languages(value: object) -> tuple[str, ...]:
    """Check the languages of a model."""
    if not isinstance(value, list) or not are_languages(tuple(value)):
        raise InvalidInputError(
            f"{OWN_SECTION}.languages must be a list of language codes, got {value!r:.80}."
        )
    return tuple(value)


def _check_files(folder: Path, files: object) -> Mapping[str, str]:
    """Compare size and sha256 of every listed file; return the hashes by name."""
    if not isinstance(files, dict) or not files:
        raise InvalidInputError(f"{OWN_SECTION}.files must list the folder's files, got {files!r}.")
    for name, expected in files.items():
        if not _is_name(name):
            raise InvalidInputError(f"file name {name!r} would lead out of the folder.")
        path = folder / name
        if not os.path.lexists(path):
            raise ModelFormatError(f"{path} is listed in the recipe but is not there.")
        _check_file(path, folder)
        if not isinstance(expected, dict) or set(expected) != {"bytes", "sha256"}:
            raise InvalidInputError(f"{name!r} must be listed with 'bytes' and 'sha256'.")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise ModelFormatError(
                f"{path} is damaged: it has {size} bytes, the recipe says {expected['bytes']}. "
                "Export or download it again."
            )
        digest = _sha256(path)
        if digest != expected["sha256"]:
            raise ModelFormatError(
                f"{path} is damaged: its sha256 is {digest[:12]}..., the recipe says "
                f"{str(expected['sha256'])[:12]}.... Export or download it again."
            )
    return {name: expected["sha256"] for name, expected in files.items()}


def _sha256(path: Path) -> str:
    # `files` brings NumPy, which completing a model's name at the key press must not wait for.
    from pocket_colbert.storage.files import hash_file

    return hash_file(path).sha256


def _check_file(path: Path, folder: Path) -> None:
    """Raise ModelFormatError unless a file is a regular one of the folder.

    A link may be followed within the folder, and into `blobs` of a hub cache that it is in.
    """
    if not path.is_symlink():
        sound = path.is_file()
    else:
        root = folder.resolve()
        allowed = [root]
        if root.parent.name == "snapshots":
            allowed.append(root.parent.parent / "blobs")
        target = path.resolve()
        sound = target.is_file() and any(map(target.is_relative_to, allowed))
    if not sound:
        raise ModelFormatError(
            f"{path} must be a regular file in the model's folder, not a folder, a device or a "
            "link out of it; it was not used."
        )


def _external(graph: Path, folder: Path) -> dict[str, str]:
    """Return the sha256 of each file that holds weights of a graph, by name.

    Raises:
        ModelFormatError: One is not a file in the folder.
    """
    hashes = {}
    for name in external_files(graph):
        path = folder / name
        if not _is_name(name) or not os.path.lexists(path):
            raise ModelFormatError(
                f"{graph} takes weights from {name!r:.80}, which is no file in its folder. "
                "Export or download the model again."
            )
        _check_file(path, folder)
        hashes[name] = _sha256(path)
    return hashes


def _is_name(name: str) -> bool:
    return (
        name not in ("", ".", "..")
        and name == Path(name).name
        and not any(c in name for c in "\\:\0")
    )


def _foreign(folder: Path, recipe: Mapping[str, Any], prefer: str | None) -> ModelFiles:
    """Read a folder of next-plaid's exporter: no hashes, skiplist as words, one or two graphs."""
    graphs = {"int8": folder / "model_int8.onnx", "fp32": folder / "model.onnx"}
    order = [prefer] if prefer else ["int8", "fp32"]
    precision = next((name for name in order if os.path.lexists(graphs[name])), None)
    if precision is None:
        raise ModelFormatError(f"{folder} has no {' or '.join(graphs[n].name for n in order)}.")
    tokenizer = folder / TOKENIZER_FILE
    if not os.path.lexists(tokenizer):
        raise ModelFormatError(f"{folder} has no {TOKENIZER_FILE}.")
    for path in (graphs[precision], tokenizer):
        _check_file(path, folder)
    weights = _external(graphs[precision], folder)
    words = recipe.get("skiplist_words") or []
    own: dict[str, Any] = {"skiplist_ids": _foreign_skiplist(tokenizer, words)}
    if recipe.get("do_query_expansion") is None:
        own["do_query_expansion"] = True  # PyLate's default, which its saves may leave out
    config = ModelConfig.from_json(recipe, own)
    card = ModelCard(
        precision=precision,
        model_file=graphs[precision].name,
        source=config.model_name,
        fingerprint=_fingerprint(recipe, _sha256(graphs[precision]), _sha256(tokenizer), weights),
    )
    return ModelFiles(folder, graphs[precision], tokenizer, config, card, tuple(weights))


def _foreign_skiplist(tokenizer: Path, words: object) -> list[int]:
    """Look the skiplist up in the tokenizer file, as whole tokens."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidInputError(f"skiplist_words must be a list of texts, got {words!r}.")
    try:
        content = json.loads(tokenizer.read_text(encoding="utf-8"))
        vocabulary = content["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: [token, score] pairs
            vocabulary = {token: position for position, (token, _) in enumerate(vocabulary)}
        added = {item["content"]: item["id"] for item in content.get("added_tokens", [])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFormatError(f"{tokenizer} is not a usable tokenizer: {error!r}.") from error
    return [vocabulary.get(word, added.get(word)) for word in words if word in vocabulary | added]
