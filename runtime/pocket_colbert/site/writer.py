"""A site that searches an index in the reader's browser: page, runtime, model and index."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from pocket_colbert.checks import check_text
from pocket_colbert.errors import IndexExistsError, InvalidInputError
from pocket_colbert.index.index import Index
from pocket_colbert.model.encoder import Encoder
from pocket_colbert.model.folder import RECIPE_FILE, TOKENIZER_FILE
from pocket_colbert.site.packing import Packer, replace_file
from pocket_colbert.site.web_index import write_index

FORMAT, VERSION = "pocket-colbert-site", 1
MANIFEST = "search.json"
_PAGE = ("worker.js", "app.js", "style.css", "icon.svg")
_PLAIN = ("index.html", "sw.js", "app.webmanifest")
_RUNTIME = "ort.wasm.gz"
_MODEL_FILES = (RECIPE_FILE, TOKENIZER_FILE, "tokenizer_config.json")


@dataclass(frozen=True)
class SiteReport:
    """What `write_site` did.

    Attributes:
        folder: The site.
        documents: Number of documents.
        passages: Number of passages.
        bytes: Bytes of all its files.
        written: Bytes of the model, the runtime and the index that were not there before.
        model: Bytes of the model, which every visitor fetches once.
        runtime: Bytes of the runtime, likewise.
    """

    folder: Path
    documents: int
    passages: int
    bytes: int
    written: int
    model: int
    runtime: int


def write_site(
    index: Index, into: str | Path, *, encoder: Encoder | None = None, title: str = "Search"
) -> SiteReport:
    """Write a static site that searches an index, or bring it up to date.

    Any server of static files can serve it, below any path; nothing is sent to it but requests
    for files. Files are named by what is in them, and those that are there already stay, so that
    visitors fetch only what has changed.

    Args:
        index: The index.
        into: Folder of the site: a new one, an empty one, or a site made before.
        encoder: The encoder whose model the site gets; by default the bundled model that made the
            index.
        title: The page's title.

    Returns:
        What was written.

    Raises:
        IndexExistsError: Something that is not such a site is at `into`.
        InvalidInputError: The index was made with another model, has no documents, or its model
            cannot run in browsers.
        OSError: The disk is full or fails.
    """
    check_text("title", title)
    folder = Path(into)
    _check_folder(folder)
    encoder = encoder or Encoder.for_index(index.config)
    if index.config.model not in ("", encoder.card.fingerprint):
        raise InvalidInputError(
            "the index was made with another model; give the encoder that made it."
        )
    packer = Packer(folder)
    content = write_index(index, packer) | {"model": _write_model(encoder, packer)}
    model = _bytes_of(content["model"])
    listed = packer.put_json("content", content)
    page, runtime = _write_page(folder, title, packer)
    manifest = {"format": FORMAT, "version": VERSION, "title": title, "content": listed}
    # Last: until then a reader sees the index as it was.
    written = json.dumps(manifest, ensure_ascii=False).encode("utf-8")
    replace_file(folder / MANIFEST, written)
    packer.remove_others()
    return SiteReport(
        folder, content["documents"], content["passages"], packer.total + page + len(written),
        packer.written, model, runtime,
    )  # fmt: skip


def _bytes_of(entries: dict[str, dict[str, Any]]) -> int:
    """Return how many bytes some files take together."""
    return sum(entry["bytes"] for entry in entries.values())


def _check_folder(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if not folder.is_dir() or folder.is_symlink():
        raise IndexExistsError(f"{folder} already exists and is not a folder.")
    if any(folder.iterdir()):
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
            known = manifest["format"] == FORMAT
        except (OSError, ValueError, KeyError, TypeError):
            known = False
        if not known:
            raise IndexExistsError(
                f"{folder} already exists and is not a site of this kind; name another folder, or "
                "empty it."
            )


def _write_model(encoder: Encoder, packer: Packer) -> dict[str, dict[str, Any]]:
    """Write the files of a model that the runtime in the browser reads."""
    folder, card = encoder.folder, encoder.card
    names = (*_MODEL_FILES, card.model_file)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InvalidInputError(
            f"the model in {folder} cannot run in a browser: it has no {', '.join(missing)}. "
            "Export it again with this release."
        )
    return {name: packer.put("model", (folder / name).read_bytes()) for name in names}


def _write_page(folder: Path, title: str, packer: Packer) -> tuple[int, int]:
    """Write the page, with its parts named by what is in them.

    Returns:
        Bytes of the page, and of the runtime.
    """
    page = files("pocket_colbert.site") / "page"
    wasm = packer.put("runtime", (page / _RUNTIME).read_bytes())
    size = 0
    names = {_RUNTIME: wasm["path"]}
    for name in _PAGE:
        content = (page / name).read_bytes()
        for part, path in names.items():
            content = content.replace(f"%{part}%".encode(), str(path).encode())
        stem, _, ending = name.rpartition(".")
        digest = packer.digest(content)
        names[name] = f"assets/{stem}-{digest}.{ending}"
        size += len(content)
        replace_file(folder / names[name], content)
    for path in (folder / "assets").iterdir():
        if f"assets/{path.name}" not in names.values() and re.fullmatch(
            r"[a-z]+-[0-9a-f]{16}\.\w+", path.name
        ):
            path.unlink()
    for name in _PLAIN:
        text = (page / name).read_text(encoding="utf-8")
        for part, path in names.items():
            text = text.replace(f"%{part}%", str(path))
        shown = json.dumps(title)[1:-1] if name.endswith("manifest") else escape(title)
        content = text.replace("%title%", shown).encode("utf-8")
        size += len(content)
        replace_file(folder / name, content)
    return size, int(wasm["bytes"])
