"""`doctor`: what works here and what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import hardware
from pocket_colbert.cli import diagnosis
from tests.support.cli import run
from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib: Any = None


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POCKET_COLBERT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def report(*arguments: object) -> tuple[int, dict[str, Any]]:
    done = run("doctor", "--json", *arguments)
    return done.exit_code, json.loads(done.stdout)


def test_all_is_well_here() -> None:
    code, found = report()
    assert code == 0 and found["ok"]
    assert set(found) == {
        "ok", "versions", "processor", "models", "providers", "extras", "cache",
    }  # fmt: skip
    assert {"small", "tiny"} <= found["models"].keys()
    assert "CPUExecutionProvider" in found["providers"]
    assert found["versions"]["onnxruntime"]["value"] == metadata.version("onnxruntime")
    for feature in ("AVX2", "VNNI", "AMX", "NEON"):
        assert feature in found["processor"]["features"]["value"]
    shown = run("doctor")
    assert shown.exit_code == 0 and "Everything that is installed works." in shown.stdout
    assert "\x1b" not in shown.stdout and shown.stdout.startswith("Versions\n")
    assert "\x1b[" in run("doctor", "--color", "always").stdout


def test_extras_that_are_missing_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *rest: None if name == "mcp" else find(name, *rest)
    )
    code, found = report()
    assert code == 0 and found["extras"]["mcp"]["state"] == "missing"
    assert found["extras"]["mcp"]["advice"] == "pip install 'pocket-colbert[mcp]'"


def test_a_broken_model_is_found(tmp_path: Path, tiny_model: Path) -> None:
    code, found = report("--model", tiny_model)
    assert code == 0 and found["models"][str(tiny_model)]["state"] == "ok"
    import shutil

    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    for path in broken.glob("*.onnx"):
        path.write_bytes(path.read_bytes()[:-10])
    code, found = report("--model", broken)
    assert code == 1 and not found["ok"] and found["models"][str(broken)]["state"] == "broken"
    assert found["models"]["small"]["state"] == "ok"
    shown = run("doctor", "--model", broken)
    assert shown.exit_code == 1 and "1 broken" in shown.stdout


def test_a_cache_that_cannot_be_used_is_found(cache: Path) -> None:
    cache.write_text("a file")
    code, found = report()
    assert code == 1 and found["cache"][str(cache)]["state"] == "broken"


def test_a_package_that_is_missing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    find = metadata.version

    def version(name: str) -> str:
        if name == "usearch":
            raise metadata.PackageNotFoundError(name)
        return find(name)

    monkeypatch.setattr(metadata, "version", version)
    code, found = report()
    assert code == 1 and found["versions"]["usearch"]["advice"] == "pip install usearch"


def test_a_library_that_does_not_load_is_found() -> None:
    """As onnxruntime without its C library; what does not need it is looked at all the same."""
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from pocket_colbert.cli.commands import main; main(['doctor', '--json'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert done.returncode == 1 and done.stderr == "" and not found["ok"]
    assert found["providers"]["onnxruntime"]["state"] == "broken"
    assert found["extras"] and found["processor"]["features"]["state"] == "ok"


@pytest.mark.parametrize(
    ("family", "features"),
    [
        ("haswell", {"AVX2"}), ("alder", {"VNNI"}), ("graniteamx", {"AMX"}), ("neon", {"NEON"}),
        ("sve", {"SVE"}), ("neonsdot", {"NEON dot products"}),
    ],
)  # fmt: skip
def test_features_are_those_of_the_processor(
    family: str, features: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("numkong.get_capabilities", lambda: {"serial": True, family: True})
    found = hardware.processor_features()
    assert {name for name, there in found.items() if there} == features
    assert len(found) == 7


@pytest.mark.skipif(
    tomllib is None or not (ROOT / "pyproject.toml").exists(), reason="needs the checkout"
)
def test_it_knows_every_extra_and_all_that_is_needed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for_developers = {"docs", "mutants", "dev", "cuda", "ray-lance", "export-torch"}
    small = {"mteb", "rerankers"}  # frameworks that bring us, rather than the other way round
    assert set(diagnosis._EXTRAS) == set(project["optional-dependencies"]) - for_developers - small
    assert set(diagnosis._FOR) == set(diagnosis._EXTRAS)
    for name in ("files", "server"):
        needed = project["optional-dependencies"][name]
        assert len(diagnosis._EXTRAS[name]) == len(needed), f"{name}: {needed}"
    needed = {line.partition(">")[0] for line in project["dependencies"]}
    assert set(diagnosis._NEEDED) == needed
