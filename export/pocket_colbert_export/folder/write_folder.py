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

from pocket_colbert.model.folder import RECIPE_FILE
from pocket_colbert.model.recipe import OWN_SECTION, ModelConfig
from pocket_colbert_export.errors import ExportError

REPORT_FILE = "export_report.json"
CARD_FILE = "README.md"
NOTICE_FILE = "NOTICE"


@contextlib.contextmanager
def new_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write to, which takes the place of `target` when all went well.

    Args:
        target: Where the model is to be.
        overwrite: Whether a model folder may be there already.

    Raises:
        ExportError: Something is at `target` that must not be replaced, or the disk refuses.
    """
    if target.exists():
        if not target.is_dir():
            raise ExportError(f"{target} exists and is not a folder.")
        if any(target.iterdir()) and not (overwrite and (target / RECIPE_FILE).is_file()):
            raise ExportError(
                f"{target} exists and is not empty; "
                + (
                    "it is no model folder."
                    if overwrite
                    else "pass --overwrite to replace a model."
                )
            )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise ExportError(f"cannot write beside {target}: {error}.") from error
    try:
        yield work
        work.chmod(0o755)  # mkdtemp's folder is for its owner only
        retired = None
        if target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            os.replace(target, retired / "model")
        os.replace(work, target)
        if retired is not None:
            shutil.rmtree(retired)
    except OSError as error:
        raise ExportError(f"{target} could not be written: {error}.") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write_recipe(
    folder: Path, config: ModelConfig, own: Mapping[str, Any], ecosystem: Mapping[str, Any]
) -> None:
    """Write the recipe last, with size and sha256 of every other file.

    Args:
        folder: The model folder with everything else in it.
        config: The recipe's fields.
        own: Further entries of the `pocket_colbert` section.
        ecosystem: Further entries at the top level, which other runtimes look for.
    """
    files = {}
    for path in sorted(folder.iterdir()):
        if path.name != RECIPE_FILE:
            data = path.read_bytes()
            files[path.name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    recipe = {**config.to_json(), **ecosystem}
    recipe[OWN_SECTION] |= {**own, "files": files}
    write_json(folder / RECIPE_FILE, recipe)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON object for people and programs."""
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
