"""Make a zip for AWS Lambda from an index, its model and the installed packages.

The packages in it are those that a process imports to answer a query, without files that never
run; of this package it has the rooms that the handler's imports reach. The zip is then unpacked
and answers the same query on its own. It is kept only if the answer is the same.
"""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pocket_colbert.deploy.own_files import own_files
from pocket_colbert.deploy.verification import answer_here, compile_imported, verify
from pocket_colbert.deploy.wheels import (
    check_glibc,
    files_of,
    lambda_glibc,
    needed_glibc,
    packages_of,
    parse_version,
)
from pocket_colbert.errors import BundleError, IndexConflictError, ModelNotFoundError
from pocket_colbert.index.index import Index
from pocket_colbert.model.folder import (
    RECIPE_FILE,
    ModelFiles,
    bundled_model_of,
    bundled_models,
    load_model_files,
)
from pocket_colbert.model.recipe import OWN_SECTION
from pocket_colbert.storage.contained import Contained
from pocket_colbert.storage.files import atomic_file
from pocket_colbert.storage.manifest import MANIFEST_FILE, Manifest

LAMBDA_LIMIT = 250 << 20
"""Bytes that a function's unpacked zip may have."""

_EPOCH = (1980, 1, 1, 0, 0, 0)

HANDLER = '''\
"""The handler that AWS Lambda calls (`handler.handler`): loads index and model once."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.deploy.lambda_handler import LambdaHandler

handler = LambdaHandler(Path(__file__).parent)
'''


@dataclass(frozen=True)
class Bundle:
    """A deployment package that was made and tested.

    Attributes:
        path: The zip.
        bytes: Its size.
        unpacked: Total size of its files.
        parts: Bytes of each top-level entry, largest first.
        python: The Python version it needs, such as "3.12".
        glibc: The oldest C library it runs with, such as "2.28".
        query: The query it was tested with.
        hits: How many hits it answered with, the same as the installed package.
    """

    path: Path
    bytes: int
    unpacked: int
    parts: Mapping[str, int]
    python: str
    glibc: str
    query: str
    hits: int


def make_bundle(
    folder: Path,
    output: Path,
    *,
    model: str | Path | None = None,
    glibc: str | None = None,
    limit: int = LAMBDA_LIMIT,
    compression: int = 6,
) -> Bundle:
    """Make a zip for AWS Lambda on x86_64, and let it answer a query on its own.

    Equal indexes, models and packages give equal bytes.

    Args:
        folder: The index.
        output: Where to write the zip; an existing file is replaced.
        model: The model, by default the bundled one that made the index.
        glibc: The C library of the system it will run on, such as "2.34"; by default that of
            Lambda's runtime for this Python.
        limit: Most bytes it may have when unpacked.
        compression: zlib's level, 0 to 9.

    Returns:
        The bundle.

    Raises:
        BundleError: This is not Linux on x86_64, a package needs a newer C library or cannot be
            found, the bundle is too large, or it does not answer as the installed package does.
        ModelNotFoundError: The index was not made by a bundled model.
        IndexFolderError, ModelError: The index or the model cannot be used.
    """
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise BundleError(
            "a bundle holds the packages installed here, so it must be made on Linux x86_64, got "
            f"{machine}: run this command in a container of that kind."
        )
    available = parse_version(glibc) if glibc is not None else lambda_glibc()
    with tempfile.TemporaryDirectory(prefix="pocket-colbert-bundle-") as temporary:
        work = Path(temporary)
        manifest = Manifest.load(folder)
        (work / "handler.py").write_text(HANDLER, encoding="utf-8")
        # Both answers come from the copies that are packed, so only the code around them differs.
        here = work / "here"
        originals: dict[str, Path | Contained] = {"handler.py": work / "handler.py"}
        originals |= _index_files(Contained(folder), manifest)
        originals |= _model_files(folder, manifest.config.model, model)
        files = _copied(originals, here)
        query = _query(here / "index")
        event = {"query": query, "k": 3}
        answer, modules = answer_here(here, event)
        packages = packages_of(modules)
        check_glibc(packages, available)
        for package in packages:
            files |= files_of(package)
        files |= own_files("pocket_colbert.deploy.lambda_handler")
        files |= compile_imported(files, modules, work / "bytecode")
        parts = _check_size(files, limit)
        with atomic_file(output) as unverified:
            _write(unverified, files, compression)
            verify(unverified, work / "alone", event, answer)
    oldest = max(map(needed_glibc, packages), default=(2, 17))
    return Bundle(
        path=output,
        bytes=output.stat().st_size,
        unpacked=sum(parts.values()),
        parts=parts,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        glibc=f"{oldest[0]}.{oldest[1]}",
        query=query,
        hits=len(answer["hits"]),
    )


def _index_files(folder: Contained, manifest: Manifest) -> dict[str, Contained]:
    """Return the files of the last commit of an index."""
    paths = [folder / MANIFEST_FILE]
    for entry in manifest.segments:
        deleted = entry.deleted_file(folder)
        paths += [path for path, _ in entry.paths(folder)] + ([deleted] if deleted else [])
    return {"/".join(("index", *path.parts)): path for path in paths}


def _model_files(folder: Path, made_with: str, model: str | Path | None) -> dict[str, Path]:
    """Return the files of the named model, or of the bundled one that made the index."""
    if model is None:
        model = bundled_model_of(made_with)
    if model is None:
        raise ModelNotFoundError(
            f"{folder} was made with a model of fingerprint {made_with[:12] or 'unknown'}, which "
            f"is none of the bundled ones ({', '.join(bundled_models())}); name it with --model."
        )
    checked = load_model_files(model)
    if made_with not in ("", checked.card.fingerprint):
        raise BundleError(
            f"{folder} was made with another model: it has fingerprint {made_with[:12]}, {model} "
            f"has {checked.card.fingerprint[:12]}. Name the model that made it."
        )
    return {f"model/{name}": checked.folder / name for name in sorted(_names_of(checked))}


def _names_of(model: ModelFiles) -> set[str]:
    """Return the names of the files that a model needs: those its recipe lists, and its own."""
    names = {model.graph.name, model.tokenizer.name, *model.external}
    recipe = model.folder / RECIPE_FILE
    if not recipe.is_file():
        return names | {path.name for path in model.folder.glob("config_*.json")}
    own = json.loads(recipe.read_text(encoding="utf-8")).get(OWN_SECTION) or {}
    # `load_model_files` has checked the names that the recipe lists.
    return names | {RECIPE_FILE} | set(own.get("files", ()))


def _copied(files: Mapping[str, Path | Contained], folder: Path) -> dict[str, Path]:
    """Copy files into a folder; return where they are now."""
    for name, source in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = source.open() if isinstance(source, Contained) else source.open("rb")
            with opened as stream, (folder / name).open("xb") as copy:
                shutil.copyfileobj(stream, copy)
        except FileNotFoundError as error:
            raise IndexConflictError(
                f"{source} disappeared while it was copied: the index was written to; try again."
            ) from error
    return {name: folder / name for name in files}


def _query(folder: Path) -> str:
    """Choose a query that finds something, from the first document; verify all checksums."""
    with Index.load(folder, verify=True, threads=1) as index:
        document = next(iter(index), None)
    if document is None:
        return "an empty index finds nothing"
    return " ".join(f"{document.title or ''} {document.text or document.document_id}".split()[:8])


def _check_size(files: Mapping[str, Path], limit: int) -> dict[str, int]:
    """Return the bytes of each top-level entry, largest first; raise if they are too many."""
    sizes: Counter[str] = Counter()
    for name, source in files.items():
        sizes[name.partition("/")[0]] += source.stat().st_size
    total, parts = sum(sizes.values()), sizes.most_common()
    if total > limit:
        largest = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in parts[:6])
        raise BundleError(
            f"a bundle may have {limit / 1e6:.1f} MB unpacked, got {total / 1e6:.1f} MB unpacked; "
            f"its largest parts: {largest}. Make the index smaller (--codes int2, --pool-factor), "
            "or deploy as a container image."
        )
    return dict(parts)


def _write(path: Path, files: Mapping[str, Path], compression: int) -> None:
    """Write a zip that depends on names and contents alone."""
    kind = zipfile.ZIP_DEFLATED if compression else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, whose permissions follow
            entry.external_attr = 0o644 << 16
            entry.compress_type = kind
            with source.open("rb") as reader:
                data = reader.read()
            archive.writestr(entry, data, compresslevel=compression or None)
