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
    [
        "",
        "import pocket_colbert.vectors.maxsim_codes",
        "from pocket_colbert import Retriever",
        "import pocket_colbert.maxsim",
        "import pocket_colbert.maxsim as m; assert m.maxsim_pairwise(q, [d]) == m(q, d) == 1",
        "from pocket_colbert.maxsim import maxsim_pairwise as p; assert p(q, [d]) == 1",
        "import importlib as i; i.import_module('pocket_colbert.maxsim').maxsim_pairwise(q, [d])",
    ],
)
def test_maxsim_is_a_function_and_a_module(other: str) -> None:
    """Whichever is imported first, neither takes the place of the other."""
    arrays = "import numpy as np\nq = d = np.ones((1, 1), np.float32)"
    function = (
        "from pocket_colbert import maxsim, maxsim_pairwise\nimport pocket_colbert\n"
        "assert callable(maxsim)\n"
        "assert maxsim(q, d) == maxsim_pairwise(q, [d]) == pocket_colbert.maxsim(q, d) == 1"
    )
    for parts in ((arrays, other, function), (arrays, function, other, function)):
        subprocess.run([sys.executable, "-c", "\n".join(parts)], check=True)


def test_every_error_has_the_one_base_and_is_in_the_tree() -> None:
    for name, value in vars(errors).items():
        if isinstance(value, type) and value.__module__ == errors.__name__:
            assert value.__doc__
            if not issubclass(value, Warning):
                assert issubclass(value, errors.PocketColbertError)
            assert name in (errors.__doc__ or "")
            assert name in pocket_colbert.__all__
