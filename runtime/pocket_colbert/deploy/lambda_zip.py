"""A zip for AWS Lambda out of the installed libraries, an index and its model.

What goes in is seen rather than listed: a process answers one query, and the packages that it
imports are taken, without the parts that never run. Then the zip is unpacked and answers the same
query alone. Only if it gives the same answer is it moved to its place.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any

from pocket_colbert.errors import BundleError, IndexConflictError, ModelNotFoundError
from pocket_colbert.index.index import Index
from pocket_colbert.model.folder import (
    RECIPE_FILE,
    ModelFiles,
    bundled_model_of,
    bundled_models,
    load_model_files,
    models_folder,
)
from pocket_colbert.model.recipe import OWN_SECTION
from pocket_colbert.storage.files import atomic_file
from pocket_colbert.storage.manifest import MANIFEST_FILE, Manifest

LAMBDA_LIMIT = 250 << 20
"""Bytes that a function's unpacked zip may have."""

_EPOCH = (1980, 1, 1, 0, 0, 0)
_ANSWER_SECONDS = 120
_LEFT_OUT = (
    # What no import reaches, or only those of people who build or test the libraries.
    "*.pyi", "*.pyx", "*.pxd", "*.h", "*.hpp", "*.c", "*.cc", "*.cpp", "*.a", "*.lib", "*.cmake",
    "*.pc", "*.pyc", "*/conftest.py",
    "numpy/f2py/*", "numpy/distutils/*", "numpy/doc/*", "numpy/_pyinstaller/*",
    "onnxruntime/tools/*", "onnxruntime/transformers/*", "onnxruntime/quantization/*",
    "onnxruntime/datasets/*", "onnxruntime/backend/*",
    # The library for C programs; Python's module has its own copy inside.
    "onnxruntime/capi/libonnxruntime.so*",
    "tokenizers/tools/*", "usearch/client.py", "usearch/server.py", "usearch/eval.py",
)  # fmt: skip
_LEFT_OUT_FOLDERS = {"tests", "test", "include", "docs", "examples", "__pycache__"}
_FOLDERS = ("vectors", "model", "storage", "search", "index", "deploy")
_OLD_MANYLINUX = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}

HANDLER = '''\
"""What AWS Lambda calls, as `handler.handler`: opens index and model once, then answers events."""

from __future__ import annotations

from pathlib import Path

from pocket_colbert.deploy.lambda_handler import LambdaHandler

handler = LambdaHandler(Path(__file__).parent)
'''

_ANSWER_HERE = """
import json, sys
before = set(sys.modules)
folder, event = json.loads(sys.stdin.read())
from pathlib import Path
from pocket_colbert.deploy.lambda_handler import LambdaHandler
answer = LambdaHandler(Path(folder))(event)
import filelock, numkong, usearch.index
modules = {name: getattr(module, "__file__", None)
           for name, module in list(sys.modules.items()) if name not in before}
print(json.dumps({"answer": answer, "modules": modules}))
"""
_ANSWER_ALONE = """
import json, sys
folder, event = json.loads(sys.stdin.read())
sys.path.append(folder)
import handler
answer = handler.handler(event, None)
import usearch.index
print(json.dumps({"answer": answer}))
"""
_COMPILE = """
import json, py_compile, sys
for source, target, name in json.loads(sys.stdin.read()):
    py_compile.compile(source, target, name, doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
print("{}")
"""


@dataclass(frozen=True)
class Bundle:
    """A deployment package that was made and has answered.

    Attributes:
        path: The zip.
        bytes: Its size.
        unpacked: Bytes of its files.
        parts: Bytes of each entry at the top, largest first.
        python: The Python it is for, such as "3.12".
        glibc: The oldest C library that all of it works with, such as "2.28".
        query: What it was asked.
        hits: How many hits it answered with, the same as outside.
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
    """Make a zip for AWS Lambda, x86_64, and have it answer a query alone.

    The same index, model and libraries give the same bytes.

    Args:
        folder: The index.
        output: Where the zip goes; what is there is replaced.
        model: The model, by default the bundled one that the index was made with.
        glibc: The C library of where it is to run, such as "2.34", by default that of Lambda's
            runtime for this Python.
        limit: Bytes that it may have unpacked.
        compression: zlib's level, 0 to 9.

    Returns:
        What was made.

    Raises:
        BundleError: This is not Linux on x86_64, a library needs a newer C library or cannot be
            found, the package is too large, or it does not answer as it does here.
        ModelNotFoundError: No bundled model is the one the index was made with.
        IndexFolderError, ModelError: Index or model cannot be used.
    """
    machine = f"{platform.system()} {platform.machine()}"
    if machine != "Linux x86_64":
        raise BundleError(
            "a bundle holds the libraries installed here, so it must be made on Linux x86_64, "
            f"got {machine}: run it in a container of that kind."
        )
    available = _version(glibc) if glibc is not None else _lambda_glibc()
    with tempfile.TemporaryDirectory(prefix="pocket-colbert-bundle-") as place:
        work = Path(place)
        manifest = Manifest.load(folder)
        files = _index_files(folder, manifest)
        files |= _model_files(folder, manifest.config.model, model)
        (work / "handler.py").write_text(HANDLER, encoding="utf-8")
        files["handler.py"] = work / "handler.py"
        # From what will be packed, so that what is compared is the code around it.
        here = _laid_out(work / "here", files)
        files = {name: here / name for name in files}
        query = _query(here / "index")
        event = {"query": query, "k": 3}
        found = _run(["-c", _ANSWER_HERE], [str(here), event], "outside the bundle")
        modules: dict[str, str | None] = found["modules"]
        libraries = _distributions(modules)
        needed = max((_needed_glibc(item) for item in libraries), default=(2, 17))
        _check_glibc(libraries, available)
        for item in libraries:
            files |= _library_files(item)
        files |= _own_files()
        files |= _bytecode(files, modules, work / "bytecode")
        unpacked = _check_size(files, limit)
        with atomic_file(output) as beside:
            _write(beside, files, compression)
            _verify(beside, work / "alone", event, found["answer"])
    return Bundle(
        path=output,
        bytes=output.stat().st_size,
        unpacked=sum(unpacked.values()),
        parts=unpacked,
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        glibc=f"{needed[0]}.{needed[1]}",
        query=query,
        hits=len(found["answer"]["hits"]),
    )


def _lambda_glibc() -> tuple[int, int]:
    """Return the C library's version in Lambda's runtime for this Python."""
    # Amazon Linux 2 up to Python 3.11, Amazon Linux 2023 from 3.12 on.
    return (2, 34) if sys.version_info >= (3, 12) else (2, 26)


def _version(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})", text)
    if not found:
        raise BundleError(f"a version of glibc must look like 2.34, got {text!r}.")
    return int(found[1]), int(found[2])


def _index_files(folder: Path, manifest: Manifest) -> dict[str, Path]:
    """Return the files of the index's last commit."""
    paths = [folder / MANIFEST_FILE]
    for entry in manifest.segments:
        deleted = entry.deleted_file(folder)
        paths += [path for path, _ in entry.paths(folder)] + ([deleted] if deleted else [])
    return {f"index/{path.relative_to(folder).as_posix()}": path for path in paths}


def _model_files(folder: Path, made_with: str, model: str | Path | None) -> dict[str, Path]:
    """Return the files of the model named, or of the bundled one that made the index."""
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
            f"has {checked.card.fingerprint[:12]}. Name the one it was made with."
        )
    return {f"model/{path.name}": path for path in _parts_of(checked)}


def _parts_of(model: ModelFiles) -> Iterator[Path]:
    """Iterate over the files that the recipe lists, itself, and those that are always used."""
    names = {model.graph.name, model.tokenizer.name}
    recipe = model.folder / RECIPE_FILE
    if recipe.is_file():
        names.add(RECIPE_FILE)
        own = json.loads(recipe.read_text(encoding="utf-8")).get(OWN_SECTION) or {}
        names |= set(own.get("files", ()))  # `load_model_files` has checked these names
    else:
        names |= {path.name for path in model.folder.glob("config_*.json")}
    return (model.folder / name for name in sorted(names))


def _laid_out(place: Path, files: Mapping[str, Path]) -> Path:
    for name, source in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, place / name)
        except FileNotFoundError as error:
            raise IndexConflictError(
                f"{source} went away while it was copied: the index was written to; try again."
            ) from error
    return place


def _query(folder: Path) -> str:
    """Choose a query from the index, which must be whole, so that something is found."""
    with Index.load(folder, verify=True, threads=1) as index:
        document = next(iter(index), None)
    if document is None:
        return "an empty index finds nothing"
    return " ".join(f"{document.title or ''} {document.text or document.document_id}".split()[:8])


def _run(command: list[str], given: Any, where: str, folder: Path | None = None) -> dict[str, Any]:
    """Run Python and return the JSON of its last line."""
    try:
        done = subprocess.run(
            [sys.executable, *command], input=json.dumps(given), capture_output=True, text=True,
            timeout=_ANSWER_SECONDS, cwd=folder, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{where}, Python took longer than {_ANSWER_SECONDS} s.") from error
    if done.returncode or not done.stdout.strip():
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BundleError(f"{where}, Python ended with {done.returncode}: {reason}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _distributions(modules: Mapping[str, str | None]) -> list[metadata.Distribution]:
    """Return what is installed that modules come from, but for this package, by name."""
    owners = metadata.packages_distributions()
    names = set()
    for name, file in modules.items():
        top = name.partition(".")[0]
        if not file or top in sys.stdlib_module_names or top == "pocket_colbert":
            continue
        if top not in owners:
            raise BundleError(
                f"{name} ({file}) belongs to no installed package; install what brings it with pip."
            )
        names.update(owners[top])
    return [metadata.distribution(name) for name in sorted(names)]


def _needed_glibc(item: metadata.Distribution) -> tuple[int, int]:
    """Return the oldest C library that a package was built for, (0, 0) when it needs none."""
    found = []
    for tag in re.findall(r"^Tag: (.*)$", item.read_text("WHEEL") or "", flags=re.MULTILINE):
        platforms = tag.rpartition("-")[2]
        if platforms == "any":
            return 0, 0
        for name in platforms.split("."):
            version = re.fullmatch(r"manylinux_(\d+)_(\d+)_x86_64", name)
            if version:
                found.append((int(version[1]), int(version[2])))
            elif name.removesuffix("_x86_64") in _OLD_MANYLINUX:
                found.append(_OLD_MANYLINUX[name.removesuffix("_x86_64")])
    if found:
        return min(found)
    # Built here: it may need whatever is here.
    return _version(".".join(platform.libc_ver()[1].split(".")[:2]) or "2.17")


def _check_glibc(libraries: Iterable[metadata.Distribution], available: tuple[int, int]) -> None:
    for item in libraries:
        needed = _needed_glibc(item)
        if needed > available:
            raise BundleError(
                f"{item.metadata['Name']} {item.version} needs glibc {needed[0]}.{needed[1]}, and "
                f"where the bundle is to run there is {available[0]}.{available[1]} (Lambda's: "
                "2.26 up to Python 3.11, 2.34 from 3.12 on): make it with another Python, or pass "
                "--glibc if it is to run elsewhere."
            )


def _library_files(item: metadata.Distribution) -> dict[str, Path]:
    """Return the files of an installed package that may be used when it runs."""
    if item.files is None:
        raise BundleError(f"{item.metadata['Name']} has no list of its files; install it with pip.")
    found = {}
    for path in item.files:
        name = PurePosixPath(path)
        if ".." in name.parts or name.is_absolute() or _LEFT_OUT_FOLDERS & set(name.parts[:-1]):
            continue
        if name.parts[0].endswith(".dist-info"):
            # Licences ask to go where the code goes.
            used = bool(re.match(r"METADATA$|(?i:LICEN[CS]E|COPYING|NOTICE)", name.name))
        else:
            used = not any(fnmatch(str(name), pattern) for pattern in _LEFT_OUT)
        source = Path(str(item.locate_file(path)))
        if used and source.is_file():
            found[str(name)] = source
    return found


def _own_files() -> dict[str, Path]:
    """Return the files of the package's root and of the folders that a search needs."""
    package = Path(__file__).parents[1]
    folders = [package, *(package / name for name in _FOLDERS)]
    folders.append(package / "vectors" / "onnx_graphs")
    found = {
        (Path("pocket_colbert") / path.relative_to(package)).as_posix(): path
        for folder in folders
        for path in folder.iterdir()
        if path.suffix in (".py", ".onnx")
    }
    found["pocket_colbert/models/__init__.py"] = models_folder() / "__init__.py"
    return found


def _bytecode(
    files: Mapping[str, Path], modules: Mapping[str, str | None], place: Path
) -> dict[str, Path]:
    """Compile what is imported: where it runs, Python cannot keep what it compiles.

    By one new process, in one order, so that the same sources give the same bytes.
    """
    place.mkdir()
    imported = {os.path.realpath(file) for file in modules.values() if file}
    tag = sys.implementation.cache_tag
    jobs: list[tuple[str, str, str]] = []
    found = {}
    for name, source in sorted(files.items()):
        if name.endswith(".py") and (os.path.realpath(source) in imported or name == "handler.py"):
            path = PurePosixPath(name)
            target = place / f"{len(jobs)}.pyc"
            jobs.append((str(source), str(target), name))
            found[f"{path.parent / '__pycache__' / path.stem}.{tag}.pyc"] = target
    _run(["-I", "-S", "-c", _COMPILE], jobs, "while compiling")
    return found


def _check_size(files: Mapping[str, Path], limit: int) -> dict[str, int]:
    """Return the bytes of each entry at the top, largest first."""
    sizes: Counter[str] = Counter()
    for name, source in files.items():
        sizes[name.partition("/")[0]] += source.stat().st_size
    total, parts = sum(sizes.values()), sizes.most_common()
    if total > limit:
        largest = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in parts[:6])
        raise BundleError(
            f"the bundle would have {total / 1e6:.1f} MB unpacked, {limit / 1e6:.1f} MB are "
            f"allowed; its largest parts: {largest}. Make the index smaller (--codes int2, "
            "--pool-factor), or deploy as a container image."
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


def _verify(path: Path, place: Path, event: Any, expected: Any) -> None:
    """Unpack the zip, have it answer alone, read-only, and compare."""
    with zipfile.ZipFile(path) as archive:
        archive.extractall(place)
    paths = sorted(place.rglob("*"), reverse=True)
    for item in [*paths, place]:
        item.chmod(0o555 if item.is_dir() else 0o444)
    before = [(item, item.stat().st_mtime_ns) for item in paths]
    try:
        # No site-packages, no environment, no bytecode: nothing but this folder and Python itself.
        command = ["-I", "-S", "-B", "-c", _ANSWER_ALONE]
        found = _run(command, [str(place), event], "in the bundle", place)["answer"]
        after = [(item, item.stat().st_mtime_ns) for item in sorted(place.rglob("*"), reverse=True)]
    finally:
        for item in [place, *(item for item in paths if item.is_dir())]:
            item.chmod(0o755)
    if after != before:
        raise BundleError("the bundle writes into its own folder, which Lambda mounts read-only.")
    if found != expected:
        raise BundleError(
            f"asked {event['query']!r}, the bundle does not answer as it does here: it says "
            f"{json.dumps(found)[:200]}, and it should be {json.dumps(expected)[:200]}."
        )
