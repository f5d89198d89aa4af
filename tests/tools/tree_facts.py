"""What the sources of a checkout look like: folders, files, functions, imports."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PARTS = {
    "runtime": "runtime/pocket_colbert",
    "export": "export/pocket_colbert_export",
    "tests": "tests",
    "benchmarks": "benchmarks",
}
PACKAGES = ("pocket_colbert", "pocket_colbert_export")


def python_files(folder: Path) -> list[Path]:
    """Return the Python files in a folder, without the bundled models' link."""
    return sorted(path for path in folder.rglob("*.py") if "models" not in path.parts[-2:-1])


def lines_in(path: Path) -> int:
    """Return the number of lines of a file."""
    return len(path.read_text(encoding="utf-8").splitlines())


def functions_in(path: Path) -> Iterator[tuple[int, str]]:
    """Return the lines of each function, without its docstring, and the function's name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if is_text else 0
            yield (node.end_lineno or 0) - node.lineno + 1 - docstring, node.name


def facts_of(root: Path) -> dict[str, Any]:
    """Return what can be read from the sources of a checkout without running them.

    The packages of the checkout must be the ones that are imported.
    """
    facts: dict[str, Any] = {}
    shipped: list[Path] = []
    for part, folder in PARTS.items():
        files = python_files(root / folder)
        facts[f"{part}: files"] = len(files)
        facts[f"{part}: lines"] = sum(map(lines_in, files))
        shipped += files if part in ("runtime", "export") else []
    folders = Counter(path.parent.relative_to(root).as_posix() for path in shipped)
    names = Counter(path.name for path in shipped if path.name != "__init__.py")
    lengths = sorted(((lines_in(path), path) for path in shipped), reverse=True)
    functions = sorted(
        (
            (lines, f"{path.relative_to(root)}::{name}")
            for path in shipped
            for lines, name in functions_in(path)
        ),
        reverse=True,
    )
    facts["files in the largest folder"] = max(folders.values())
    facts["longest file"] = lengths[0][0]
    facts["files over 300 lines"] = sum(lines > 300 for lines, _ in lengths)
    facts["longest function, without docstring"] = functions[0][0]
    facts["functions over 40 lines"] = sum(lines > 40 for lines, _ in functions)
    facts["file names used twice"] = sum(count > 1 for count in names.values())
    facts |= imports_of(root)
    facts["lists"] = {
        "Files a folder": [f"{count:4} {folder}" for folder, count in sorted(folders.items())],
        "Longest files": [f"{lines:4} {path.relative_to(root)}" for lines, path in lengths[:10]],
        "Longest functions": [f"{lines:4} {name}" for lines, name in functions[:10]],
        "File names used twice": [f"{n:4} {name}" for name, n in names.most_common() if n > 1],
    }
    return facts


def imports_of(root: Path) -> dict[str, Any]:
    """Return how many modules import each other, on how many floors, and in which circles."""
    import grimp

    graph = grimp.build_graph(PACKAGES[0], *PACKAGES[1:], cache_dir=None)
    below = {
        module: {name for name in graph.find_modules_directly_imported_by(module)}
        for module in graph.modules
        if not module.startswith("pocket_colbert.models")
    }
    runtime = {name for name in below if not name.startswith("pocket_colbert_export")}
    # The package imports its public names when they are asked for: no arrow for a reader.
    arrows = {
        name: {other for other in below[name] & runtime if other != name}
        for name in runtime - {"pocket_colbert"}
    }
    circles = circles_in({name: others - {"pocket_colbert"} for name, others in arrows.items()})
    rooms: dict[str, set[str]] = {}
    for name, others in arrows.items():
        room = rooms.setdefault(room_of(name), set())
        room |= {room_of(other) for other in others} - {room_of(name), "pocket_colbert"}
    return {
        "runtime: modules": len(runtime),
        "runtime: import arrows": sum(map(len, arrows.values())),
        "runtime: arrows between folders": sum(
            len({room_of(other) for other in others} - {room_of(name)})
            for name, others in arrows.items()
        ),
        "runtime: floors of modules": depth_of(arrows),
        "runtime: floors of folders": depth_of(rooms),
        "runtime: circles of modules": len(circles),
        "runtime: circles of folders": len(circles_in(rooms)),
    }


def room_of(module: str) -> str:
    """Return the folder of a module; a file in the root of the package is a room of its own."""
    return ".".join(module.split(".")[:2])


def circles_in(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Return the sets of names that reach each other, by Tarjan's algorithm."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles = []

    def visit(name: str) -> None:
        number[name] = low[name] = len(number)
        stack.append(name)
        for other in arrows.get(name, ()):
            if other not in number:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], number[other])
        if low[name] == number[name]:
            circle = set(stack[stack.index(name) :])
            del stack[stack.index(name) :]
            if len(circle) > 1:
                circles.append(circle)

    for name in sorted(arrows):
        if name not in number:
            visit(name)
    return circles


def depth_of(arrows: dict[str, set[str]]) -> int:
    """Return the most names that stand on each other; a circle counts as one floor."""
    member = {name: min(circle) for circle in circles_in(arrows) for name in circle}
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        name = member.get(name, name)
        if name not in depths:
            group = [n for n in arrows if member.get(n, n) == name] or [name]
            others = {member.get(o, o) for n in group for o in arrows.get(n, ())} - {name}
            depths[name] = 1 + max(map(depth, others), default=0)
        return depths[name]

    return max(map(depth, arrows))
