"""Studies start, their results have one form, and tables are made from it."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

BENCHMARKS = ROOT / "benchmarks"
results = pytest.importorskip("benchmarks.harness.results", reason="needs benchmarks/")
tables = pytest.importorskip("benchmarks.harness.tables", reason="needs benchmarks/")
timing = pytest.importorskip("benchmarks.harness.timing", reason="needs benchmarks/")
STUDIES = sorted(
    path.stem for path in (BENCHMARKS / "studies").glob("*.py") if path.stem != "__init__"
)
RESULTS = sorted((BENCHMARKS / "results").glob("*.json"))


@pytest.mark.parametrize("module", [*(f"studies.{name}" for name in STUDIES), "models"])
def test_every_study_says_how_it_is_run(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_have_one_form_and_make_a_table(path: Path) -> None:
    content = results.read_results(path)
    assert content["study"] in STUDIES
    assert content["stamp"].keys() == results.stamp().keys()
    table = importlib.import_module(f"benchmarks.studies.{content['study']}").table
    assert "\n|---|" in table(content["results"])


def test_a_run_is_stamped_and_read_again(tmp_path: Path) -> None:
    options = argparse.Namespace(
        rounds=3,
        folders=[Path("a"), tmp_path / "b"],
        riv="/envs/python",
        json=tmp_path / "out.json",
    )
    run = results.Run.begin("benchmarks.studies.encode", options)
    run.save(options.json, {"x": 1})
    content = results.read_results(options.json)
    assert content["study"] == "encode"
    assert content["settings"] == {"rounds": 3, "folders": ["a", "b"], "riv": "python"}
    assert content["results"] == {"x": 1}
    assert content["stamp"]["versions"]["Python"] == sys.version.split()[0]
    run.save(None, {"x": 2})
    assert json.loads(options.json.read_text())["results"] == {"x": 1}


@pytest.mark.parametrize("content", [[], {}, {"study": "encode", "results": []}])
def test_other_json_is_no_file_of_results(content: object, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must be an object with the keys"):
        results.read_results(path)


def test_systems_take_turns() -> None:
    order: list[str] = []

    def call(name: str) -> int:
        order.append(name)
        return len(order)

    turns = timing.in_turns({"a": lambda: call("a"), "b": lambda: call("b")}, 2, warm_up=1)
    assert order == ["a", "b"] * 3
    assert turns == {"a": [3, 5], "b": [4, 6]}


def test_each_call_is_timed_after_some_to_warm_up() -> None:
    calls: list[int] = []
    times, answers = timing.each_ms(lambda n: calls.append(n) or -n, [1, 2, 3], warm_up=2)
    assert calls == [1, 2, 1, 2, 3]
    assert answers == [-1, -2, -3] and len(times) == 3 and min(times) >= 0


def test_timing_stops_when_the_seconds_are_used_up() -> None:
    times, answers = timing.each_ms(str, range(9), least=4, seconds=0)
    assert answers == ["0", "1", "2", "3"] and len(times) == 4


def test_tables_are_markdown() -> None:
    assert tables.markdown(("a", "b"), [("1", "2")]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    assert tables.decimals(1.25, 1) == "1.2" and tables.decimals(None, 1) == ""


def test_every_system_of_the_search_study_has_an_adapter() -> None:
    worker = pytest.importorskip("benchmarks.systems.worker")
    for name in worker.SYSTEMS:
        kind = worker.system_named(name)
        assert kind.packages and kind.build is not kind.__mro__[-2].build
