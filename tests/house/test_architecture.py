"""ARCHITECTURE.md names the folders, files and floors that there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib: Any = None

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the checkout")

PAGE = ROOT / "ARCHITECTURE.md"
RUNTIME = Path("runtime/pocket_colbert")
SECTIONS = {
    "The folders of the runtime": RUNTIME,
    "The folders of the exporter": Path("export/pocket_colbert_export"),
    "Around the packages": Path(),
}
PACKAGED = {"runtime", "export"}
"""Top folders that have a section of their own."""


def tracked() -> set[Path]:
    """Return the files of the repository, with those not yet committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return {Path(name) for name in done.stdout.splitlines() if (ROOT / name).exists()}


def section(title: str) -> str:
    text = PAGE.read_text(encoding="utf-8")
    match = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert match, title
    return match[1]


def paragraphs(title: str) -> dict[str, str]:
    """Return the paragraph of each folder that a section lists, by the folder's name."""
    items = re.findall(r"^- \*\*`([^`]+)/`\*\*: (.*?)(?=^- |\Z)", section(title), re.M | re.S)
    return {name: " ".join(text.split()) for name, text in items}


@pytest.mark.parametrize(("title", "base"), SECTIONS.items(), ids=lambda value: str(value))
def test_every_folder_has_a_paragraph(title: str, base: Path) -> None:
    below = {path.relative_to(base).parts for path in tracked() if path.is_relative_to(base)}
    folders = {parts[0] for parts in below if len(parts) > 1 and not parts[0].startswith(".")}
    if base == Path():
        folders -= PACKAGED
    described = paragraphs(title)
    assert set(described) == folders
    assert all(len(text) > 40 for text in described.values())


@pytest.mark.parametrize(("title", "base"), SECTIONS.items(), ids=lambda value: str(value))
def test_files_named_in_a_paragraph_are_in_its_folder(title: str, base: Path) -> None:
    files = tracked()
    for folder, text in paragraphs(title).items():
        for name in re.findall(r"`([\w/]+\.py)`", text):
            assert base / folder / name in files, f"{folder}/{name}"
        for name in re.findall(r"`([\w/]+)/`", text):
            inside = (base / folder / name, Path(name))
            assert any(path.is_relative_to(place) for place in inside for path in files), name


def test_paths_in_the_table_exist() -> None:
    files = tracked()
    rows = re.findall(r"^\| [^|]+ \| ([^|]+) \|$", section("Where would I change ..."), re.M)
    names = [name for row in rows for name in re.findall(r"`([\w/.]+)`", row)]
    assert len(names) > 10
    for name in names:
        assert any(
            path.is_relative_to(base / name) for base in (RUNTIME, Path()) for path in files
        ), name


def test_modules_named_elsewhere_exist() -> None:
    names = {path.name for path in tracked()}
    for name in re.findall(r"`(?:[\w]+/)*(\w+\.py)`", PAGE.read_text(encoding="utf-8")):
        assert name in names, name


@pytest.mark.skipif(tomllib is None, reason="tomllib came with Python 3.11")
def test_floors_are_those_that_are_checked() -> None:
    """Those of the runtime and of the exporter, in that order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = {
        contract["containers"][0]: contract["layers"]
        for contract in project["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    }
    blocks = re.findall(r"```text\n(.*?)```", section("Floors"), re.S)
    for block, package in zip(blocks, ("pocket_colbert", "pocket_colbert_export"), strict=True):
        checked = [set(re.findall(r"\w+", layer)) for layer in layers[package]]
        assert [set(re.findall(r"\w+", line)) for line in block.splitlines()] == checked
