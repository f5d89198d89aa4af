"""Where the data of the tests is, and what this machine can run."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
SHARED = Path(os.environ.get("POCKET_COLBERT_SHARED", ROOT.parent / "shared"))
HAS_TORCH = all(
    importlib.util.find_spec(name) is not None for name in ("torch", "transformers", "optimum")
)
