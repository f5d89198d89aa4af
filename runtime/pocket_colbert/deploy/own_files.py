"""The files of this package that a module needs: the rooms that its imports reach."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pocket_colbert.model.folder import models_folder

_PACKAGE = "pocket_colbert"
_ROOT = Path(__file__).parents[1]


def own_files(start: str) -> dict[str, Path]:
    """Return the files of the package's root and of every room that a module's imports reach.

    A room comes whole, with its data, because a search on another index or with other parameters
    may import what one search did not.

    Args:
        start: Full name of the module.

    Returns:
        Paths by their names in the bundle, such as "pocket_colbert/index/index.py".
    """
    rooms = {path.parent for path in _reachable(start)} - {_ROOT}
    files = [path for path in _ROOT.glob("*.py")]
    for room in rooms:
        files += [path for path in room.rglob("*") if path.is_file()]
    named = {
        f"{_PACKAGE}/{path.relative_to(_ROOT).as_posix()}": path
        for path in files
        if path.parent.name != "__pycache__"
    }
    named[f"{_PACKAGE}/models/__init__.py"] = models_folder() / "__init__.py"
    return named


def _reachable(start: str) -> set[Path]:
    """Return the files of a module and of all modules of this package that it leads to."""
    found: set[Path] = set()
    waiting = [start]
    while waiting:
        path = _file_of(waiting.pop())
        if path is not None and path not in found:
            found.add(path)
            waiting += _imports(ast.parse(path.read_text(encoding="utf-8")))
    return found


def _file_of(module: str) -> Path | None:
    """Return the file of a module of this package; None for its root, packages and other names."""
    package, *names = module.split(".")
    path = _ROOT.joinpath(*names).with_suffix(".py")
    return path if package == _PACKAGE and names and path.is_file() else None


def _imports(node: ast.AST) -> Iterator[str]:
    """Iterate over the names that a file may import, except for type checking."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        else:
            yield from _imports(child)
