"""The wheel: it carries the whole package with its data, and works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib: Any = None

SOURCES = {
    "pocket_colbert": ROOT / "runtime" / "pocket_colbert",
    "pocket_colbert_export": ROOT / "export" / "pocket_colbert_export",
}
GRAPHS = ["maxima", "maxima_uint8", "maxsim", "maxsim_fp16", "product", "product_uint8", "rows"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the checkout"),
]


def modules_in(package: str) -> set[str]:
    """Return the Python files of a package as a wheel names them."""
    source = SOURCES[package]
    return {
        f"{package}/{path.relative_to(source).as_posix()}"
        for path in source.rglob("*.py")
        if not path.is_relative_to(source / "models")  # a link, where the tree is used in place
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the sources: setuptools adds what an older build has left behind."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    rubbish = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "models", folder / "models", ignore=rubbish)
    for package, source in SOURCES.items():
        target = folder / source.relative_to(ROOT)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "models"))
        assert target.name == package
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "-w", folder, folder], check=True,
    )  # fmt: skip
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path) -> Path:
    """The folder that the wheel is installed into, away from the checkout."""
    folder = wheel.parent / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
         "--no-warn-script-location",
         "--target", folder, wheel], check=True,
    )  # fmt: skip
    return folder


def python(site: Path, *arguments: object) -> str:
    """Run Python where only the installed wheel can be imported, and return what it prints."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=site.parent, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(site)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(tomllib is None, reason="tomllib came with Python 3.11")
def test_packages_in_pyproject_are_those_of_the_tree() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    folders = {
        module.rpartition("/")[0].replace("/", ".")
        for package in SOURCES
        for module in modules_in(package)
    }
    assert settings["tool"]["setuptools"]["packages"] == sorted(folders | {"pocket_colbert.models"})


def test_the_wheel_has_every_module_and_all_data(wheel: Path) -> None:
    assert wheel.stat().st_size < 45e6
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    modules = {name for name in names if name.endswith(".py")}
    expected = modules_in("pocket_colbert") | modules_in("pocket_colbert_export")
    assert modules == expected | {"pocket_colbert/models/__init__.py"}
    for name in ("model_int8.onnx", "tokenizer.json", "onnx_config.json", "NOTICE", "README.md"):
        for model in ("small", "tiny"):
            assert f"pocket_colbert/models/{model}/{name}" in names
    graphs = {f"pocket_colbert/vectors/onnx_graphs/{name}.onnx" for name in GRAPHS}
    assert {name for name in names if "/onnx_graphs/" in name} == graphs
    for room, needed in (("server", "index.html"), ("site", "ort.wasm.gz")):
        page, inside = SOURCES["pocket_colbert"] / room / "page", f"pocket_colbert/{room}/page/"
        files = {
            inside + path.relative_to(page).as_posix() for path in page.rglob("*") if path.is_file()
        }
        assert {name for name in names if name.startswith(inside)} == files
        assert inside + needed in files
    for name in (
        "pocket_colbert/py.typed",
        "pocket_colbert_export/py.typed",
        "pocket_colbert_export/proof/data/probe.jsonl",
    ):
        assert name in names


def test_the_installed_wheel_reranks(site: Path) -> None:
    script = f"""
import pocket_colbert
assert pocket_colbert.__file__.startswith({str(site)!r}), pocket_colbert.__file__
retriever = pocket_colbert.Retriever(pocket_colbert.Encoder.load())
print(retriever.rerank("where is Paris?", ["Bread.", "Paris is in France."])[0].text)
"""
    assert python(site, "-c", script).strip() == "Paris is in France."


def test_the_installed_command_indexes_and_searches(site: Path, tmp_path: Path) -> None:
    (tmp_path / "france.txt").write_text("Paris is the capital of France.")
    (tmp_path / "bread.txt").write_text("Knead the dough for ten minutes.")
    command = site / "bin" / "pocket-colbert"
    index = tmp_path / "made.index"
    python(site, command, "index", tmp_path, "--into", index)
    answer = python(site, command, "search", index, "Which city is the French capital?", "-k", 1)
    assert "france.txt" in answer


def test_every_graph_in_the_installed_wheel_opens(site: Path) -> None:
    script = """
from importlib.resources import files
import onnxruntime
for path in (files("pocket_colbert.vectors") / "onnx_graphs").iterdir():
    onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    print(path.name)
"""
    assert set(python(site, "-c", script).split()) == {f"{name}.onnx" for name in GRAPHS}


def test_the_installed_server_shows_its_page(site: Path, tmp_path: Path) -> None:
    script = f"""
from starlette.testclient import TestClient
from pocket_colbert import Encoder, Index, IndexConfig
from pocket_colbert.server.app import create_app
from pocket_colbert.server.served import ServedIndex
from pocket_colbert.server.service import Service
encoder = Encoder.load("tiny", threads=1)
config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
with Index.create({str(tmp_path / "empty.index")!r}, config) as index:
    service = Service(encoder, ServedIndex(index))
    with TestClient(create_app(service)) as client:
        print(client.get("/").text[:15], client.get("/app.js").status_code)
"""
    assert python(site, "-c", script).split() == ["<!doctype", "html>", "200"]
