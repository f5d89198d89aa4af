"""Metrics are computed by a standard evaluator, and need no model."""

from __future__ import annotations

import subprocess
import sys

from pocket_colbert import Hit, to_run


def test_importing_to_run_loads_no_model_and_no_evaluator() -> None:
    script = "from pocket_colbert import to_run; import sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    heavy = {"onnxruntime", "tokenizers", "usearch", "ir_measures", "sqlite3", "click"}
    assert not heavy & set(done.stdout.split())


def test_to_run_keeps_the_ids_and_scores_of_each_query() -> None:
    hits = [[Hit("a", 2.0), Hit("b", 1.0)], []]
    assert to_run(["q1", "q2"], hits) == {"q1": {"a": 2.0, "b": 1.0}, "q2": {}}
