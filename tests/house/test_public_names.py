"""The names that `pocket_colbert` exports, and its errors."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pocket_colbert
from pocket_colbert import errors


def test_exported_members() -> None:
    """What type checkers see, what is there when it is asked for, and `__all__` are the same."""
    tree = ast.parse(Path(pocket_colbert.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.name: (node.module or "").removeprefix("pocket_colbert.")
        for block in tree.body if isinstance(block, ast.If)
        for node in block.body if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }  # fmt: skip
    assert seen == pocket_colbert._HOMES
    assert set(seen) | {"__version__"} == set(pocket_colbert.__all__) <= set(dir(pocket_colbert))
    assert pocket_colbert.__all__ == sorted(pocket_colbert.__all__)
    for name in seen:
        assert getattr(pocket_colbert, name).__module__ == f"pocket_colbert.{seen[name]}"
    with pytest.raises(AttributeError, match="no attribute 'Enkoder'"):
        pocket_colbert.Enkoder  # noqa: B018


@pytest.mark.parametrize(
    "other",
    ["", "import pocket_colbert.vectors.maxsim_codes", "from pocket_colbert import Retriever"],
)
def test_maxsim_is_a_function_whatever_is_imported_first(other: str) -> None:
    name = "from pocket_colbert import maxsim\nassert callable(maxsim)"
    for script in (f"{other}\n{name}", f"{name}\n{other}\nassert callable(maxsim)"):
        subprocess.run([sys.executable, "-c", script], check=True)


def test_every_error_has_the_one_base_and_is_in_the_tree() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__:
            assert value.__doc__
            if name != "TruncationWarning":
                assert issubclass(value, errors.PocketColbertError)
            assert name in (errors.__doc__ or "")
            assert name in pocket_colbert.__all__
