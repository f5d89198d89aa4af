"""The programs of examples/programs: each answers a question in five lines, and runs."""

from __future__ import annotations

import ast
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PROGRAMS = ROOT / "examples" / "programs"
LISTED = sorted(PROGRAMS.glob("*.py"))
SERVER = "serve_on_a_port"
NEEDED = ("pandas", "polars", "pyarrow")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAMS.is_dir(), reason="needs the checkout"),
]


def statements(program: Path) -> int:
    """Return the number of a program's lines of code, whatever the formatter broke in two."""
    lines = 0
    for node in ast.walk(ast.parse(program.read_text("utf-8"))):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        lines += isinstance(node, ast.stmt) and not text
    return lines


def said(program: Path) -> str:
    """Return what a program says that it prints, in comments at its end."""
    return "".join(
        f"{line}\n"
        for line in re.findall(r"^# -> ?(.*)$", program.read_text("utf-8"), re.MULTILINE)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder that the programs run in."""
    shutil.copytree(PROGRAMS, tmp_path / "programs")
    monkeypatch.chdir(tmp_path / "programs")
    return tmp_path / "programs"


def test_there_are_twenty_of_five_lines_at_most() -> None:
    assert len(LISTED) >= 20
    for program in LISTED:
        assert 0 < statements(program) <= 5, program.name
        assert (ast.get_docstring(ast.parse(program.read_text("utf-8"))) or "").count("?") == 1


@pytest.mark.parametrize(
    "program",
    [program for program in LISTED if program.stem != SERVER],
    ids=lambda program: program.stem,
)
def test_program_prints_what_it_says(
    program: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in NEEDED:
        if re.search(rf"^(import|from) {module}\b", program.read_text("utf-8"), re.MULTILINE):
            pytest.importorskip(module, reason=f"needs {module}")
    if "langchain" in program.stem:
        pytest.importorskip("langchain_core", reason="needs the langchain extra")
    assert said(program)
    runpy.run_path(str(folder / program.name), run_name="__main__")
    assert capsys.readouterr().out == said(program)


def test_the_server_answers(folder: Path) -> None:
    for module in ("starlette", "uvicorn", "msgspec"):
        pytest.importorskip(module, reason="needs the server extra")
    import urllib.request

    program = (folder / f"{SERVER}.py").read_text("utf-8")
    assert '"8000"' in program
    (folder / "any.py").write_text(program.replace('"8000"', '"0"'))
    with subprocess.Popen(
        [sys.executable, "any.py"], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as server:
        try:
            assert server.stderr is not None
            printed = ""
            while not (address := re.search(r"http://[\d.]+:\d+", printed)):
                line = server.stderr.readline()
                assert line, f"the server ended: {printed}"
                printed += line
            with urllib.request.urlopen(address[0], timeout=60) as answer:
                assert answer.status == 200
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)
    assert server.returncode == 0


def test_the_list_of_programs_is_complete() -> None:
    listed = (ROOT / "examples" / "README.md").read_text("utf-8")
    for program in LISTED:
        question = ast.get_docstring(ast.parse(program.read_text("utf-8"))) or ""
        assert f"[{question}](programs/{program.name})" in listed
    for name in re.findall(r"\]\(([^)]+)\)", listed):
        assert (ROOT / "examples" / name).exists(), name
