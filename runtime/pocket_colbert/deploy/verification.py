"""Python processes that answer a query: with the installed package, and from a bundle alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pocket_colbert.errors import BundleError

_SECONDS = 120
_ANSWER_HERE = """
import json, sys
before = set(sys.modules)
folder, event = json.loads(sys.stdin.read())
from pathlib import Path
from pocket_colbert.deploy.lambda_handler import LambdaHandler
answer = LambdaHandler(Path(folder))(event)
import numkong, usearch.index
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


def answer_here(folder: Path, event: Any) -> tuple[Any, dict[str, str | None]]:
    """Answer an event with the installed package.

    Args:
        folder: Has the index in `index` and the model in `model`.
        event: See `LambdaHandler`.

    Returns:
        The answer, and the modules that were imported for it with their files.

    Raises:
        BundleError: There is no answer.
    """
    result = _run(["-c", _ANSWER_HERE], [str(folder), event], "outside the bundle")
    return result["answer"], result["modules"]


def compile_imported(
    files: Mapping[str, Path], modules: Mapping[str, str | None], work: Path
) -> dict[str, Path]:
    """Compile the modules that an answer imports: a read-only folder cannot keep bytecode.

    One new process compiles them all in one order, so that equal sources give equal bytes.

    Args:
        files: The files of the bundle, by name.
        modules: The imported modules and their files.
        work: A folder to make, for the bytecode.

    Returns:
        The files of bytecode by their names in the bundle.
    """
    work.mkdir()
    imported = {os.path.realpath(file) for file in modules.values() if file}
    tag = sys.implementation.cache_tag
    jobs: list[tuple[str, str, str]] = []
    compiled = {}
    for name, source in sorted(files.items()):
        if name.endswith(".py") and (os.path.realpath(source) in imported or name == "handler.py"):
            path = PurePosixPath(name)
            target = work / f"{len(jobs)}.pyc"
            jobs.append((str(source), str(target), name))
            compiled[f"{path.parent / '__pycache__' / path.stem}.{tag}.pyc"] = target
    _run(["-I", "-S", "-c", _COMPILE], jobs, "while compiling")
    return compiled


def verify(zip_path: Path, folder: Path, event: Mapping[str, Any], expected: Any) -> None:
    """Unpack a zip, let it answer an event alone and read-only, and compare.

    Args:
        zip_path: The zip.
        folder: A folder to make, for its files.
        event: See `LambdaHandler`.
        expected: The answer it must give.

    Raises:
        BundleError: It gives no answer or another one, or writes into its folder.
    """
    with zipfile.ZipFile(zip_path) as archive:
        archive.extractall(folder)
    paths = sorted(folder.rglob("*"), reverse=True)
    for path in [*paths, folder]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = _times(folder)
    try:
        # No site-packages, no environment, no bytecode: only this folder and Python itself.
        command = ["-I", "-S", "-B", "-c", _ANSWER_ALONE]
        answer = _run(command, [str(folder), event], "in the bundle", folder)["answer"]
        after = _times(folder)
    finally:
        for path in [folder, *(path for path in paths if path.is_dir())]:
            path.chmod(0o755)
    if after != before:
        raise BundleError("the bundle writes into its own folder, which Lambda mounts read-only.")
    if answer != expected:
        raise BundleError(
            f"the bundle does not answer {event['query']!r} as the installed package does: got "
            f"{json.dumps(answer)[:200]}, expected {json.dumps(expected)[:200]}."
        )


def _times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def _run(command: list[str], data: Any, where: str, folder: Path | None = None) -> dict[str, Any]:
    """Run Python with JSON as its input and return the JSON of its last line."""
    try:
        done = subprocess.run(
            [sys.executable, *command], input=json.dumps(data), capture_output=True, text=True,
            timeout=_SECONDS, cwd=folder, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{where}, Python took longer than {_SECONDS} s.") from error
    if done.returncode or not done.stdout.strip():
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise BundleError(f"{where}, Python ended with {done.returncode}: {reason}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
