"""The package of npm: its own checks and tests, and what a project gets that installs it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from pathlib import Path

from pocket_colbert.model.folder import models_folder
from tests.support.web import WEB, need_web

FIVE_LINES = """
import { load, maxsim, type Embedding } from "pocket-colbert";
const encoder = await load(process.argv[2]!);
const [query] = await encoder.encodeQuery(["who pays for the roof?"]);
const documents: Embedding[] = await encoder.encodeDocument(["The tenant pays.", "Bees swarm."]);
console.log(JSON.stringify(documents.map((document) => maxsim(query!, document))));
"""


def run(*command: str, folder: Path = WEB) -> str:
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_types_lint_and_its_own_tests() -> None:
    need_web()
    run("npm", "run", "check")
    run("node", "--test", "tests/")


def test_an_empty_project_answers_in_five_typed_lines(tmp_path: Path) -> None:
    need_web()
    packed = json.loads(run("npm", "pack", "--json", "--pack-destination", str(tmp_path)))
    packages = tmp_path / "node_modules"
    packages.mkdir()
    for installed in (WEB / "node_modules").iterdir():  # what npm would fetch
        (packages / installed.name).symlink_to(installed)
    with tarfile.open(tmp_path / packed[0]["filename"]) as archive:
        archive.extractall(packages, filter="data")
    (packages / "package").rename(packages / "pocket-colbert")
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "five.mts").write_text(FIVE_LINES, encoding="utf-8")
    compiler = str(WEB / "node_modules" / ".bin" / "tsc")
    options = ("--strict", "--module", "nodenext", "--target", "es2022", "--types", "node")
    run(compiler, *options, "five.mts", folder=tmp_path)
    scores = json.loads(run("node", "five.mjs", str(models_folder() / "tiny"), folder=tmp_path))
    assert scores[0] > scores[1]
    (tmp_path / "wrong.mts").write_text(
        FIVE_LINES.replace('["who pays for the roof?"]', '"who pays?"'), encoding="utf-8"
    )
    wrong = subprocess.run(
        [compiler, *options, "wrong.mts"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "readonly string[]" in wrong.stdout
