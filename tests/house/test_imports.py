"""What may import what."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def imports_of(path: Path) -> set[str]:
    """Return the modules that a file imports."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module)
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
    return modules


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_nothing_imports_a_test_module(folder: str) -> None:
    """What tests share is in tests/support, so that a test file can be read and moved alone."""
    for path in (ROOT / folder).rglob("*.py"):
        for module in imports_of(path):
            package, _, rest = module.partition(".")
            if package == "tests":
                assert rest != "" and not rest.startswith("conftest"), f"{path} imports {module}"
                assert ".test_" not in module, f"{path} imports {module}"
